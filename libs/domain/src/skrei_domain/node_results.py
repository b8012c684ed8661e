"""Results that stay on their node (`localDirectory`): what a job may say of where, and the path that this is. Pure."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from skrei_domain.job_reading import FieldProblem, Reading, show

NAME = "localdirectory"
"""The publisher, as nodes list it that have a path for it."""
OF_PATHS = "localdirectory:paths"
"""What nodes list that can leave single result paths: one that cannot would upload them, and is not asked."""
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


def left_id(execution_id: str, number: int) -> str:
    """Return the id by which its node knows the n-th part of a result that stays there, while the rest does not."""
    return f"{execution_id}.{number}"


def left_by(left: str) -> str:
    """Return the execution that left what its node knows by this id: all that it left, or a part."""
    execution_id, dot, number = left.rpartition(".")
    return execution_id if dot and number.isdigit() else left


def node_place(node_id: str) -> str:
    """Return what people call the place of all that stays on a node; whatever does waits for that node alone."""
    return f"node {node_id}"


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

    So it is with what lies inside of another place of its task. Of tasks that would lie where another does there is a
    warning: they may run on nodes of their own.
    """
    taken: dict[str, str] = {}
    for index, task in enumerate(tasks):
        partitions, own = count if task.get("Count") is None else task["Count"], dict[str, None]()
        for where, publisher in named(task, f"Tasks[{index}]"):
            if not (place := place_of(publisher["Params"])):
                continue
            path, key = f"{where}.Params.Key", _given(publisher["Params"], "Key")
            if partitions > 1 and not any(word in place for word in _APART):
                told = f"a path with {{partition}} or {{executionID}}, one for each of its {partitions:,} partitions"
                reading.wrong(path, key, told)
            elif place in taken and not any(word in place for word in _OF_TASK):
                reading.warnings.append(
                    f"{path}: {show(key)} is where the task {show(taken[place])} leaves its result too, and none "
                    "replaces another on one node: {task} or {executionID} in it makes it another place"
                )
            if (other := next((each for each in own if _inside(place, each)), None)) is not None:
                reading.wrong(path, key, f"a place beside {show(other)}, where other paths of this task go, not in it")
            own[place] = None
        taken = dict.fromkeys(own, task["Name"]) | taken


def named(task: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what of a task's publishers are this one, each with where it stands."""
    own = enumerate(task["ResultPaths"])
    found = [(f"{path}.Publisher", task["Publisher"])]
    found += [(f"{path}.ResultPaths[{number}].Publisher", each.get("Publisher")) for number, each in own]
    for where, publisher in found:
        if publisher is not None and publisher["Type"].lower() == NAME:
            yield where, publisher


def _inside(one: str, other: str) -> bool:
    """Whether one of two places lies inside the other."""
    return one.startswith(f"{other}/") or other.startswith(f"{one}/")


def check_params(reading: Reading, publisher: Mapping[str, Any], path: str) -> None:
    """Note what is wrong with the params of a publisher that is this one; `path` is where it stands."""
    if publisher["Type"].lower() == NAME:
        for problem in wrong(publisher["Params"]):
            reading.missing(f"{path}.Params.{problem.path}", problem.allowed, problem.value)


def _given(params: Mapping[str, Any], name: str) -> Any:
    return next((value for key, value in params.items() if key.lower() == name.lower()), None)


def _is_path(text: str) -> bool:
    return text.startswith("/") and posixpath.normpath(text) != "/" and ".." not in text.split("/") and _is_text(text)


def _is_key(text: str) -> bool:
    """Whether a text is folders below another: none hidden, as those that are not whole yet are."""
    return all(part and not part.startswith(".") for part in text.split("/")) and _is_text(text)


def _is_text(text: str) -> bool:
    return text.isprintable() and len(text.encode("utf-8", "surrogatepass")) <= PATH_BYTES
