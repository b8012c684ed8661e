"""Whether a service lives and is ready: what it looks at, and what it answers to who asks.

Alive is a process whose loop answers: nothing that lies elsewhere makes it dead, or whoever restarts the dead would
restart a whole cluster for one server that is away. Ready is one that can do its work now.
"""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

from skrei_kit.metrics import MEDIA, Figures

CHECK_SECONDS = 2.0
"""How long one thing may take to say how it is: whoever asks waits five seconds at most."""
FRESH_SECONDS = 1.0
"""How long an answer holds: however many ask, what is looked at is asked once a second."""
OK = "OK"
NOT_READY = "NotReady"

Check: TypeAlias = Callable[[], str | Awaitable[str]]
"""Returns what is wrong; empty: nothing is."""


class Answer(NamedTuple):
    """What is answered: a status, a kind and the content."""

    status: int
    media: str
    body: bytes


class Health:
    """What one service says of itself. Checks are named as it comes up; what is not named is not looked at."""

    def __init__(self, figures: Figures | None = None) -> None:
        self.figures = figures or Figures()
        self._checks: dict[str, Check] = {}
        self._looking = asyncio.Lock()
        self._seen: dict[str, str] = {}
        self._seen_at: float | None = None

    def check(self, name: str, check: Check) -> None:
        """Look at this too; of two of a name the later counts."""
        self._checks[name] = check
        self._seen_at = None

    async def wrong(self) -> dict[str, str]:
        """Return what is wrong with each thing that is looked at; empty where nothing is."""
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if self._seen_at is None or now - self._seen_at >= FRESH_SECONDS:
                checks = list(self._checks.items())
                found = await asyncio.gather(*(_ask(check) for _, check in checks))
                self._seen = {name: text for (name, _), text in zip(checks, found, strict=True)}
                self._seen_at = asyncio.get_running_loop().time()
            return dict(self._seen)

    async def answer(self, path: str) -> Answer | None:
        """Return the answer to a GET of `path`; None for one that is nothing of ours."""
        match path:
            case "/healthz":
                return _json(200, {"Status": OK})
            case "/readyz":
                return _json(*await self.ready())
            case "/metrics":
                return Answer(200, MEDIA, self.figures.text().encode())
        return None

    async def ready(self) -> tuple[int, dict[str, object]]:
        """Return status and body of the answer to whether this service is ready."""
        found = await self.wrong()
        well = not any(found.values())
        checks = {name: text or OK for name, text in found.items()}
        return 200 if well else 503, {"Status": OK if well else NOT_READY, "Checks": checks}


async def _ask(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            said = check()
            return await said if inspect.isawaitable(said) else said
    except TimeoutError:
        return f"it did not answer within {CHECK_SECONDS:g} s"


def _json(status: int, body: dict[str, object]) -> Answer:
    return Answer(status, "application/json", json.dumps(body).encode() + b"\n")
