"""The gate around every route: tokens compared in constant time, failures counted, foreign pages turned away."""

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import Scope

from skrei_orchestrator_api.access import Caller, Door, Knock, Refusal, Shown, decide, door_of, is_local, was_passed_on
from skrei_orchestrator_api.problems import HttpProblem

FAILED_TOKENS = 20
"""Wrong tokens of one address in a window before it is told to wait: a misspelt variable in a loop ends there."""
FAILED_WINDOW_SECONDS = 60.0
FAILED_ADDRESSES = 10_000
"""Addresses whose failures are counted at once, the longest known forgotten first: about a megabyte."""
KNOWN_NAMES = 64
"""Names in `Host` and `Origin` that were read already: callers use a handful, and each request brings one."""

UNAUTHORIZED, FORBIDDEN = "Request Unauthorized", "Request Forbidden"
"""How the message of a refusal begins: clients and their tests look for these words."""

_TELLS: dict[Refusal, tuple[str, str]] = {
    Refusal.NEEDS_OWNER: (
        "this server wants to know who asks: the request does not come from its own machine and shows no token",
        "set SKREI_API_KEY to what stands in keys/owner.token of the server's data folder",
    ),
    Refusal.WRONG_OWNER: (
        "the token is not the owner token of this server",
        "set SKREI_API_KEY to what stands in keys/owner.token of the server's data folder, or unset it on that machine",
    ),
    Refusal.NEEDS_JOIN: (
        "joining needs the join token",
        "`skrei node join-line` on the control plane's machine prints the whole command",
    ),
    Refusal.WRONG_JOIN: (
        "the join token is not, or no longer, the one of this control plane",
        "`skrei node join-line` on the control plane's machine prints the one that holds now",
    ),
}
"""What each refusal says: what is wrong, and what to do."""


class Failures:
    """Wrong tokens by address, counted in windows that begin with the first one.

    The right token is let in whatever was counted: nobody guesses 256 bits, and whoever shares an address (a proxy's)
    with a stranger must not be shut out by him.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def too_many(self, address: str) -> bool:
        """Whether an address has failed so often that it is told to wait until its window ends."""
        began, count = self._seen.get(address, (0.0, 0))
        return count >= FAILED_TOKENS and self._now() - began < FAILED_WINDOW_SECONDS

    def count(self, address: str) -> None:
        """Note a failure."""
        began, count = self._seen.get(address, (self._now(), 0))
        if self._now() - began >= FAILED_WINDOW_SECONDS:
            began, count = self._now(), 0
        self._seen[address] = (began, count + 1)
        if len(self._seen) > FAILED_ADDRESSES:
            self._seen.popitem(last=False)


class Gate:
    """Lets callers in. `hosts` are the names that this machine's own programs and pages may call the server by.

    `join_token` is the one that holds now; empty: nobody can join.
    """

    def __init__(
        self,
        *,
        hosts: frozenset[str],
        owner_token: str = "",
        join_token: str = "",
        trust_loopback: bool = True,
        failures: Failures | None = None,
        names_client: Callable[[str], bool] = lambda _: False,
        origins: frozenset[str] = frozenset(),
    ) -> None:
        """Guard. `names_client` tells whether a token is one that this server gave to a client who proved a key."""
        self._names_client = names_client
        self._origins = origins
        self._hosts = hosts
        self._owner = owner_token.encode()
        self.join_token = join_token
        self._trust_loopback = trust_loopback
        self._failures = failures or Failures()

    def admit(self, scope: Scope, headers: Mapping[str, str]) -> Caller:
        """Return who the caller is. Raises HttpProblem: 401 without the right token, 429 after many, 403 for pages."""
        client = scope.get("client")
        peer = str(client[0]) if client else ""
        knock = Knock(
            door=door_of(scope.get("method", "GET"), scope["path"]),
            peer=peer,
            passed_on=was_passed_on(headers.keys()),
            shown=self._shown(headers.get("authorization")),
        )
        caller = decide(knock, trust_loopback=self._trust_loopback)
        if isinstance(caller, Refusal):
            raise self._refused(caller, peer)
        if caller in (Caller.LOCAL, Caller.ANYBODY) and is_local(knock):
            self._check_names(headers)
        return caller

    def _shown(self, authorization: str | None) -> Shown:
        if authorization is None:
            return Shown.NONE
        scheme, _, text = authorization.partition(" ")
        token = text.strip().encode()
        if scheme.lower() != "bearer":
            return Shown.OTHER
        owner, join = hmac.compare_digest(token, self._owner), hmac.compare_digest(token, self.join_token.encode())
        if token and owner:
            return Shown.OWNER
        if token and join:
            return Shown.JOIN
        return Shown.CLIENT if self._names_client(text.strip()) else Shown.OTHER

    def is_local(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        """Whether a request comes from this machine, and this machine is let in without a token."""
        client = scope.get("client")
        knock = Knock(Door.OPEN, str(client[0]) if client else "", was_passed_on(headers.keys()), Shown.NONE)
        return self._trust_loopback and is_local(knock)

    def _refused(self, refusal: Refusal, peer: str) -> HttpProblem:
        if refusal in (Refusal.WRONG_OWNER, Refusal.WRONG_JOIN):
            if self._failures.too_many(peer):
                return _too_often()
            self._failures.count(peer)
        reason, hint = _TELLS[refusal]
        joins = refusal in (Refusal.NEEDS_JOIN, Refusal.WRONG_JOIN)  # nobody's clients but ours read these
        return HttpProblem(
            401,
            reason if joins else f"{UNAUTHORIZED}: {reason}",
            code="Unauthorized",
            component="Authorizer",
            hint=hint,
            details={"Reason": reason},
            headers={"WWW-Authenticate": 'Bearer realm="skrei"'},
        )

    def _check_names(self, headers: Mapping[str, str]) -> None:
        """Refuse pages of other sites: a browser tells their origin, and a re-bound name shows in Host."""
        for name, value in (("Host", headers.get("host")), ("Origin", headers.get("origin"))):
            if value is None:
                continue
            if name == "Origin" and value in self._origins:
                continue
            host = hostname(value if name == "Origin" else f"//{value}")
            if host not in self._hosts:
                reason = f"{name} {value!r} may not use this server; allowed: {', '.join(sorted(self._hosts))}"
                raise HttpProblem(
                    403,
                    f"{FORBIDDEN}: {reason}",
                    code="Forbidden",
                    component="Authorizer",
                    hint="from this machine it is called by its own names; add others to SKREI_API_ALLOWED_HOSTS",
                    details={"Reason": reason},
                )


@lru_cache(KNOWN_NAMES)
def hostname(url: str) -> str:
    """Return the host that a URL names, empty where it names none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _too_often() -> HttpProblem:
    return HttpProblem(
        429,
        "too many wrong tokens from this address",
        code="TooManyRequests",
        component="Authorizer",
        hint="wait a minute, then try with the right one",
        headers={"Retry-After": str(int(FAILED_WINDOW_SECONDS))},
    )
