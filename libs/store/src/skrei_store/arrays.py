"""What the driver is told of arrays, which it finds out at some cost otherwise.

asyncpg asks the abstract classes of `collections.abc` of every element of every array whether it is an array itself.
Each answer is a call of Python; a commit of the leader has some hundred elements, a batch thousands. What this package
hands over is made of a few types, so that looking at those is enough, and anything else is refused as no array.

Of a type of array that a connection has not met it asks the record, by a query over the whole tree of types. A backend
keeps that one prepared: 0.8 MB in each, for numbers that Postgres never changes.
"""

from collections import deque

import asyncpg
from asyncpg.protocol import protocol

ARRAYS = (list, tuple, set, frozenset, deque)
"""What may be given as an array."""

TYPES = {
    "bool": (16, 1000),
    "bytea": (17, 1001),
    "int8": (20, 1016),
    "text": (25, 1009),
    "float8": (701, 1022),
    "timestamptz": (1184, 1185),
}
"""The numbers of a type and of its array, as `pg_type.dat` of Postgres has them. Of others the record is asked."""


def seen_by_type() -> None:
    """Let the driver look for `ARRAYS` where it looked for what can be iterated and has a length. Safe twice."""
    protocol.IterableABC = ARRAYS
    protocol.SizedABC = ARRAYS


def known_to(connection: asyncpg.Connection) -> None:
    """Tell a connection the arrays of `TYPES`. Safe twice."""
    connection.get_settings().register_data_types(_TREE)


_TREE = [
    {
        "oid": array,
        "ns": "pg_catalog",
        "name": f"_{name}",
        "kind": b"b",
        "basetype": None,
        "elemtype": element,
        "elemdelim": ",",
        "elemtype_name": name,
        "range_subtype": None,
        "attrtypoids": None,
    }
    for name, (element, array) in TYPES.items()
]
"""As the driver's own query would answer."""
