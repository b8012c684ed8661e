"""Results of which some paths go to places of their own: which part goes where, and how that is told. Pure.

A portion is what goes to one place, as an archive of its own. The first of an execution's is what its task's own
`Publisher` gets: the streams, the exit code, and every path that has none of its own. Paths that name the same place go
there together.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from skrei_domain.destinations import ON_NODES, publisher_name
from skrei_domain.job_reading import Reading

DIVIDED = "resultPaths"
"""The publisher of a result of several portions, in receipts, and the type of its `PublishedResult`."""
MOST_OWN = 8
"""Paths of a task with a publisher of their own: each is a place that is asked, and a part of what a receipt names."""
ROOM = 384
"""Characters that a portion takes at most, once it is final, beyond its destination: digest, size, checksum; of what
stays on its node two digests, and its id after a name that is taken."""
_PREFIX = "portions:"
TASK_ON_NODE = "nothing: all that this task leaves stays on its node, as its own `Publisher` says"
TOO_MANY = f"nothing: at most {MOST_OWN} result paths of a task have a publisher of their own"


@dataclass(frozen=True, slots=True)
class Portion:
    """What goes to one place: the result paths of these names; none: all that no other portion has."""

    paths: tuple[str, ...] = ()
    publisher: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placed:
    """A portion that is final: `params` say where it lies with its publisher; digest and size are its archive's."""

    paths: tuple[str, ...]
    publisher: str
    params: Mapping[str, Any]
    digest: str
    size: int


def portions(own: Portion, paths: Iterable[tuple[str, str, Mapping[str, Any]]]) -> tuple[Portion, ...]:
    """Return the portions of a task's result, the rest first; one alone where no path goes elsewhere than that.

    `own` is the task's own destination, `paths` are (name, publisher, params) of those that name another.
    """
    found = [own]
    for name, publisher, params in paths:
        there = next((n for n, each in enumerate(found) if (each.publisher, each.params) == (publisher, params)), None)
        if there is None:
            found.append(Portion((name,), publisher, params))
        elif there:
            found[there] = Portion((*found[there].paths, name), publisher, params)
    return tuple(found)


def on_nodes(found: Iterable[Portion]) -> list[Portion]:
    """Return the portions that stay on the node which made them, in the order that `left_id` numbers them in."""
    return [each for each in found if each.publisher in ON_NODES]


def place_of(found: Sequence[Portion]) -> str:
    """Return the place of a result in the store's staging that is to be divided."""
    told = [[list(each.paths), each.publisher, dict(each.params)] for each in found]
    return _PREFIX + json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def placed_at(place: str) -> tuple[Portion, ...] | None:
    """Return the portions that `place_of` made a place of; None for any other place."""
    if not place.startswith(_PREFIX):
        return None
    return tuple(Portion(tuple(paths), name, params) for paths, name, params in json.loads(place[len(_PREFIX) :]))


def told(found: Iterable[Placed]) -> dict[str, Any]:
    """Return what the record keeps, and clients read, of a divided result: the params of its `PublishedResult`."""
    return {
        "Portions": [
            {
                "ResultPaths": list(each.paths),
                "Type": each.publisher,
                "Params": dict(each.params),
                "Digest": each.digest,
                "Size": each.size,
            }
            for each in found
        ]
    }


def heard(params: Mapping[str, Any]) -> list[Placed]:
    """Return the portions that `told` told of."""
    return [
        Placed(tuple(each["ResultPaths"]), each["Type"], each["Params"], each["Digest"], each["Size"])
        for each in params.get("Portions", ())
    ]


def check(reading: Reading, task: Mapping[str, Any], path: str) -> None:
    """Note what is wrong with the publishers that paths of a task's result have of their own."""
    named = [(n, each["Publisher"]) for n, each in enumerate(task["ResultPaths"]) if each.get("Publisher")]
    stays = publisher_name(task["Publisher"]["Type"]) in ON_NODES
    for count, (number, publisher) in enumerate(named):
        where = f"{path}.ResultPaths[{number}].Publisher"
        if stays:
            reading.wrong(where, publisher, TASK_ON_NODE)
        elif count >= MOST_OWN:
            reading.wrong(where, publisher, TOO_MANY)
