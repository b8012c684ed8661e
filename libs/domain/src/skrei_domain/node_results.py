"""Results that stay on their node (`localDirectory`): what a job may say of where, and the path that this is. Pure."""

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from skrei_domain.job_reading import FieldProblem, Reading, show

NAME = "localdirectory"
"""The publisher, as nodes list it that have a path for it."""
LOCAL_DIRECTORY = "localDirectory"
"""The type of such a result, as clients read it."""
DEFAULT_KEY = "{jobID}/{executionID}"
"""Where below `Path` a result goes whose job does not say: no two ever have the same."""
PATH_BYTES = 4_000
"""Of the whole path: file systems take 4,096 with what lies below it."""
_APART = ("{partition}", "{executionID}")
"""Words of a place that tell the partitions of a task apart."""
_OF_TASK = ("{task}", "{executionID}")
"""Words of a place that tell the tasks of a job apart."""
_KNOWN = {"path": "Path", "key": "Key"}


def place_of(params: Mapping[str, Any]) -> str:
    """Return the folder of a result as a template, empty where the params name none."""
    if wrong(params):
        return ""
    return posixpath.join(posixpath.normpath(_given(params, "Path")), _given(params, "Key") or DEFAULT_KEY)


def wrong(params: Mapping[str, Any]) -> list[FieldProblem]:
    """Return what is wrong with a job's params, each by its field."""
    problems = [
        FieldProblem(name, show(value), "nothing: it has `Path` and `Key` alone")
        for name, value in params.items()
        if name.lower() not in _KNOWN
    ]
    path, key = _given(params, "Path"), _given(params, "Key")
    if not (isinstance(path, str) and _is_path(path)):
        problems.append(FieldProblem("Path", show(path), "an absolute path on the node, such as `/srv/results`"))
    if key not in (None, "") and not (isinstance(key, str) and _is_key(key)):
        problems.append(FieldProblem("Key", show(key), "a path below `Path`, such as `{jobID}/{executionID}`"))
    return problems


def check_apart(reading: Reading, tasks: Sequence[Mapping[str, Any]], count: int) -> None:
    """Note each task of several partitions that would all lie at one place of a node: none replaces another there.

    Of tasks that would lie where another does there is a warning: they may run on nodes of their own.
    """
    taken: dict[str, str] = {}
    for index, task in enumerate(tasks):
        publisher, partitions = task["Publisher"], count if task.get("Count") is None else task["Count"]
        place = place_of(publisher["Params"]) if publisher["Type"].lower() == NAME else ""
        if not place:
            continue
        path, key = f"Tasks[{index}].Publisher.Params.Key", _given(publisher["Params"], "Key")
        if partitions > 1 and not any(word in place for word in _APART):
            told = f"a path with {{partition}} or {{executionID}}, one for each of its {partitions:,} partitions"
            reading.wrong(path, key, told)
        elif place in taken and not any(word in place for word in _OF_TASK):
            reading.warnings.append(
                f"{path}: {show(key)} is where the task {show(taken[place])} leaves its result too, and none replaces "
                "another on one node: {task} or {executionID} in it makes it another place"
            )
        taken.setdefault(place, task["Name"])


def _given(params: Mapping[str, Any], name: str) -> Any:
    return next((value for key, value in params.items() if key.lower() == name.lower()), None)


def _is_path(text: str) -> bool:
    return text.startswith("/") and posixpath.normpath(text) != "/" and ".." not in text.split("/") and _is_text(text)


def _is_key(text: str) -> bool:
    """Whether a text is folders below another: none hidden, as those that are not whole yet are."""
    return all(part and not part.startswith(".") for part in text.split("/")) and _is_text(text)


def _is_text(text: str) -> bool:
    return text.isprintable() and len(text.encode("utf-8", "surrogatepass")) <= PATH_BYTES
