"""Data that has a name: what a node declares, what a job asks for, and every rule of both. Pure.

The same data lies at other paths on other machines, so a job names it and never a path: `data://books/2024`. Whoever
owns a node says which names there are on it, and with that lets every job of the cluster read them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from skrei_domain.job_depends import is_inside
from skrei_domain.job_reading import Reading, given
from skrei_domain.source_keys import WITH_THE_JOB

DATA = "data"
"""The type of an input that is a data set of its node."""
SCHEME = "data://"
DATA_FILE = "data-sets.json"
"""The file in an agent's data folder that declares some of its data sets: names with what `parse_declared` reads."""
HOLDER = "holder"
"""A task of which each node that holds its data runs one partition."""
MAX_DATA_SETS = 64
"""Data sets of one node: each is told with everything else that the node says of itself, and people name a handful."""
ALLOWED_NAME = "lower case letters, digits, `.`, `_` and `-`, at most 63, a letter or digit first"

PATTERN = "^[a-z0-9][a-z0-9._-]{0,62}$"
_NAME = re.compile(PATTERN.strip("^$"))
_LOCALITIES = {word: word for word in ("preferred", "required")}
_SPLITS = {HOLDER: HOLDER}

Params = Mapping[str, object]


class Declared(NamedTuple):
    """A data set as its node's owner says it: where it lies, and whether jobs may write there."""

    name: str
    path: str
    read_write: bool = False

    @property
    def text(self) -> str:
        """Return what `parse_declared` reads."""
        return f"{self.path}:{'rw' if self.read_write else 'ro'}"


class DataWanted(NamedTuple):
    """A data set that a task wants, and whether to write there."""

    name: str
    writes: bool = False


def is_data_name(text: str) -> bool:
    """Whether a data set may be called that."""
    return _NAME.fullmatch(text) is not None


def parse_declared(name: str, text: str) -> Declared:
    """Return the data set `name` at `PATH[:ro|:rw]`. Raises ValueError."""
    if not is_data_name(name):
        raise ValueError(f"{name!r} is no name of a data set: {ALLOWED_NAME}")
    path, read_write = text.strip(), False
    for suffix in (":ro", ":rw"):
        if path.endswith(suffix):
            path, read_write = path.removesuffix(suffix), suffix == ":rw"
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"{text!r} is not where a data set lies: an absolute path such as `/srv/books`, `/srv/out:rw`")
    return Declared(name, path, read_write)


def data_wanted(params: Params) -> DataWanted | None:
    """Return what the parameters of an input ask for; None where they name nothing."""
    name = given(params, "Name")
    return DataWanted(name, given(params, "ReadWrite") is True) if isinstance(name, str) and name else None


def near_name(name: str, names: Iterable[str]) -> str:
    """Return which of `names` was probably meant; empty where none was."""
    return next(iter(get_close_matches(name, sorted(set(names) - {name}), n=1, cutoff=0.6)), "")


def data_input_params(reading: Reading, params: Params, path: str) -> None:
    """Note every wrong parameter of an input that is a data set."""
    name = given(params, "Name")
    if name is None:
        reading.missing(f"{path}.Name", f"the name of a data set: {ALLOWED_NAME}")
    elif not (isinstance(name, str) and is_data_name(name)):
        reading.wrong(f"{path}.Name", name, f"the name of a data set: {ALLOWED_NAME}")
    inside = given(params, "Path")
    if inside is not None and not is_inside(inside):
        reading.wrong(f"{path}.Path", inside, "a path inside of the data set, such as `2024` or `2024/may.csv`")
    writes = given(params, "ReadWrite")
    if not isinstance(writes, bool | None):
        reading.wrong(f"{path}.ReadWrite", writes, "true or false")


def read_split(reading: Reading, raw: object, path: str) -> str | None:
    """Return what `Split` says; None where it says nothing."""
    return reading.choice(raw, path, _SPLITS, "") or None


def read_locality(reading: Reading, task: Mapping[str, Any], path: str) -> str | None:
    """Return `required` where a task says so; None where it prefers what `preferred` says, or says nothing."""
    raw = task.get("Locality")
    said = reading.choice(raw, path, _LOCALITIES, "preferred")
    if said == "required" and not any(_may_be_elsewhere(each["Source"]["Type"]) for each in task["InputSources"]):
        allowed = (
            "an input of the task that is a path of its node (`local`), or is fetched; data sets always are required"
        )
        reading.wrong(path, raw, allowed)
    return said if said == "required" else None


def _may_be_elsewhere(type_: str) -> bool:
    """Whether an input may lie on one node and not on another, and is had there all the same."""
    return bool(type_) and type_.casefold() not in {DATA, *WITH_THE_JOB}


def check_split(reading: Reading, tasks: Sequence[Mapping[str, Any]], kind: str, count: int) -> None:
    """Note every `Split` that cannot be: without data, beside a count, or where nodes say how many run anyway."""
    split = {task["Name"] for task in tasks if task.get("Split")}
    for index, task in enumerate(tasks):
        for place, each in enumerate((task.get("DependsOn") or ()) if split else ()):
            if each.same and (each.task in split) != (task["Name"] in split):
                allowed = "all: only one of the two is parted by Split, and none beside Split has its partitions"
                reading.wrong(f"Tasks[{index}].DependsOn[{place}].Partition", "same", allowed)
        if not task.get("Split"):
            continue
        where = f"Tasks[{index}].Split"
        if kind and kind != "batch":
            told = "it runs once on every node that has its data by itself" if kind != "service" else "it never ends"
            reading.wrong(where, task["Split"], f"none with Type {kind}: {told}")
        if not any(each["Source"]["Type"].lower() == DATA for each in task["InputSources"]):
            reading.wrong(where, task["Split"], "an input of the task that is a data set (`data://NAME:TARGET`)")
        if (counted := task.get("Count") or (count if len(tasks) == 1 else 1)) > 1:
            at = f"Tasks[{index}].Count" if task.get("Count") else "Count"
            reading.wrong(at, counted, "none beside Split: it follows from the nodes that hold the data")
