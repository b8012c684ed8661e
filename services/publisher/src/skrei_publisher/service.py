"""The publisher as a whole: the store, the door, the worker on its subject, and retention, side by side."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from importlib.metadata import version

import aiohttp
from aiohttp import web

from skrei_domain import envelope, subjects
from skrei_domain.bounds import sound_command
from skrei_domain.clock import SystemClock
from skrei_domain.messages import PublisherCommand, PublisherFact
from skrei_kit.bus import Bus, BusUnavailable, Message
from skrei_kit.health import Health
from skrei_kit.health_door import listening
from skrei_kit.metrics import process_figures
from skrei_kit.observability import get_logger
from skrei_kit.supervisor import every, run_until_stopped, unless_stopped
from skrei_kit.tokens import TokenSigner, TokenVerifier
from skrei_plugin_api.plugin import PluginContext
from skrei_publisher.app import build
from skrei_publisher.control_door import ControlDoor
from skrei_publisher.destinations import Destinations
from skrei_publisher.dividing import Divider
from skrei_publisher.done import Done, free_copies
from skrei_publisher.doorkeeper import SignedDoor
from skrei_publisher.figures import PublisherFigures, store_figures
from skrei_publisher.finaliser import Finaliser
from skrei_publisher.log_door import LogDoor
from skrei_publisher.logbook import LogBook
from skrei_publisher.manifest_door import ManifestDoor
from skrei_publisher.manifest_store import ManifestStore
from skrei_publisher.needed import Needed
from skrei_publisher.on_nodes import OnNodes
from skrei_publisher.relay import Relay
from skrei_publisher.retention import Retention
from skrei_publisher.settings import Settings
from skrei_publisher.source import ApiSource, read_token
from skrei_publisher.store_publisher import StorePublisher
from skrei_publisher.uploads import UploadDoor
from skrei_publisher.worker import Worker

log = get_logger()

SOURCE = "skrei-publisher"
TRANSPORT_AWAY = "NATS is away"
"""What is wrong without a link: nothing is taken over, nothing made final; downloads and uploads go on."""
HEADER_BYTES = 128 * 1024
"""Of one header: a run token names all that its execution may fetch, and where its result goes, which is a spec at
most. A proxy before this door may take less: nginx 8 KiB (`large_client_header_buffers`), some 150 inputs."""
SHUTDOWN_SECONDS = 2.0
"""Downloads that run at a stop get this long; the whole stack stops within 10 s."""


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    health = Health()
    health.figures.read(process_figures("publisher", version("skrei-publisher")))
    health.check("start", lambda: "the transport is waited for")
    figures = PublisherFigures(health.figures)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(listening(settings.health_listen, health))
        publisher = StorePublisher(PluginContext(settings.data_dir.expanduser() / "results"), settings.staging)
        stack.push_async_callback(publisher.close)
        await publisher.start()
        store = publisher.store
        timeout = aiohttp.ClientTimeout(total=settings.fetch_timeout_seconds)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        token = read_token(settings.internal_token_file)
        source = ApiSource(
            session,
            api_url=settings.api_url,
            token=token,
            most_bytes=settings.most_result_bytes,
        )
        here = OnNodes(settings.plugins, source.show)
        destinations = Destinations(publisher, settings.plugins, made={here.name: here})
        stack.push_async_callback(destinations.close)
        connecting = Bus.connect(settings.nats_url, name=SOURCE, creds=settings.nats_creds, ca=settings.nats_ca)
        if (bus := await unless_stopped(stop, connecting)) is None:
            return
        stack.push_async_callback(bus.close)
        health.check("transport", lambda: "" if bus.connected else TRANSPORT_AWAY)
        speaker = _Speaker(bus)
        retention = Retention(
            store,
            keep=timedelta(days=settings.retention_days),
            quota_bytes=settings.quota_bytes,
            dropped=speaker.tell_dropped,
            staging=publisher.staging,
        )
        doorkeeper = SignedDoor(TokenVerifier(settings.token_public_key.read_bytes()))
        book = LogBook(
            settings.data_dir.expanduser() / "logs",
            stream_bytes=settings.log_stream_bytes,
            quota_bytes=settings.log_quota_bytes,
            node_share_percent=settings.node_share_percent,
        )
        book.open()
        logs = LogDoor(book, doorkeeper)
        done = Done(settings.data_dir.expanduser() / "forwarded")
        needed = Needed(source, seconds=settings.fetch_timeout_seconds)
        publisher.make_room = partial(free_copies, store, done, needed=needed.results)
        divider = Divider(destinations, Done(settings.data_dir.expanduser() / "divided"))
        worker = Worker(
            store,
            source,
            retention,
            tell=speaker.tell,
            batch=settings.store_batch,
            most_pending=settings.most_pending,
            finaliser=Finaliser(destinations, done, divider, seconds=settings.publish_seconds),
            drop_logs=logs.drop,
            make_room=publisher.make_room,
        )
        await bus.subscribe(subjects.PUBLISHER_COMMAND, _into(worker))
        lists = ManifestStore(
            settings.data_dir.expanduser() / "manifests",
            quota_bytes=settings.manifest_quota_bytes,
            keep_seconds=settings.keep_others.total_seconds(),
            needed=needed.manifests,
        )
        lists.open()
        manifests = ManifestDoor(lists, doorkeeper)
        door = build(
            store,
            source,
            doorkeeper,
            health=health,
            uploads=_uploads(settings, destinations, doorkeeper, figures),
            figures=figures,
            logs=logs,
            destinations=destinations,
            manifests=manifests,
            control=ControlDoor(destinations, token),
            relay=Relay(source.ask_node, doorkeeper),
        )
        await stack.enter_async_context(_listening(door, settings.publisher_host, settings.publisher_port))
        health.check("start", lambda: "")
        health.figures.read(
            partial(
                store_figures,
                used=lambda: store.used_bytes,
                quota=settings.quota_bytes,
                pending=lambda: worker.pending,
                left_out=lambda: worker.left_out,
                uploads=lambda: publisher.staging.open_uploads,
            )
        )
        log.info("publisher_started", port=settings.publisher_port, used_bytes=store.used_bytes)
        interval = timedelta(seconds=settings.retention_interval_seconds)

        async def tidy_logs() -> None:
            await logs.tidy(store, settings.keep_logs)

        async def tidy_elsewhere() -> None:
            await asyncio.to_thread(done.tidy, settings.keep_others.total_seconds(), store)
            await divider.tidy(settings.keep_others.total_seconds())
            await destinations.tidy(settings.keep_others.total_seconds())

        await run_until_stopped(
            stop,
            transport=bus.lasting(),
            worker=worker.run(),
            retention=every(interval, retention.run_once, name="retention", clock=SystemClock()),
            logs=every(interval, tidy_logs, name="logs", clock=SystemClock()),
            elsewhere=every(interval, tidy_elsewhere, name="elsewhere", clock=SystemClock()),
        )


def _uploads(
    settings: Settings, destinations: Destinations, doorkeeper: SignedDoor, figures: PublisherFigures
) -> UploadDoor | None:
    if settings.receipt_key is None:
        return None
    return UploadDoor(destinations, doorkeeper, TokenSigner(settings.receipt_key.read_bytes()), figures)


class _Speaker:
    """Tells the leader what is done. A fact that gets lost is told again: its command is repeated by the sweep."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def tell(self, fact: PublisherFact) -> None:
        payload = envelope.wrap(fact, type_=fact.type, source=SOURCE, id_=str(uuid.uuid4()))
        try:
            await self._bus.publish(subjects.PUBLISHER_FACT, payload)
        except BusUnavailable as error:
            log.warning("publisher_fact_not_sent", reason=error.message)

    async def tell_dropped(self, execution_ids: Sequence[str]) -> None:
        await self.tell(PublisherFact(dropped=tuple(execution_ids)))


def _into(worker: Worker) -> Callable[[Message], Awaitable[None]]:
    async def handle(message: Message) -> None:
        try:
            command = sound_command(envelope.unwrap(PublisherCommand, message.data))
        except ValueError as error:
            log.error("publisher_command_unreadable", reason=str(error).splitlines()[0])
            return
        worker.accept(command)

    return handle


@asynccontextmanager
async def _listening(app: web.Application, hosts: str, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, max_field_size=HEADER_BYTES)
    await runner.setup()
    try:
        for host in hosts.split(","):
            await web.TCPSite(runner, host.strip(), port).start()
        yield
    finally:
        await runner.cleanup()
