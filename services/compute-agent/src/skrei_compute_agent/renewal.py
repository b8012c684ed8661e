"""What lets this node in at the transport, made to last: renewed with a new key long before it ends, or after it has.

The next key lies beside the credentials before anybody hears of it, so that a lost answer costs nothing: asked again
with the same key, the control plane answers the same. A node that was cut off for months renews by the key that it has.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from skrei_domain.errors import Conflict, SkreiError, Unavailable
from skrei_kit import nats_auth
from skrei_kit.nats_auth import User
from skrei_kit.observability import get_logger
from skrei_kit.proxies import through
from skrei_kit.secret_files import write_secret
from skrei_plugin_api import answers

log = get_logger()

PATH = "/api/v1/orchestrator/join/renewal"
ANSWER_SECONDS = 10.0
"""How long one answer may take: it is one small transaction."""
ANSWER_BYTES = 64 * 1024
"""The longest answer that is read: a JWT has a kilobyte."""
AGAIN_SECONDS = 1.0
"""First pause before an API that could not be reached is asked again; doubles."""
AGAIN_MAX_SECONDS = 300.0
"""The longest pause; a link that is refused shortens it, for then the node waits for nothing else."""
REFUSED_SECONDS = 30.0
"""Between two questions while the transport refuses this node: an owner who mends that sees it soon."""
CLOCK_SECONDS = 300.0
"""A clock that stands so far before the time of the signature is wrong, and says nothing of when it ends."""
CHUNK_SECONDS = 3_600.0
"""The longest wait at once: a machine that sleeps, or whose clock is set, is noticed within the hour."""


class Refused(Conflict):
    """The control plane lets this node in no longer."""

    code = "renewal-refused"


class _Answer(BaseModel):
    JWT: str = ""
    Message: str = ""
    Hint: str = ""


class _Held(NamedTuple):
    user: User
    seed: str


def due_in(user: User, now: float) -> float | None:
    """Return in how many seconds a user's JWT is to be renewed: at half of its time; None: it has no end."""
    if user.expires is None:
        return None
    if now < user.issued - CLOCK_SECONDS:
        return 0.0
    return max(0.0, user.issued + (user.expires - user.issued) / 2 - now)


class Renewer:
    """Renews the credentials in a file. `api` says where the API is, `renewed` is told to connect with the new ones."""

    def __init__(
        self,
        creds: Path | None,
        *,
        api: Callable[[], str],
        renewed: Callable[[], None],
        trouble: Callable[[str, str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._creds = creds
        self._api = api
        self._renewed = renewed
        self._trouble = trouble
        self._now = now
        self._refused = asyncio.Event()

    def refused(self) -> None:
        """The transport does not let this node in: renew now, whatever the clock says."""
        self._refused.set()

    async def run(self) -> None:
        """Renew whenever it is time, until cancelled; a node whose credentials have no end has nothing to do."""
        pause = AGAIN_SECONDS
        while True:
            await self._until_due()
            held = await asyncio.to_thread(self._read)
            if held is None or held.user.expires is None:
                self._refused.clear()
                await self._refused.wait()  # nothing here would change that; the file may be replaced by hand
                await asyncio.sleep(REFUSED_SECONDS)
                continue
            try:
                await self.renew(held.user, held.seed)
            except (SkreiError, OSError) as error:
                said, hint = (error.message, error.hint) if isinstance(error, SkreiError) else (str(error), "")
                log.warning("not_renewed", problem=said, hint=hint)
                if self._refused.is_set():
                    self._trouble(f"the transport refuses this node, and its key cannot be renewed: {said}", hint)
                await asyncio.sleep(min(pause, REFUSED_SECONDS) if self._refused.is_set() else pause)
                pause = min(pause * 2, AGAIN_MAX_SECONDS)
            else:
                pause = AGAIN_SECONDS
                self._refused.clear()
                self._renewed()

    async def renew(self, user: User, seed: str) -> None:
        """Get credentials for the next key and keep them. Raises Unavailable for what may pass, Refused, OSError."""
        assert self._creds is not None
        pending = self._creds.with_name(f"{self._creds.name}.next")
        next_seed = await asyncio.to_thread(_kept_or_new, pending)
        next_key = nats_auth.public_key(next_seed)
        said = nats_auth.renewal(user.name, user.key, next_key)
        body = {
            "NodeID": user.name,
            "PublicKey": user.key,
            "NextPublicKey": next_key,
            "Proof": nats_auth.prove(seed, said),
            "NextProof": nats_auth.prove(next_seed, said),
        }
        token = await self._ask(body)
        with contextlib.suppress(ValueError):
            if nats_auth.read_jwt(token).key == next_key:
                await asyncio.to_thread(write_secret, self._creds, nats_auth.creds_text(token, next_seed))
                await asyncio.to_thread(pending.unlink, missing_ok=True)
                log.info("credentials_renewed", node_id=user.name)
                return
        raise Unavailable("the API's answer to a renewal cannot be read", hint="see that both run the same version")

    async def _until_due(self) -> None:
        while not self._refused.is_set():
            held = await asyncio.to_thread(self._read)
            wait = None if held is None else due_in(held.user, self._now())
            if wait == 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHUNK_SECONDS if wait is None else min(wait, CHUNK_SECONDS)):
                    await self._refused.wait()

    def _read(self) -> _Held | None:
        if self._creds is None:
            return None
        try:
            return _Held(*nats_auth.read_creds(self._creds.read_text("utf-8")))
        except (OSError, ValueError) as error:
            log.warning("credentials_unreadable", path=str(self._creds), problem=str(error))
            return None

    async def _ask(self, body: dict[str, str]) -> str:
        api = self._api().rstrip("/")
        if not api:
            raise Unavailable("nobody has said yet where the API is")
        import aiohttp  # 8 MB, which a node does without until it has something to fetch

        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(f"{api}{PATH}", json=body, allow_redirects=False, proxy=through(api)) as response,
            ):
                status, raw = response.status, await answers.body(response, ANSWER_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"the API at {api} cannot be reached: {error or type(error).__name__}") from error
        try:
            told = _Answer.model_validate_json(raw)
        except ValidationError:
            told = _Answer()
        if status == 409:
            raise Refused(told.Message or "the API refuses", hint=told.Hint)
        if status != 200 or not told.JWT:
            raise Unavailable(f"the API at {api} answers {status} {told.Message}".strip(), hint=told.Hint)
        return told.JWT


def _kept_or_new(path: Path) -> str:
    if not path.exists():
        write_secret(path, nats_auth.new_user_seed())
    return path.read_text("ascii").strip()
