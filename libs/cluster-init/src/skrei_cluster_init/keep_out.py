"""`skrei-cluster-init keep-out`: tell the cluster's nats-server which keys it lets in no more, for as long as it runs.

The API says which those are, as the record has them; only who founded the cluster can sign that. So this is a program
of its own, which nobody can call: it asks the API, signs, and tells the server, which closes the connections of those
keys and keeps what it was told. A server that has started again has what it was started with: it is told anew.
"""

import asyncio
import http.client
import json
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from skrei_domain.clock import SystemClock
from skrei_domain.errors import Unavailable
from skrei_kit import nats_auth
from skrei_kit.bus import Bus
from skrei_kit.health import Health
from skrei_kit.health_door import listening
from skrei_kit.metrics import process_figures
from skrei_kit.nats_auth import Authority
from skrei_kit.observability import configure_logs, get_logger
from skrei_kit.secret_files import write_secret
from skrei_kit.settings import LogLevel, Settings, load
from skrei_kit.supervisor import every, run_until_stopped, stop_on_signals, unless_stopped

log = get_logger()

NAME = "skrei-keep-out"
PATH = "/internal/revoked"
LOOK_EVERY = timedelta(seconds=2)
"""How often the API is asked: one row of the record for each key, and the owner who revokes one waits for it."""
AGAIN_SECONDS = 600.0
"""How long a server may go on with what it was told before it is told again: whoever changed it by hand is undone."""
ANSWER_SECONDS = 5.0
"""How long either may take to answer; both are asked again."""
ANSWER_BYTES = 8 * 1024 * 1024
"""The longest answer of the API that is read: a hundred thousand keys; what NATS takes in one message is less."""


class KeepOut(Settings):
    """What it is told before it starts."""

    nats_url: str
    """The cluster's nats-server, which keeps its accounts in a folder (`SKREI_NATS_ACCOUNTS_FOLDER` of `init`)."""

    nats_ca: Path | None = None
    """The certificates (PEM) that vouch for it; none: those that this machine trusts."""

    api_url: str
    """The API."""

    internal_token_file: Path
    """The token that services of the cluster show there, in a file."""

    authority_file: Path
    """Who signs the cluster: `authority.json` of the founder. Nobody else is to have it."""

    trust_file: Path
    """`trust.conf` of the nats-server: keys that it revokes were so by hand, or are of sites that were taken away."""

    log_level: LogLevel = "info"
    """The least level that is logged."""


def main() -> None:
    """Tell it until SIGTERM or SIGINT. Raises SkreiError, OSError."""
    settings = load(KeepOut)
    configure_logs(settings.log_level, service="keep-out")
    asyncio.run(_run(settings))


async def _run(settings: KeepOut) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    await serve(settings, stop)


async def serve(settings: KeepOut, stop: asyncio.Event, *, look_every: timedelta = LOOK_EVERY) -> None:
    """Tell it until `stop` is set."""
    authority = Authority(**json.loads(settings.authority_file.read_text("utf-8")))
    health = Health()
    health.figures.read(process_figures("keep-out", version("skrei-cluster-init")))
    health.check("start", lambda: "the transport is waited for")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(listening(settings.health_listen, health))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skrei-")))
        write_secret(creds := folder / "keeper.creds", nats_auth.keeper_creds(authority, NAME))
        forgot = asyncio.Event()

        async def back() -> None:
            forgot.set()

        connecting = Bus.connect(settings.nats_url, name=NAME, creds=creds, ca=settings.nats_ca, on_reconnect=back)
        if (bus := await unless_stopped(stop, connecting)) is None:
            return
        stack.push_async_callback(bus.close)
        token = settings.internal_token_file.read_text("ascii").strip()

        async def ask() -> Iterable[str]:
            return await asyncio.to_thread(revoked_keys, settings.api_url, token)

        keeper = Keeper(authority, settings.trust_file, ask, bus, forgot)
        health.check("start", lambda: "")
        health.check("told", lambda: keeper.wrong)
        log.info("keep_out_started", nats=settings.nats_url, api=settings.api_url)
        told = every(look_every, keeper.look, name="keep-out", clock=SystemClock())
        await run_until_stopped(stop, transport=bus.lasting(), told=told)


class Keeper:
    """Tells the server when there is news, when it has started again, and now and then. `forgot`: it has.

    It never tells less than it told: an API that is away, or whose record is an older one, lets nobody in again.
    """

    def __init__(
        self,
        authority: Authority,
        trust_file: Path,
        ask: Callable[[], Awaitable[Iterable[str]]],
        bus: Bus,
        forgot: asyncio.Event,
    ) -> None:
        self._authority = authority
        self._trust_file = trust_file
        self._ask = ask
        self._bus = bus
        self._forgot = forgot
        self._known: frozenset[str] | None = None  # None: the API has not answered yet, and the server may know more
        self._told: frozenset[str] | None = None
        self._told_at = 0.0
        self.wrong = "the server was told nothing yet"
        """Why the server may let in what it should not; empty: it was told all."""

    async def look(self) -> None:
        """Ask the API, and tell the server what it does not know. What does not answer now is asked again."""
        wrong = [await self._unless_away(self._learn()), await self._unless_away(self._tell_all())]
        if (said := "; ".join(filter(None, wrong))) != self.wrong and said:
            log.warning("not_told", problem=said)
        self.wrong = said

    async def _unless_away(self, step: Awaitable[None]) -> str:
        """Return what was away; empty: nothing."""
        try:
            await step
        except Unavailable as error:
            return f"{error.message}; {error.hint}" if error.hint else error.message
        return ""

    async def _learn(self) -> None:
        trust = await asyncio.to_thread(self._trust_file.read_text, "utf-8")
        by_hand = nats_auth.revoked_in(trust, self._authority.account_id)
        self._known = (self._known or frozenset()) | by_hand | frozenset(await self._ask())

    async def _tell_all(self) -> None:
        now = asyncio.get_running_loop().time()
        current = self._told == self._known and now - self._told_at < AGAIN_SECONDS and not self._forgot.is_set()
        if self._known is None or current:
            return
        before, self._told = self._told, None  # it may take what its answer, lost, would have said
        self._forgot.clear()
        await self._tell(self._known)
        self._told, self._told_at = self._known, now
        if before != self._told:
            log.info("told", revoked=len(self._told))

    async def _tell(self, revoked: Iterable[str]) -> None:
        """Raises Unavailable where it does not take them."""
        said = nats_auth.account_jwt(self._authority, sorted(revoked))
        answer = await self._bus.request(nats_auth.CLAIMS_UPDATE, said.encode("ascii"), timeout_seconds=ANSWER_SECONDS)
        try:
            told = json.loads(answer)
            taken = "error" not in told and told["data"]["code"] == http.client.OK
        except (ValueError, KeyError, TypeError):
            taken = False
        if not taken:
            raise Unavailable(
                f"the nats-server does not take which keys are revoked: {answer[:200].decode('utf-8', 'replace')}",
                hint="does it read the trust.conf that was made last? start it again",
            )


def revoked_keys(api_url: str, token: str) -> list[str]:
    """Return the keys that the record lets in no more. Raises Unavailable where the API does not say."""
    parts = urlsplit(api_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    link = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    try:
        link.request("GET", f"{parts.path.rstrip('/')}{PATH}", headers={"Authorization": f"Bearer {token}"})
        response = link.getresponse()
        status, raw = response.status, response.read(ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the API at {api_url} cannot be reached: {error or type(error).__name__}") from error
    finally:
        link.close()
    try:
        keys = json.loads(raw)["Keys"] if status == http.client.OK else None
    except (ValueError, KeyError, TypeError):
        keys = None
    if not (isinstance(keys, list) and all(isinstance(key, str) and nats_auth.is_user_key(key) for key in keys)):
        raise Unavailable(f"the API at {api_url} does not say which keys are revoked: it answers {status}")
    return keys
