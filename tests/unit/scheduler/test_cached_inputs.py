"""What nodes say of their caches: heard from who was greeted, within bounds, and worth waking who waits for it."""

import base64
from collections.abc import Sequence

import pytest
from nats.aio.client import Client as NATS

from skrei_domain import bloom, subjects
from skrei_domain.bounds import MOST_ADDED, wrong_with_cached
from skrei_domain.clock import ManualClock
from skrei_domain.envelope import wrap
from skrei_domain.messages import CachedInputs, Heartbeat
from skrei_kit.bus import Message
from skrei_scheduler.arrivals import Arrivals
from skrei_scheduler.core import Core
from skrei_scheduler.specs import SpecCache
from skrei_scheduler.work import Outgoing
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_hello, a_node, counting_ids
from tests.unit.scheduler.test_core import run

KEY = "00000000000000aa"


def a_filter(size: int) -> str:
    return base64.b64encode(bytes(size)).decode()


def greeted() -> Core:
    node = a_node("n-1")
    core = Core(ClusterView.load([node], [], []), timeline=1, epoch=1, now=0.0, ids=counting_ids())
    core.on_hello(a_hello(node, boot_id=node.boot_id), "inbox")
    run(core, 0.0)
    return core


async def beat(core: Core, cached: CachedInputs, boot_id: str = "boot-n-1") -> None:
    async def nothing(_: Sequence[Outgoing]) -> None:
        return None

    said = Heartbeat(
        node_id="n-1", boot_id=boot_id, timeline=1, incarnation=1, sequence=0, digest="0" * 16, cached=cached
    )
    reader = Arrivals(core, SpecCache(), ManualClock(NOW), send=nothing, work=lambda: None, look=lambda: None)
    payload = wrap(said, type_="skrei.heartbeat.v1", source="n-1", id_="1")
    await reader._on_heartbeat(Message(NATS(), subject=subjects.heartbeat("n-1"), data=payload))


def has(core: Core) -> bool:
    return core.view.matrix.cached.has(core.view.matrix.row_of["n-1"], KEY)


async def test_it_counts_from_the_process_that_was_greeted_alone() -> None:
    core, cached = greeted(), CachedInputs(added=((KEY, 5),))
    await beat(core, cached, "another")
    assert not has(core)
    await beat(core, cached)
    assert has(core)
    await beat(core, CachedInputs(filter=a_filter(bloom.LEAST_BYTES)))
    assert not has(core)


WRONG = [
    CachedInputs(filter="no base64!"),
    CachedInputs(filter=a_filter(bloom.LEAST_BYTES - 1)),
    CachedInputs(filter=a_filter(bloom.MOST_BYTES // 2 + 4)),
    CachedInputs(filter=a_filter(2 * bloom.MOST_BYTES)),
    CachedInputs(added=(("AA" * 8, 5),)),
    CachedInputs(added=((KEY, -1),)),
    CachedInputs(added=((KEY, 2**62),)),
    CachedInputs(added=((KEY, 5),) * (MOST_ADDED + 1)),
]


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_cannot_be_is_left_out_and_the_node_lives_all_the_same(wrong: CachedInputs) -> None:
    assert wrong_with_cached(wrong) != ""
    core = greeted()
    await beat(core, wrong)
    assert not has(core)
