"""Start the API: connect, serve, and stop in order when told to."""

import asyncio
import contextlib
import json
import logging
import socket
import sys
from collections.abc import Generator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
import uvloop

from skrei_domain.clock import SystemClock
from skrei_domain.errors import SkreiError, Unavailable
from skrei_kit.bus import Bus
from skrei_kit.health import Health
from skrei_kit.health_door import listening
from skrei_kit.metrics import process_figures
from skrei_kit.nats_auth import Signer
from skrei_kit.observability import configure_logs, get_logger
from skrei_kit.settings import load
from skrei_kit.supervisor import (
    Watchdog,
    await_start,
    die_with_parent,
    every,
    run_until_stopped,
    stop_on_signals,
    unless_stopped,
)
from skrei_kit.tokens import TokenSigner, TokenVerifier
from skrei_kit.traced import exporting
from skrei_orchestrator_api.app import build
from skrei_orchestrator_api.deps import Deps
from skrei_orchestrator_api.figures import ApiFigures, door_figures
from skrei_orchestrator_api.gate import Gate
from skrei_orchestrator_api.listeners import Listeners
from skrei_orchestrator_api.node_access import NodeAccess
from skrei_orchestrator_api.node_changes import NodeChanges
from skrei_orchestrator_api.publishing import Destinations
from skrei_orchestrator_api.record import Record
from skrei_orchestrator_api.routes.agent import VERSION
from skrei_orchestrator_api.settings import Settings
from skrei_orchestrator_api.submissions import Submissions

if TYPE_CHECKING:
    from skrei_kit.otlp import Exporter
    from skrei_orchestrator_api.traces import ApiTraces

log = get_logger()

STOP_SECONDS = 5
"""How long open requests may finish; log readers are cut off then."""
IDLE_SECONDS = 75
"""How long an idle connection is kept: longer than clients pool theirs, so that none fails on a fresh request."""
PURGE_INTERVAL = timedelta(minutes=5)
"""How often expired idempotency tokens are deleted: a bounded number at once, so that it never shows."""
TOKEN_INTERVAL = timedelta(seconds=10)
"""Between looks at the file of the join token, which another server may have changed: one small read."""
BACKLOG = 2_048
"""Connections that may wait to be accepted: a burst of clients that all connect at once."""


class Server(uvicorn.Server):
    """Uvicorn without its own signal handlers: the service's stop is the one."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals alone."""
        yield


def new_server(deps: Deps) -> Server:
    """Return the HTTP server, not started."""
    # It calls a refused upgrade an error of the application: a foreign page could fill the log with it.
    logging.getLogger("uvicorn.error").addFilter(_said_by_design)
    return Server(
        uvicorn.Config(
            build(deps),
            loop="none",
            http="httptools",
            ws="websockets-sansio",
            ws_max_size=64 * 1024,
            ws_ping_interval=None,
            lifespan="off",
            access_log=False,
            proxy_headers=False,  # who asks is the other end of the socket, whatever a header claims
            log_config=None,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            backlog=BACKLOG,
        )
    )


def _said_by_design(record: logging.LogRecord) -> bool:
    return "without completing handshake" not in record.getMessage()


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 takes a free one. Raises Unavailable where somebody else has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        hint = "stop what listens there, or set SKREI_API_PORT"
        raise Unavailable(f"{host}:{port} cannot be listened on: {error.strerror}", hint=hint) from error
    return sock


def bind_all(hosts: str, port: int) -> list[socket.socket]:
    """Return a bound socket for each of several hosts, `a,b`; a port of 0 is the same free one for all."""
    bound: list[socket.socket] = []
    try:
        for host in hosts.split(","):
            bound.append(bind(host.strip(), bound[0].getsockname()[1] if bound else port))
    except Unavailable:
        for sock in bound:
            sock.close()
        raise
    return bound


async def serve_http(server: Server, socks: Sequence[socket.socket], submissions: Submissions) -> None:
    """Serve until cancelled; then finish what is open, and only then stop storing submissions."""
    storing = asyncio.create_task(submissions.run(), name="submissions")
    serving = asyncio.create_task(server.serve(sockets=list(socks)), name="http")
    try:
        await asyncio.wait({storing, serving}, return_when=asyncio.FIRST_COMPLETED)
        for task in (storing, serving):
            if task.done():
                task.result()  # raises what ended it; it should not have ended at all
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    health = Health()
    health.figures.read(process_figures("orchestrator-api", VERSION))
    health.check("start", lambda: "the transport is waited for")
    exporter = settings.exporter(health.figures)
    async with listening(settings.health_listen, health), exporting(exporter):
        await _serve(settings, stop, health, exporter)


async def _serve(settings: Settings, stop: asyncio.Event, health: Health, exporter: "Exporter | None") -> None:
    socks = bind_all(settings.api_host, settings.api_port)
    bus: Bus | None = None
    try:
        connecting = Bus.connect(
            settings.nats_url, name="skrei-orchestrator-api", creds=settings.nats_creds, ca=settings.nats_ca
        )
        if (bus := await unless_stopped(stop, connecting)) is None:
            return
        async with Record.open(settings) as record:
            internal_token = settings.internal_token_file.read_text("ascii").strip()
            destinations = Destinations(settings.near_publisher_url, internal_token)
            figures = ApiFigures(health.figures)
            submissions = Submissions(
                record, bus, settings, destinations, figures=figures, traces=_traces(exporter, settings)
            )
            public_key = settings.token_public_key.read_bytes()
            verifier = TokenVerifier(public_key)
            gate = Gate(
                hosts=settings.hosts,
                owner_token=_secret(settings.owner_token_file),
                join_token=_secret(settings.join_token_file),
                trust_loopback=settings.trust_loopback,
                names_client=verifier.names_client,
                origins=frozenset(settings.api_cors_origins),
            )
            access = NodeAccess(
                record,
                gate,
                token_file=settings.join_token_file,
                revoked_file=settings.revoked_keys_file,
                asked=settings.revoked_keys_asked,
                rotate_hint=settings.rotate_hint,
                revoke_hint=settings.revoke_hint,
            )
            health.check("start", lambda: "")
            health.check("record", record.wrong)
            deps = Deps(
                settings=settings,
                health=health,
                figures=figures,
                record=record,
                submissions=submissions,
                bus=bus,
                signer=TokenSigner(settings.token_key.read_bytes()),
                verifier=verifier,
                internal_token=internal_token,
                destinations=destinations,
                gate=gate,
                access=access,
                changes=NodeChanges(record, submissions, settings.node_change_seconds),
                listeners=Listeners(bus, settings.event_listeners),
                node_signer=_signer(settings.node_signer),
                token_public_key=public_key.decode("ascii"),
                nats_ca=settings.nats_ca.read_text("ascii") if settings.nats_ca is not None else "",
            )
            health.figures.read(
                partial(
                    door_figures,
                    waiting_bytes=lambda: submissions.waiting_bytes,
                    log_readers=lambda: deps.log_readers.now,
                    listeners=lambda: len(deps.listeners),
                    connected=lambda: deps.bus.connected,
                )
            )
            log.info("api_started", host=settings.api_host, port=socks[0].getsockname()[1])
            http = serve_http(new_server(deps), socks, submissions)
            purge = every(PURGE_INTERVAL, record.purge_tokens, name="purge", clock=SystemClock(), give_up_after=1_000)
            # A crash between a revocation's commit and its file is mended here, and whenever the record was away.
            revoked = every(PURGE_INTERVAL, access.publish, name="revoked", clock=SystemClock(), give_up_after=1_000)
            token = every(TOKEN_INTERVAL, access.follow, name="token", clock=SystemClock(), give_up_after=1_000)
            await run_until_stopped(
                stop,
                transport=bus.lasting(),
                http=http,
                purge=purge,
                revoked=revoked,
                token=token,
                watchdog=Watchdog().run(),
            )
    finally:
        for sock in socks:
            sock.close()
        if bus is not None:
            await bus.close()


def _traces(exporter: "Exporter | None", settings: Settings) -> "ApiTraces | None":
    if exporter is None:
        return None
    from skrei_orchestrator_api.traces import ApiTraces  # most have no collector, and need not hold this

    return ApiTraces(exporter, settings.trace_share)


def _secret(path: Path | None) -> str:
    return path.read_text("ascii").strip() if path is not None else ""


def _signer(path: Path | None) -> Signer | None:
    return Signer(**json.loads(path.read_text("ascii"))) if path is not None else None


def main() -> None:
    """Run the service."""
    die_with_parent()
    await_start()
    try:
        settings = load(Settings)
        configure_logs(settings.log_level, service="orchestrator-api")
        uvloop.run(serve(settings))
    except SkreiError as error:
        log.error("api_not_started", problem=error.message, hint=error.hint)
        sys.exit(1)


if __name__ == "__main__":
    main()
