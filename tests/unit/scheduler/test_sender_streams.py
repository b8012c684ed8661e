"""The leader makes the streams, each within the bound that it was told."""

from datetime import timedelta
from typing import cast

from nats.js.api import StreamConfig

from skrei_domain.clock import ManualClock
from skrei_kit import topology
from skrei_kit.bus import Bus
from skrei_kit.tokens import TokenSigner
from skrei_scheduler.core import Core
from skrei_scheduler.sender import Sender
from skrei_scheduler.specs import SpecCache
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, counting_ids

FEW = 40 * 1024 * 1024


class _Streams:
    def __init__(self) -> None:
        self.made: dict[str | None, int | None] = {}

    async def ensure_stream(self, stream: StreamConfig) -> None:
        self.made[stream.name] = stream.max_bytes


async def test_every_stream_is_made_within_the_bound() -> None:
    bus = _Streams()
    sender = Sender(
        cast("Bus", bus),
        Core(ClusterView.load([], [], []), timeline=1, epoch=1, now=0.0, ids=counting_ids()),
        specs=SpecCache(),
        signer=cast("TokenSigner", None),
        clock=ManualClock(NOW),
        token=timedelta(hours=1),
        stream_bytes=FEW,
    )
    await sender.ensure_streams()
    assert bus.made == {"FACTS": FEW, "FEED": FEW, "COMMANDS": FEW, "RESULTS": topology.RESULTS_BYTES}
