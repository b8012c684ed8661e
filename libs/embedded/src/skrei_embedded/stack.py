"""The supervisor behind `skrei serve`: the servers and services of this machine as children, started, kept, stopped.

All start side by side: the services import what they need while Postgres and nats-server start, unless others are
named, and begin once the record is migrated. A child that ends is started again with backoff. What stops this
process, a kill included, stops them all.
"""

import asyncio
import contextlib
import functools
import os
import signal
import sys
import time
from collections.abc import Coroutine

from skrei_domain.errors import Unavailable
from skrei_embedded.births import Birth, Nursery
from skrei_embedded.environment import for_child
from skrei_embedded.place import AlreadyRunning, Place, default_data_dir
from skrei_embedded.probe import LOOK_SECONDS
from skrei_embedded.processes import Gate, Process, Spawner, end_strangers, started_at
from skrei_embedded.roster import API_STOP, health_of, roster
from skrei_embedded.servers import Servers
from skrei_embedded.supervised import Supervised
from skrei_embedded.telling import Ready, Telling
from skrei_embedded.whereabouts import StackOptions, Whereabouts, check_ports
from skrei_kit import cluster_keys as keys_of
from skrei_kit import join
from skrei_kit.cluster_keys import Keys
from skrei_kit.observability import configure_logs, get_logger
from skrei_kit.supervisor import PARENT_PIPE, die_with_parent, stop_on_signals

log = get_logger()

MEET_SECONDS = 90.0  # how long a second start waits for the first to be ready
MIGRATE_SECONDS = 300.0  # an upgrade of a large record; a first one takes a second
STRANGERS_SECONDS = 5.0
MIGRATION = "skrei_store.migrate"


def run(options: StackOptions, on_ready: Ready | None = None, nursery: Nursery | None = None) -> None:
    """Serve until SIGTERM or SIGINT, or until idle. Raises SkreiError when the start is refused.

    `on_ready` is called once, in a thread, when a job could be run. The services come from the `nursery`, where there
    is one; what of them is started again later is a program of its own.
    """
    configure_logs(options.log_level, service="serve")
    if os.environ.get(PARENT_PIPE):  # asked for by whoever started us; a shell did not
        die_with_parent()

    async def serve() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        await Stack(options, on_ready, nursery).serve(stop)

    asyncio.run(serve())


class Stack:
    """One supervisor and its children. `ready` is set once the API answers and, with a node, that was greeted."""

    def __init__(self, options: StackOptions, on_ready: Ready | None = None, nursery: Nursery | None = None) -> None:
        self.options = options
        self.place = Place(options.data_dir or default_data_dir())
        self._spawner = Spawner()
        self._nursery = nursery
        self._served = Gate()  # of the migration, which needs the servers alone
        start_migration = functools.partial(self._start, "api", MIGRATION, waits=False)
        self._migration = Supervised("migrate", start_migration, API_STOP)
        self._children: list[Supervised] = []
        self._child_ended = asyncio.Event()
        self._keys: Keys | None = None
        self._whereabouts = Whereabouts(options)
        self._servers = Servers(self.place.folder, options, self._whereabouts, self._spawner)
        self._telling = Telling(self.place, options, self._whereabouts, self._children, on_ready)
        self.ready = self._telling.ready

    async def serve(self, stop: asyncio.Event) -> None:
        """Start everything, keep it running until `stop`, stop it in order. Raises SkreiError."""
        self.place.open()
        try:
            if not await self._hold(stop):
                return
            await asyncio.to_thread(self._end_strangers)
            asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._child_ended.set)
            try:
                await self._until(stop, self._run(stop))
            finally:
                await asyncio.shield(self._stop())
                self.place.forget()
        finally:
            self.place.let_go()
            self._spawner.close()
            self._served.open()
            if self._nursery is not None:
                await asyncio.to_thread(self._nursery.close)

    # ---------------------------------------------------------------- start

    async def _hold(self, stop: asyncio.Event) -> bool:
        """Take the data folder. Raises AlreadyRunning, with the address, once another that holds it is ready."""
        until = time.monotonic() + MEET_SECONDS
        while not self.place.try_hold():
            other = self.place.read()
            if other is not None and other.born.get("serve", "") != started_at(other.pid):
                other = None  # what one that was killed has left
            if (other is not None and other.ready) or time.monotonic() > until:
                where = f" at {other.api_url}" if other is not None and other.api_url else ""
                who = f" (process {other.pid})" if other is not None else ""
                raise AlreadyRunning(
                    f"Skrei is already running{where}{who} in {self.place.folder}",
                    hint="use that one, stop it first, or choose another --data-dir and other ports",
                    api_url=other.api_url if other is not None else "",
                )
            if stop.is_set():
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    def _end_strangers(self) -> None:
        """End what a supervisor that was killed left, should anything of it still be on its way out."""
        last = self.place.read()
        if last is not None:
            pids = {pid: last.born.get(name, "") for name, pid in last.children.items() if name != "postgres"}
            end_strangers(pids, wait_seconds=STRANGERS_SECONDS)
        self.place.forget()

    async def _until(self, stop: asyncio.Event, work: Coroutine[None, None, None]) -> None:
        running, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            for task in (running, stopping):
                task.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)

    async def _run(self, stop: asyncio.Event) -> None:
        options = self.options
        if not options.orchestrator:
            token = options.token or os.environ.get("SKREI_JOIN_TOKEN")
            work = functools.partial(join.settle, self.place.folder, options.join, token)
            self._whereabouts.joined = await asyncio.to_thread(work, take_over=options.take_over)
        if options.orchestrator:
            self._keys = keys_of.load_or_make(self.place.folder)
            self._whereabouts.keys = self._keys
        self._servers.choose(self._keys)
        postgres, nats = self._servers.postgres, self._servers.nats
        self._telling.addresses = addresses = self._whereabouts.addresses(
            postgres.url if postgres else self._whereabouts.given(options.database_url, "database_url"),
            nats.url if nats else self._whereabouts.given(options.nats_url, "nats_url"),
        )
        if options.orchestrator:
            check_ports(addresses)
        services = asyncio.create_task(self._services())
        try:
            await self._servers.start(self._children.append)
            await asyncio.wait([services])  # not cancelled with us: a stop must not forget whom it bears
            services.result()
            if options.orchestrator:
                await self._migrate()
        finally:
            if self._nursery is not None:
                await asyncio.to_thread(self._nursery.close)
            await asyncio.gather(services, return_exceptions=True)  # who was born is known, and stopped with us
        self._spawner.gate.open()
        await asyncio.gather(
            self._supervise(),
            self._telling.announce(),
            self._telling.watch_idle(stop),
            self._servers.look_after_nats(self._keys),
        )

    async def _migrate(self) -> None:
        """Bring the record to this version's schema, by a process that may have been waiting to."""
        child = self._migration
        if child.process is None:
            child.look(time.monotonic())
        self._served.open()
        assert child.process is not None, "started above"
        until = time.monotonic() + MIGRATE_SECONDS
        while (code := child.process.poll()) is None and time.monotonic() < until:
            await _moment(LOOK_SECONDS / 5)
        self._children.remove(child)
        if code is None:
            await child.stop(API_STOP)
            raise Unavailable(f"the record was not migrated within {MIGRATE_SECONDS:g} s")
        if code != 0:
            raise Unavailable("the record could not be migrated; its own words are above")

    async def _services(self) -> None:
        """Start the services: they import while the servers start, and wait at the gate."""
        if self.options.orchestrator:
            self._children.append(self._migration)
        wanted = roster(self.options)
        children = [
            Supervised(
                each.name, functools.partial(self._start, each.kind, each.module, place=each.place), each.stop_seconds
            )
            for each in wanted
        ]
        if self._nursery is not None:
            held = self._spawner.held(self._spawner.gate)
            births = [
                Birth(f"{each.module}.__main__", self._environment(each.kind, each.place), held) for each in wanted
            ]
            if self.options.orchestrator:
                at_servers = self._spawner.held(self._served)
                births.append(Birth(MIGRATION, self._environment("api"), at_servers, held=True))
            try:
                born = await asyncio.to_thread(self._nursery.bear, births)
            except OSError as error:
                raise Unavailable(f"the services could not be started: {error}") from error
            for child, process in zip(children, born, strict=False):
                child.adopt(process, time.monotonic())
            if self.options.orchestrator:
                self._migration.adopt(born[-1], time.monotonic())
        self._children.extend(children)
        for child in children:
            child.look(time.monotonic())

    def _start(self, service: str, module: str, *, place: int = 0, waits: bool = True) -> Process:
        """Start one of our own programs; -P: the folder that somebody stands in is no place for modules."""
        return self._spawner.start(
            [sys.executable, "-P", "-m", module],
            environment=self._environment(service, place),
            watches_pipe=True,
            waits=waits,
        )

    def _environment(self, service: str, place: int = 0) -> dict[str, str]:
        assert self._telling.addresses is not None, "chosen before anything starts"
        return for_child(
            service,
            self._telling.addresses,
            self._keys,
            data_dir=self.place.folder,
            log_level=self.options.log_level,
            settings=self._whereabouts.settings,
            creds=self._whereabouts.creds("node" if service == "agent" else service),
            nats_ca=self._whereabouts.given(None, "nats_ca"),
            node_id=self._whereabouts.node_id,
            allow_local=self.options.allow_local,
            owner_paths=self.options.orchestrator,
            health_listen=health_of(self._whereabouts.given(None, "health_listen"), place),
        )

    # ---------------------------------------------------------------- keep

    async def _supervise(self) -> None:
        told: dict[str, int] = {}
        wrong = ""
        while True:
            self._child_ended.clear()
            now = time.monotonic()
            dues = [due for child in self._children if (due := child.look(now)) is not None]
            pids = {child.name: child.process.pid for child in self._children if child.process is not None}
            if pids != told:
                try:
                    self._telling.write()
                except OSError as error:  # a full disk, on which all the others go on: tried again with the next look
                    if str(error) != wrong:
                        wrong = str(error)
                        log.warning("state_not_written", reason=wrong, hint="make room in the data folder")
                else:
                    told, wrong = pids, ""
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min([1.0, *(due - now for due in dues)])):
                    await self._child_ended.wait()

    async def _stop(self) -> None:
        """Stop all in order: who uses something stops before it."""
        log.debug("stack_stopping")
        for names in (("agent",), ("scheduler",), ("publisher",), ("migrate", "api"), ("nats",), ("postgres",)):
            children = [child for child in self._children if child.name.partition("-")[0] in names]
            await asyncio.gather(*(child.stop(child.stop_seconds) for child in children))


async def _moment(seconds: float = LOOK_SECONDS) -> None:
    """Let a little time pass between two looks at another process, which has no event for us."""
    await asyncio.sleep(seconds)


__all__ = ["Stack", "StackOptions", "run"]
