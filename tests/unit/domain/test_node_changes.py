import pytest

from skrei_domain.node import Absent, DataSet, Gpu, NodeInfo, Plugin
from skrei_domain.node_changes import changes
from skrei_domain.resources import Resources

BARE = NodeInfo(node_id="n-1", labels={"os_type": "linux"})
DOCKER = BARE.model_copy(update={"engines": (Plugin(name="docker", version="28.1"),)})
BOOKS = BARE.model_copy(update={"data": (DataSet(name="books"),)})
WRITTEN = BARE.model_copy(update={"data": (DataSet(name="books", read_write=True),)})
GONE = BARE.model_copy(update={"absent": (Absent(kind="data", name="books", reason="it is not there"),)})
T4 = BARE.model_copy(update={"gpus": (Gpu(index=0, name="Tesla T4", uuid="u"),), "labels": {"GPU-0": "Tesla-T4"}})


def without(reason: str) -> NodeInfo:
    return BARE.model_copy(update={"absent": (Absent(kind="engine", name="docker", reason=reason),)})


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (DOCKER, DOCKER, []),
        (BARE, DOCKER, ["engine docker is here (28.1)"]),
        (without("no socket"), DOCKER, ["engine docker is here (28.1)"]),
        (DOCKER, without("no socket"), ["engine docker is gone: no socket"]),
        (without("no socket"), without("denied"), ["engine docker cannot be used: denied"]),
        (BARE, without("no socket"), ["engine docker cannot be used: no socket"]),
        (
            DOCKER,
            BARE.model_copy(update={"engines": (Plugin(name="docker", version="29.0"),)}),
            ["engine docker is another version (29.0)"],
        ),
        (
            BARE.model_copy(update={"storages": (Plugin(name="local"),)}),
            BARE.model_copy(update={"storages": (Plugin(name="local", note="not on this node: /mnt/b"),)}),
            ["storage local: not on this node: /mnt/b"],
        ),
        (BARE, BOOKS, ["data set books is here"]),
        (BARE, WRITTEN, ["data set books is here, also to be written"]),
        (BOOKS, WRITTEN, ["data set books may also be written now"]),
        (BOOKS, GONE, ["data set books is gone: it is not there"]),
        (BARE, GONE, ["data books cannot be used: it is not there"]),
        (BOOKS, BOOKS.model_copy(update={"data": (DataSet(name="books", size_bytes=7),)}), []),
        (BARE, T4, ["GPU 0 is here (Tesla T4)"]),
        (T4, BARE, ["GPU 0 is gone (Tesla T4)"]),
        (BARE, BARE.model_copy(update={"labels": {"a": "b"}}), ["its labels have changed"]),
        (BARE, BARE.model_copy(update={"capacity": Resources(cpu_milli=1)}), ["its capacity has changed"]),
        (BARE, BARE.model_copy(update={"version": "0.5.0"}), ["its version is now 0.5.0"]),
    ],
)
def test_what_changed_is_told_by_name(old: NodeInfo, new: NodeInfo, told: list[str]) -> None:
    assert changes(old, new) == told
