"""What an image starts by itself, asked of its registry: a cluster tells nobody, and our runner starts the program.

Asked only where a job names no Entrypoint; kept for an hour.
"""

import json
import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skrei_domain.errors import SkreiError
from skrei_plugin_api.container_params import DockerParams
from skrei_plugin_api.image_reference import DEFAULT_REGISTRY, Reference, parse
from skrei_plugin_api.registry_credentials import Auth, credentials

if TYPE_CHECKING:
    import aiohttp

KEPT_SECONDS = 3600.0
"""A tag that moves to another program is noticed within an hour; public hubs count every question."""
MOST_KEPT = 1000
"""Images of one node: more are asked for again."""
MOST_BYTES = 4 * 1024 * 1024
"""A manifest or a config: registries take no larger ones."""
PIECE_BYTES = 64 * 1024
ANSWER_SECONDS = 20.0
"""One answer of a registry."""
_INDEX = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFEST = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class ImageUnavailable(SkreiError):
    """The image cannot be had, whoever asks."""

    code = "image-unavailable"


class NothingToRun(SkreiError):
    """Neither the job nor the image names a program."""

    code = "executable-invalid"


class RegistryAway(SkreiError):
    """What an image starts cannot be learned now."""

    code = "registry-unavailable"
    retryable = True


@dataclass(frozen=True, slots=True)
class Starts:
    """What an image starts."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


def words(params: DockerParams, image: Starts | None) -> tuple[str, ...]:
    """Return the program and its arguments, by Docker's rules; `image` is wanted where `asks`. Raises NothingToRun."""
    if params.entrypoint is not None:
        given = tuple(word for word in params.entrypoint if word) if params.entrypoint == ("",) else params.entrypoint
        found = (*given, *(params.parameters or ()))
    else:
        assert image is not None, "asked before"
        found = (*image.entrypoint, *(image.command if params.parameters is None else params.parameters))
    if not found:
        raise NothingToRun(
            "failed to start container: the image names no program to run",
            hint="name one in Parameters (or Entrypoint)",
        )
    return found


def asks(params: DockerParams) -> bool:
    """Whether the image has to be looked into."""
    return params.entrypoint is None


class Images:
    """Asks registries; belongs to one event loop."""

    def __init__(self, registry_config: str) -> None:
        self._config = registry_config
        self._known: dict[str, tuple[float, Starts]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def starts(self, image: str) -> Starts:
        """Return what an image starts. Raises ImageUnavailable, RegistryAway, CredentialsBroken."""
        known = self._known.get(image)
        if known is not None and time.monotonic() - known[0] < KEPT_SECONDS:
            return known[1]
        found = await self._ask(image)
        if len(self._known) >= MOST_KEPT:
            self._known.pop(next(iter(self._known)))
        self._known[image] = (time.monotonic(), found)
        return found

    async def close(self) -> None:
        """Close the connections. Safe twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, image: str) -> Starts:
        import aiohttp  # late, as in `cluster`

        reference = parse(image)
        registry = _Registry(self._client(), reference, await credentials(reference, self._config))
        try:
            manifest = await registry.manifest(reference.digest or reference.tag)
            if "manifests" in manifest:
                manifest = await registry.manifest(_own(manifest["manifests"]))
            config = (await registry.blob(str(manifest["config"]["digest"]))).get("config") or {}
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise RegistryAway(
                f"what the image {image} starts cannot be learned of its registry: {error or type(error).__name__}",
                hint="name the program in Engine.Params.Entrypoint, and nobody has to be asked",
            ) from error
        return Starts(_texts(config.get("Entrypoint")), _texts(config.get("Cmd")))

    def _client(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import aiohttp

            limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
            self._session = aiohttp.ClientSession(timeout=limit, trust_env=True)
        return self._session


class _Registry:
    """One repository of a registry, by the distribution protocol; a token is asked for where it wants one."""

    def __init__(self, session: "aiohttp.ClientSession", reference: Reference, auth: Auth | None) -> None:
        host = "registry-1.docker.io" if reference.registry == DEFAULT_REGISTRY else reference.registry
        near = host.partition(":")[0] in ("localhost", "127.0.0.1")
        self._url = f"{'http' if near else 'https'}://{host}/v2/{reference.repository}"
        self._session, self._reference, self._auth = session, reference, auth
        self._headers: dict[str, str] = {}

    async def manifest(self, name: str) -> dict[str, Any]:
        """Return a manifest, or an index of them."""
        return await self._get(f"manifests/{name}", (*_INDEX, *_MANIFEST))

    async def blob(self, digest: str) -> dict[str, Any]:
        """Return a blob that is JSON."""
        return await self._get(f"blobs/{digest}", ("*/*",))

    async def _get(self, path: str, kinds: Sequence[str]) -> dict[str, Any]:
        for last in (False, True):
            headers = self._headers | {"Accept": ", ".join(kinds)}
            async with self._session.get(f"{self._url}/{path}", headers=headers) as answer:
                if answer.status == 401 and not last:
                    self._headers = await self._authorise(answer.headers.get("WWW-Authenticate", ""))
                    continue
                if answer.status in (401, 403, 404):
                    raise _no(self._reference, answer.status)
                answer.raise_for_status()
                return await _json(answer)
        raise AssertionError("not reached")

    async def _authorise(self, challenge: str) -> dict[str, str]:
        from aiohttp import BasicAuth

        told = dict(_CHALLENGE.findall(challenge))
        basic = None
        if self._auth and "username" in self._auth:
            basic = BasicAuth(self._auth["username"], self._auth["password"])
        if challenge.lower().startswith("basic") and basic:
            return {"Authorization": basic.encode()}
        if not told.get("realm", "").startswith(("https://", self._url.partition("/v2/")[0])):
            raise _no(self._reference, 401)
        query = {name: told[name] for name in ("service", "scope") if name in told}
        async with self._session.get(told["realm"], params=query, auth=basic) as answer:
            if answer.status in (401, 403):
                raise _no(self._reference, answer.status)
            answer.raise_for_status()
            said = await _json(answer)
        return {"Authorization": f"Bearer {said.get('token') or said['access_token']}"}


def _no(reference: Reference, status: int) -> ImageUnavailable:
    if status == 404:
        return ImageUnavailable(
            f"image not available: {reference}: the registry has no such image (404)", hint="check the name and the tag"
        )
    return ImageUnavailable(
        f"image not available: {reference}: the registry refuses this node ({status})",
        hint="give the agent credentials (kubernetes_registry_config), or name the program in Engine.Params.Entrypoint",
    )


async def _json(answer: "aiohttp.ClientResponse") -> dict[str, Any]:
    said = bytearray()
    async for piece in answer.content.iter_chunked(PIECE_BYTES):
        said += piece
        if len(said) > MOST_BYTES:
            raise ValueError(f"it answers more than {MOST_BYTES} bytes")
    return dict(json.loads(said))


def _own(manifests: list[Mapping[str, Any]]) -> str:
    """Return the manifest for machines like this one, else the first for Linux: they start the same."""
    machine = _MACHINES.get(platform.machine(), "amd64")
    linux = [one for one in manifests if (one.get("platform") or {}).get("os") == "linux"] or manifests
    return str(
        next((one for one in linux if (one.get("platform") or {}).get("architecture") == machine), linux[0])["digest"]
    )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
