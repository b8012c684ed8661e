"""The scheduler's process: stand by, lead while the lease is ours, stand by again."""

import asyncio
import os
import socket
import uuid
from importlib.metadata import version

import uvloop

from skrei_domain.clock import SystemClock
from skrei_domain.errors import LeadershipLost, SkreiError
from skrei_kit.bus import Bus
from skrei_kit.health import Health
from skrei_kit.health_door import listening
from skrei_kit.metrics import process_figures
from skrei_kit.observability import configure_logs, get_logger
from skrei_kit.settings import load
from skrei_kit.supervisor import await_start, die_with_parent, stop_on_signals, unless_stopped
from skrei_kit.tokens import TokenSigner, TokenVerifier
from skrei_kit.traced import exporting
from skrei_scheduler.figures import SchedulerFigures
from skrei_scheduler.leader import Leader
from skrei_scheduler.lease import LeaseKeeper
from skrei_scheduler.receipts import trust_nobody
from skrei_scheduler.settings import SchedulerSettings
from skrei_store.db import leader_pool
from skrei_store.leader import LeaderRecord

log = get_logger()


class Scheduler:
    """Follows the lease: one `Leader` for each epoch that it is given."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._signer = TokenSigner(settings.token_key.read_bytes())
        key = settings.receipt_public_key
        self._verify = trust_nobody if key is None else TokenVerifier(key.read_bytes()).receipt
        self._epoch: int | None = None
        self._changed = asyncio.Event()
        self._leader: Leader | None = None
        self._term: asyncio.Event | None = None
        self.health = Health()
        self.health.figures.read(process_figures("scheduler", version("skrei-scheduler")))
        self.health.check("start", lambda: "the transport is waited for")
        self._figures = SchedulerFigures(self.health.figures)
        self._exporter = settings.exporter(self.health.figures)

    async def run(self, stop: asyncio.Event) -> None:
        """Stand by and lead until stopped."""
        async with listening(self._settings.health_listen, self.health), exporting(self._exporter):
            await self._run(stop)

    async def _run(self, stop: asyncio.Event) -> None:
        url = self._settings.database_url.get_secret_value()
        connecting = Bus.connect(
            self._settings.nats_url,
            name="scheduler",
            creds=self._settings.nats_creds,
            ca=self._settings.nats_ca,
            on_reconnect=self._reconnected,
        )
        if (bus := await unless_stopped(stop, connecting)) is None:
            return
        holder = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        keeper = LeaseKeeper(url, holder, self._settings.lease_seconds, self._on_lease)
        keeper.start()
        self.health.check("start", lambda: "")
        self.health.check("transport", lambda: "" if bus.connected else "NATS is away")
        self.health.check("record", keeper.wrong)
        self.health.check("leadership", self._wrong)
        stopping = asyncio.create_task(stop.wait())
        lasting = asyncio.create_task(bus.lasting())
        lasting.add_done_callback(lambda _: self._end_term())
        try:
            while not stop.is_set():
                changed = asyncio.create_task(self._changed.wait())
                await asyncio.wait({changed, stopping, lasting}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                self._changed.clear()
                if lasting.done():
                    lasting.result()
                if self._epoch is not None and not stop.is_set():
                    await self._lead(url, bus, self._epoch, stop, keeper)
        finally:
            stopping.cancel()
            lasting.cancel()
            await keeper.stop()
            await bus.close()

    def _wrong(self) -> str:
        """What is wrong with leading; a standby that stands by is well."""
        leading = self._epoch is not None
        return (
            "it takes over: the view is not read yet" if leading and not (self._leader and self._leader.leads) else ""
        )

    def _on_lease(self, epoch: int | None) -> None:
        self._epoch = epoch
        self._changed.set()
        if epoch is None:
            self._end_term()

    def _end_term(self) -> None:
        if self._term is not None:
            self._term.set()

    async def _reconnected(self) -> None:
        if self._leader is not None:
            self._leader.on_reconnect()

    async def _lead(self, url: str, bus: Bus, epoch: int, stop: asyncio.Event, keeper: LeaseKeeper) -> None:
        self._term = term = asyncio.Event()

        async def follow_stop() -> None:
            await stop.wait()
            term.set()

        follower = asyncio.create_task(follow_stop())
        try:
            async with leader_pool(url) as pool:
                record = LeaderRecord(pool, epoch)
                leader = Leader(
                    record,
                    bus,
                    self._signer,
                    self._settings,
                    self._clock,
                    epoch=epoch,
                    verify=self._verify,
                    figures=self._figures,
                    spans=None if self._exporter is None else self._exporter.add,
                )
                self._leader = leader
                await leader.run(term)
        except* LeadershipLost as lost:
            log.warning("leadership_lost", epoch=epoch, why=str(lost.exceptions[0]))
        finally:
            follower.cancel()
            self._leader = self._term = None
        if not stop.is_set():
            keeper.give_up(epoch)
            log.info("standing_by", epoch=epoch)


def main() -> None:
    """Run the scheduler until SIGTERM."""
    die_with_parent()
    await_start()
    try:
        settings = load(SchedulerSettings)
        configure_logs(settings.log_level, service="scheduler")
        uvloop.run(_run(settings))
    except SkreiError as error:
        raise SystemExit(f"skrei-scheduler: {error.message}" + (f"; {error.hint}" if error.hint else "")) from error


async def _run(settings: SchedulerSettings) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    await Scheduler(settings).run(stop)


if __name__ == "__main__":
    main()
