"""The parameters of the engine `docker`: one list of rules, for whoever takes a job and for the nodes that run it."""

import re
from collections.abc import Iterator, Mapping

from skrei_domain.job_reading import FieldProblem, show

PULLS = ("missing", "always", "never")
"""When a registry is asked: only for an image that is not on the node, each time, or not at all."""
MAX_IMAGE = 600
"""Characters of an image's name: a repository has at most 255, a tag 128, a digest about as many."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])"
_IMAGE = re.compile(
    rf"(?:{_HOST}(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,})?"
)
_RESERVED = "BACALHAU_"
_TEXTS = "a list of texts without NUL"


def docker_problems(params: Mapping[str, object]) -> list[FieldProblem]:
    """Return every wrong parameter, its path relative to the params."""
    return [*_image(given(params, "Image")), *_words(params), *_env(params), *_rest(params)]


def given(params: Mapping[str, object], name: str) -> object:
    """Return the parameter called `name`: spelt like that, else the first in any case."""
    if name in params:
        return params[name]
    return next((value for key, value in params.items() if key.lower() == name.lower()), None)


def _image(image: object) -> Iterator[FieldProblem]:
    if not (isinstance(image, str) and image):
        yield FieldProblem("Image", show(image), "the name of an image, like `ubuntu:24.04`")
    elif len(image) > MAX_IMAGE or _IMAGE.fullmatch(image) is None:
        yield FieldProblem("Image", show(image), "[registry[:port]/]name[:tag][@digest] in lower case")


def _words(params: Mapping[str, object]) -> Iterator[FieldProblem]:
    for name in ("Entrypoint", "Parameters"):
        value = given(params, name)
        if value is not None and not _are_texts(value):
            yield FieldProblem(name, show(value), _TEXTS)


def _env(params: Mapping[str, object]) -> Iterator[FieldProblem]:
    value = given(params, "EnvironmentVariables")
    if value is None:
        return
    if not _are_texts(value):
        yield FieldProblem("EnvironmentVariables", show(value), 'a list of texts "NAME=value"')
        return
    assert isinstance(value, list | tuple)
    for number, item in enumerate(value):
        name, equals, _ = item.partition("=")
        path = f"EnvironmentVariables[{number}]"
        if not (equals and name):
            yield FieldProblem(path, show(item), "NAME=value")
        elif name.upper().startswith(_RESERVED):
            yield FieldProblem(path, show(item), f"a name that does not begin with {_RESERVED}: those the node sets")


def _rest(params: Mapping[str, object]) -> Iterator[FieldProblem]:
    folder = given(params, "WorkingDirectory")
    if folder not in (None, "") and not (isinstance(folder, str) and folder.startswith("/") and "\0" not in folder):
        yield FieldProblem("WorkingDirectory", show(folder), "an absolute path in the container")
    pull = given(params, "Pull")
    if pull not in (None, "") and not (isinstance(pull, str) and pull.lower() in PULLS):
        yield FieldProblem("Pull", show(pull), " or ".join(PULLS))


def _are_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) and "\0" not in item for item in value)
