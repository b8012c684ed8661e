"""Becoming a node of another machine's control plane: one request, once; what it answers is kept.

The node's key is made here and its seed never leaves; the control plane only signs its public half.
"""

import base64
import contextlib
import http
import json
import os
import platform
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from skrei_domain.errors import Conflict, Invalid, SkreiError, Unavailable
from skrei_domain.ids import new_node_id
from skrei_kit import nats_auth
from skrei_kit.observability import get_logger
from skrei_kit.proxies import port_of, proxy_of
from skrei_kit.secret_files import write_secret
from skrei_kit.sites import Site

if TYPE_CHECKING:
    import http.client

log = get_logger()

JOIN_PATH = "/api/v1/orchestrator/join"
PATIENCE_SECONDS = 5.0
"""How long what may pass is tried again: a control plane that restarts is back by then, and nobody waits for a typo."""
ANSWER_SECONDS = 10.0
"""How long one answer may take: it is one small transaction."""
GREETING_SECONDS = 3.0
"""How long the transport may take to greet: a firewall that drops silently shows in this."""
PAUSE_SECONDS = 0.5
ANSWER_BYTES = 256 * 1024
MOST_SAID = 60
"""Characters of what a foreign server said: enough to recognise it."""
KEY_REVOKED = "key-revoked"
"""The reason of a refusal that is about the key that was shown, not about the node."""
_CONFLICT = 409
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}")


class NotSkrei(Invalid):
    """Something answers there that is not a control plane."""

    code = "not-skrei"


class Refused(Conflict):
    """The control plane does not let this machine in."""

    code = "join-refused"


class Taken(Refused):
    """Another key than this machine's speaks for the node that it wants to be."""


class NotOfSite(Refused):
    """The node that this machine is has no place at the site that it was told of."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What this machine is to a control plane; `nats_creds` is the path of its credentials."""

    node_id: str
    control_plane: str
    nats_url: str
    nats_creds: str
    api_url: str
    publisher_url: str
    nats_ca: str = ""
    """The path of what vouches for the transport; empty: what this machine trusts."""
    nats_domain: str = ""
    """What the control plane's streams are called behind a site's own server; empty: there is none between."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How a machine wants in: as the node that it was, or one of a site's places, and by which way to the transport."""

    take_over: bool = False
    nats_url: str = ""
    site: Site | None = None


def settle(
    folder: Path,
    url: str | None,
    token: str | None,
    *,
    take_over: bool = False,
    nats_url: str = "",
    site: Site | None = None,
) -> Joined | None:
    """Return what this machine is: from the control plane at `url` where one is named, else as it was kept.

    `nats_url` is how this machine reaches the transport, where that is another way than the control plane tells; of
    several, `a,b`, the first that greets is kept. Of a `site` it becomes one of the nodes. A node that joined before
    goes on with what it has when the control plane is away: it works from its journal. Raises SkreiError, with what to
    do, when it is no node yet and cannot become one.
    """
    kept = read_kept(folder)
    if not url:
        return kept
    _check(url, token)
    again = kept is not None and kept.control_plane == url
    if not token:
        if again:
            return kept
        raise Invalid(
            f"joining {url} needs its join token",
            hint="add --token TOKEN (or set SKREI_JOIN_TOKEN): `skrei node join-line` there prints the whole command",
        )
    try:
        return join(folder, url, token, Asking(take_over, nats_url, site))
    except SkreiError as error:
        if not again or take_over or isinstance(error, NotOfSite):
            raise
        log.warning("not_joined_again", problem=error.message, hint="going on with what it was given before")
        return kept


def _check(url: str, token: str | None) -> None:
    """Raise Invalid for what cannot be an address or a token, whoever is asked."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise Invalid(f"--join {url}: that is no address", hint="it looks like http://10.0.0.1:1234")
    if token is not None and not _TOKEN.fullmatch(token):
        raise Invalid("the join token has characters that no token has", hint=_RIGHT_ADDRESS)


def join(folder: Path, url: str, token: str, asking: Asking) -> Joined:
    """Join the control plane at `url`, keep what it answers, and see by which way its transport can be reached."""
    keys, site = folder / "keys", asking.site
    keys.mkdir(mode=0o700, exist_ok=True)
    seed = _seed(keys)
    body = {"PublicKey": nats_auth.public_key(seed), "Name": platform.node(), "TakeOver": asking.take_over}
    node_id, answer = _let_in(keys / "node.id", url, token, body, site)
    creds, ca = keys / "node.creds", keys / "nats-ca.pem"
    try:
        write_secret(creds, nats_auth.creds_text(answer["JWT"], seed))
        vouching = site.nats_ca if site else answer.get("NATSCA") or ""
        write_secret(ca, vouching)
        trusted = str(ca) if vouching else ""
        joined = Joined(node_id, url, answer["NATSURL"], str(creds), url, answer["PublisherURL"], trusted)
        told = list(answer.get("NATSURLs") or ()) or [joined.nats_url]  # a server of before names one
        ways = [each.strip() for each in asking.nats_url.split(",") if each.strip()] or told
    except (AttributeError, KeyError, TypeError) as error:
        raise NotSkrei(f"{url} answers, but not as a control plane does: no {error}", hint=_SAME_VERSION) from error
    if site:
        ways, joined = [site.nats_url], replace(joined, nats_domain=site.nats_domain)
    joined = replace(joined, nats_url=_patiently(lambda: _first_that_greets(ways)))
    kept = {name: value for name, value in asdict(joined).items() if value or name != "nats_domain"}
    write_secret(keys / "joined.json", json.dumps(kept))  # an agent of before reads what it knows
    return joined


def _let_in(
    kept: Path, url: str, token: str, body: Mapping[str, object], site: Site | None
) -> tuple[str, dict[str, Any]]:
    """Return the node that this machine is, and what lets it in: the one it was, else a new one, of a site's places.

    Raises Refused where it may not be that one, or nobody left it a place.
    """

    def ask(node_id: str) -> dict[str, Any]:
        told = {**body, "NodeID": node_id}
        answer: dict[str, Any] = _patiently(lambda: _ask(url, token, {**told, "Time": time.time()}))
        return answer

    if kept.exists() or site is None:
        node_id = _kept_or(kept, new_node_id)
        if site and node_id not in site.places:
            raise NotOfSite(
                f"this machine is node {node_id} already, which is none of site {site.name}", hint=ANOTHER_FOLDER
            )
        return node_id, ask(node_id)
    if body["TakeOver"]:
        raise Invalid(
            f"--take-over: which node of site {site.name} this machine should be is not said",
            hint="write the id of that node to keys/node.id in the data folder first, or leave --take-over out",
        )
    for node_id in site.in_order(str(body["PublicKey"])):
        try:
            answer = ask(node_id)
        except Taken as error:
            log.debug("place_taken", node_id=node_id, problem=error.message)
            continue
        write_secret(kept, node_id)
        return node_id, answer
    raise Refused(f"none of the {len(site.places)} places of site {site.name} is free", hint=_MORE_PLACES)


def line(url: str, token: str) -> str:
    """Return the command that makes another machine a node of the control plane at `url`."""
    return f"skrei serve --compute --join {url} --token {token.strip()}"


def read_kept(folder: Path) -> Joined | None:
    """Return what an earlier start was told; None where this machine never joined."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Joined(**json.loads((folder / "keys" / "joined.json").read_text("utf-8")))
    return None


def _kept_or(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        write_secret(path, make())
    return path.read_text("ascii").strip()


def _seed(keys: Path) -> str:
    """Return this node's seed: that of its credentials, which the agent renews with others, else the first one."""
    with contextlib.suppress(OSError, ValueError):
        return nats_auth.read_creds((keys / "node.creds").read_text("utf-8"))[1]
    return _kept_or(keys / "node.seed", nats_auth.new_user_seed)


def _patiently(step: Callable[[], Any]) -> Any:
    """Return what `step` does, trying again for a while where that may help."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return step()
        except Unavailable as error:
            if time.monotonic() >= until:
                raise
            log.debug("join_tried", problem=error.message)
        time.sleep(PAUSE_SECONDS)


def _ask(url: str, token: str, body: Mapping[str, object]) -> dict[str, Any]:
    """Send the request; return the answer. Raises Unavailable for what may pass, other errors for what will not."""
    import http.client  # needed once in the life of a node
    import ssl

    link, path = _link(url)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        link.request("POST", f"{path.rstrip('/')}{JOIN_PATH}", json.dumps(body), headers | _shown(url))
        response = link.getresponse()
        status, raw = response.status, response.read(ANSWER_BYTES)
    except socket.gaierror as error:
        raise Invalid(f"{_by(url)}: no machine of that name is known here", hint=_RIGHT_ADDRESS) from error
    except ssl.SSLError as error:
        raise NotSkrei(f"{url}: no TLS that can be trusted: {error.reason or error}", hint=_TLS) from error
    except http.client.HTTPException as error:
        raise NotSkrei(f"{url} answers, but not in HTTP: {_said(error)}", hint=_RIGHT_ADDRESS) from error
    except OSError as error:
        raise Unavailable(f"{_by(url)} cannot be reached: {_said(error)}", hint=_REACHABLE) from error
    finally:
        link.close()
    return _read(url, status, raw)


def _read(url: str, status: int, raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except ValueError:
        document = None
    if status in (502, 503, 504):
        raise Unavailable(f"{url} is not ready: it answers {status}", hint="look at the control plane's log")
    told = document if isinstance(document, dict) else {}
    message, hint = told.get("Message"), told.get("Hint")
    if status == 200 and told.get("JWT"):
        return told
    if status == 404 or not isinstance(message, str) or "Component" not in told:
        raise NotSkrei(f"{url} answers ({status}), but it is not Skrei's API", hint=_RIGHT_ADDRESS)
    details = told.get("Details")
    revoked = isinstance(details, dict) and details.get("Reason") == KEY_REVOKED  # no other place would take it
    refused = Taken if status == _CONFLICT and not revoked else Refused
    raise refused(f"{url} refuses: {message}", hint=hint if isinstance(hint, str) and hint else _RIGHT_ADDRESS)


def _link(url: str, *, timeout: float = ANSWER_SECONDS) -> "tuple[http.client.HTTPConnection, str]":
    """Return a connection that leads to an address, through the proxy that is named for it, and what to ask it for."""
    import http.client

    parts, proxy = urlsplit(url), proxy_of(url)
    host, port = parts.hostname or "", port_of(url)
    if parts.scheme not in ("https", "wss"):
        if proxy is None:
            return http.client.HTTPConnection(host, port, timeout=timeout), parts.path
        return http.client.HTTPConnection(proxy.host, proxy.port, timeout=timeout), url
    if proxy is None:
        return http.client.HTTPSConnection(host, port, timeout=timeout), parts.path
    link = http.client.HTTPSConnection(proxy.host, proxy.port, timeout=timeout)
    link.set_tunnel(host, port, proxy.headers)
    return link, parts.path


def _by(url: str) -> str:
    """Return an address as it is told, with the proxy that leads there."""
    proxy = proxy_of(url)
    return url if proxy is None else f"{url} (by the proxy {proxy.url})"


def _shown(url: str) -> dict[str, str]:
    """Return what a proxy is shown that reads the request itself; one that only connects was shown it before."""
    proxy = proxy_of(url) if urlsplit(url).scheme == "http" else None
    return {} if proxy is None else proxy.headers


def _first_that_greets(nats_urls: list[str]) -> str:
    """Return the first address at which a nats-server greets. Raises Unavailable, about the first, where none does."""
    errors: list[Unavailable] = []
    for url in nats_urls:
        try:
            (_opens if urlsplit(url).scheme in ("ws", "wss") else _greeted)(url)
        except Unavailable as error:
            errors.append(error)
        else:
            return url
    others = "; ".join(error.message for error in errors[1:])
    raise Unavailable(errors[0].message + (f"; {others}" if others else ""), hint=errors[0].hint)


def _greeted(nats_url: str) -> None:
    """Raise Unavailable unless a nats-server greets at that address."""
    parts = urlsplit(nats_url)
    host, port = parts.hostname or "", parts.port or 4222
    hint = f"let TCP port {port} through, and see that the control plane was started with --listen ADDR"
    try:
        with socket.create_connection((host, port), timeout=GREETING_SECONDS) as link:
            link.settimeout(GREETING_SECONDS)
            if link.recv(5) == b"INFO ":
                return
    except OSError as error:
        raise Unavailable(
            f"the API lets this machine in, but NATS at {host}:{port} cannot be reached: {_said(error)}", hint=hint
        ) from error
    raise Unavailable(f"what listens at {host}:{port} is no nats-server", hint=hint)


def _opens(nats_url: str) -> None:
    """Raise Unavailable unless a WebSocket opens at that address."""
    import http.client

    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
    }
    link, path = _link(nats_url, timeout=GREETING_SECONDS)
    hint = "see that what answers there passes WebSockets on to nats-server, and that this machine trusts its TLS"
    try:
        link.request("GET", path or "/", headers=headers | _shown(nats_url))
        status = link.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(
            f"the API lets this machine in, but NATS at {_by(nats_url)} cannot be reached: {_said(error)}", hint=hint
        ) from error
    finally:
        link.close()
    if status != http.HTTPStatus.SWITCHING_PROTOCOLS:
        raise Unavailable(f"what answers at {nats_url} opens no WebSocket: it answers {status}", hint=hint)


def _said(error: Exception) -> str:
    """Return an error in a few printable words: what a stranger's server sent may be anything, and long."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    printable = "".join(each if each.isprintable() else " " for each in text).strip()
    return printable if len(printable) <= MOST_SAID else f"{printable[:MOST_SAID]}…"


_RIGHT_ADDRESS = "`skrei node join-line` on the control plane's machine prints the whole command with the right address"
_REACHABLE = (
    "see that the control plane runs with --listen ADDR, that the address and port are right, and that no firewall is "
    "between"
)
_TLS = "use http:// where no proxy adds TLS; else see that its certificate is one that this machine trusts"
_SAME_VERSION = "see that both machines run the same version of Skrei"
ANOTHER_FOLDER = "give it a data folder of its own (--data-dir), in which it becomes a new node, of that site"
_MORE_PLACES = "make the site anew with more of them: `skrei-cluster-init site NAME --places N …` (docs/EDGE.md)"
