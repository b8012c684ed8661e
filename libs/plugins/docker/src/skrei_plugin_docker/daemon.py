"""The Docker daemon as this engine needs it: the one module that knows aiodocker.

Every call has a time limit. What the daemon refuses is a `Refusal`; a daemon that cannot be reached, or does not
answer, is `DaemonAway`.
"""

import asyncio
import base64
import json
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skrei_plugin_docker.failures import DaemonAway, Refusal
from skrei_plugin_docker.frames import Demultiplexer
from skrei_plugin_docker.platforms import Platform, read
from skrei_plugin_docker.settings import DockerSettings

if TYPE_CHECKING:
    import aiodocker
    from aiodocker.stream import Stream

SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "~/.docker/run/docker.sock")
"""Where daemons of this machine listen when nobody says otherwise."""
CHUNK_BYTES = 64 * 1024
"""A piece of an archive or a log on its way through the agent."""
_NO_CONNECTION = 900
"""What aiodocker gives as the status of an answer that never came."""

Container = Mapping[str, Any]


class Daemon:
    """Talks to one daemon; connects at first use."""

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings
        self._client: aiodocker.Docker | None = None

    # ------------------------------------------------------------ the daemon itself

    def missing(self) -> str:
        """Return why there is no use in asking, without asking; empty when there may be a daemon."""
        if self._settings.host or os.environ.get("DOCKER_HOST") or os.environ.get("DOCKER_CONTEXT"):
            return ""
        sockets = [Path(path).expanduser() for path in SOCKETS]
        if any(path.exists() for path in sockets) or (Path("~/.docker/contexts").expanduser()).exists():
            return ""
        return f"no Docker daemon listens at {sockets[0]} (or name another with DOCKER_HOST)"

    async def version(self, seconds: float) -> str:
        """Return the daemon's version."""
        told = await self._json("version", seconds=seconds, versioned=False)
        return str(told.get("Version") or "unknown")

    async def platform(self) -> Platform:
        """Return what this daemon runs."""
        told = await self._json("version", versioned=False)
        return read(f"{told.get('Os') or 'linux'}/{told.get('Arch') or ''}")

    async def takes_callers(self) -> bool:
        """Whether the daemon takes new connections. One that is about to end does not, and still serves old ones."""
        caller = Daemon(self._settings)
        try:
            await caller.version(self._settings.describe_seconds)
        except (DaemonAway, Refusal):
            return False
        finally:
            await caller.close()
        return True

    async def keeps_running(self) -> bool:
        """Whether containers go on while the daemon is restarted (`live-restore`)."""
        return bool((await self._json("info")).get("LiveRestoreEnabled"))

    async def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    # ------------------------------------------------------------ images

    async def image(self, name: str) -> dict[str, Any] | None:
        """Return what the daemon knows of an image; None when it is not here."""
        try:
            found: dict[str, Any] = await self._json(f"images/{name}/json")
        except Refusal as refusal:
            if refusal.status == 404:
                return None
            raise
        return found

    async def pull(self, name: str, auth: Mapping[str, str] | None) -> AsyncIterator[dict[str, Any]]:
        """Yield the daemon's progress while it pulls `name` (in full). Raises Refusal with the registry's words."""
        with self._speaking():
            stream = aiter(self._connected().images.pull(name, auth=dict(auth) if auth else None, stream=True))
            while True:
                async with asyncio.timeout(self._settings.pull_idle_seconds):
                    try:
                        item: dict[str, Any] = await anext(stream)
                    except StopAsyncIteration:
                        return
                yield item

    async def in_registry(self, name: str, auth: Mapping[str, str] | None) -> Mapping[str, Any]:
        """Return what its registry says of an image, without fetching it. Raises Refusal with the registry's words."""
        headers = {}
        if auth:
            packed = base64.urlsafe_b64encode(json.dumps(dict(auth)).encode())
            headers["X-Registry-Auth"] = packed.decode("ascii")
        with self._speaking():
            async with asyncio.timeout(self._settings.answer_seconds):
                found: Mapping[str, Any] = await self._connected()._query_json(
                    f"distribution/{name}/json", headers=headers
                )
                return found

    async def import_image(self, name: str, root: bytes) -> None:
        """Make an image of a root folder (tar); nothing changes where it is there."""
        repository, _, tag = name.rpartition(":")
        with self._speaking():
            async with (
                asyncio.timeout(self._settings.answer_seconds),
                self._connected()._query(
                    "images/create",
                    "POST",
                    params={"fromSrc": "-", "repo": repository, "tag": tag},
                    data=root,
                    headers={"Content-Type": "application/x-tar"},
                ) as response,
            ):
                await response.read()

    # ------------------------------------------------------------ containers

    async def create(self, body: Mapping[str, Any], name: str) -> str:
        """Make a container and return its id."""
        made = await self._json("containers/create", "POST", data=body, params={"name": name})
        return str(made["Id"])

    async def start(self, container: str) -> None:
        """Start a container."""
        await self._json(f"containers/{container}/start", "POST")

    async def inspect(self, container: str) -> Container | None:
        """Return what the daemon knows of a container; None when there is none."""
        try:
            found: Container = await self._json(f"containers/{container}/json")
        except Refusal as refusal:
            if refusal.status == 404:
                return None
            raise
        return found

    async def wait(self, container: str) -> int | None:
        """Return a container's exit code once it has ended; waits as long as it runs. None when there is none."""
        try:
            ended = await self._json(f"containers/{container}/wait", "POST", seconds=None)
        except Refusal as refusal:
            if refusal.status == 404:
                return None
            raise
        return int(ended["StatusCode"])

    async def stop(self, container: str, grace_seconds: int) -> None:
        """Ask a container to end, and end it after the grace. Nothing to do for one that has ended or is gone."""
        try:
            await self._json(
                f"containers/{container}/stop",
                "POST",
                params={"t": grace_seconds},
                seconds=grace_seconds + self._settings.answer_seconds,
            )
        except Refusal as refusal:
            if refusal.status not in (304, 404):
                raise

    async def remove(self, container: str) -> None:
        """Remove a container, running or not, with its anonymous volumes. Nothing to do for one that is gone."""
        try:
            await self._json(f"containers/{container}", "DELETE", params={"force": 1, "v": 1})
        except Refusal as refusal:
            if refusal.status not in (404, 409):  # 409: its removal is under way
                raise

    async def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """Return all containers with these labels, ended ones too."""
        found = await self._json("containers/json", params={"all": 1, "filters": _label_filter(labels)})
        return list(found)

    async def acts(self, container: str, until: int, *, last: str) -> set[str]:
        """Return what the daemon has seen of a container since it runs itself (`start`, `kill`, …), up to `last`.

        `last` is waited for until `until` (seconds since 1970). It remembers the last 256 acts of all containers.
        """
        params = {"since": "1", "until": str(until), "filters": json.dumps({"container": [container]})}
        acts: set[str] = set()
        said = b""
        async with asyncio.timeout(self._settings.answer_seconds), aclosing(self._stream("events", params)) as stream:
            async for chunk in stream:
                *lines, said = (said + chunk).split(b"\n")
                acts |= {str(json.loads(line)["Action"]) for line in lines if line.strip()}
                if last in acts:
                    break
        return acts

    @asynccontextmanager
    async def attached(self, container: str) -> AsyncIterator[AsyncIterator[tuple[int, bytes]]]:
        """Give the output of a container from now to its end; what is not taken holds the program back."""
        with self._speaking():
            stream = _attach(self._connected(), container)
        async with self._heard(stream) as frames:
            yield frames

    @asynccontextmanager
    async def _heard(self, stream: "Stream") -> AsyncIterator[AsyncIterator[tuple[int, bytes]]]:
        """Open a stream, and give what comes of it."""
        with self._speaking():
            async with asyncio.timeout(self._settings.answer_seconds):
                await stream.__aenter__()

            async def frames() -> AsyncIterator[tuple[int, bytes]]:
                with self._speaking():
                    while (message := await stream.read_out()) is not None:
                        yield message.stream, message.data

            try:
                yield frames()
            finally:
                await stream.close()

    async def log(self, container: str, *, follow: bool) -> AsyncIterator[tuple[int, bytes]]:
        """Yield the frames of a container's log from its beginning, to its end if it is followed."""
        cut = Demultiplexer()
        params = {"stdout": 1, "stderr": 1, "follow": int(follow)}
        async for data in self._stream(f"containers/{container}/logs", params):
            for frame in cut.feed(data):
                yield frame

    # ------------------------------------------------------------ commands in containers

    async def make_command(self, container: str, words: Sequence[str], env: Sequence[str]) -> str:
        """Make a command for a container that runs, and return its id."""
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(words), "Env": list(env)}
        made = await self._json(f"containers/{container}/exec", "POST", data=body)
        return str(made["Id"])

    async def command(self, command: str) -> Mapping[str, Any]:
        """Return what the daemon knows of a command: `Running`, `ExitCode`, `Pid`, `ContainerID`."""
        found: Mapping[str, Any] = await self._json(f"exec/{command}/json")
        return found

    @asynccontextmanager
    async def command_output(self, command: str) -> AsyncIterator[AsyncIterator[tuple[int, bytes]]]:
        """Begin a command, and give its output to its end."""
        async with self._heard(_exec(self._connected(), command)) as frames:
            yield frames

    # ------------------------------------------------------------ archives and volumes

    async def put_archive(self, container: str, path: str, data: AsyncIterator[bytes]) -> None:
        """Unpack a tar stream at `path` of a container."""
        with self._speaking():
            async with self._connected()._query(
                f"containers/{container}/archive",
                "PUT",
                params={"path": path},
                data=data,
                headers={"Content-Type": "application/x-tar"},
                timeout=None,
            ) as response:
                await response.read()

    def get_archive(self, container: str, path: str) -> AsyncIterator[bytes]:
        """Yield the tar stream of `path` of a container. Raises Refusal 404 when there is none."""
        return self._stream(f"containers/{container}/archive", {"path": path})

    async def make_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a volume; nothing to do when it is there."""
        await self._json("volumes/create", "POST", data={"Name": name, "Labels": dict(labels)})

    async def remove_volume(self, name: str) -> None:
        """Remove a volume. Nothing to do for one that is gone."""
        try:
            await self._json(f"volumes/{name}", "DELETE", params={"force": 1})
        except Refusal as refusal:
            if refusal.status != 404:
                raise

    async def volumes(self, labels: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """Return all volumes with these labels."""
        found = await self._json("volumes", params={"filters": _label_filter(labels)})
        return list(found.get("Volumes") or ())

    # ------------------------------------------------------------ calls

    def _connected(self) -> "aiodocker.Docker":
        if self._client is None:
            import aiodocker  # with aiohttp 10 MB and 0.2 s: a node without Docker does without
            import aiohttp

            logging.getLogger("aiodocker").setLevel(logging.WARNING)
            timeout = aiohttp.ClientTimeout(connect=self._settings.answer_seconds)
            self._client = aiodocker.Docker(url=self._settings.host or None, timeout=timeout)
            # Each run holds a connection or two as long as it runs: their number is the scheduler's affair.
            self._client.connector._limit = 0
        return self._client

    async def _json(
        self,
        path: str,
        method: str = "GET",
        *,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        seconds: float | None = -1.0,
        versioned: bool = True,
    ) -> Any:
        limit = self._settings.answer_seconds if seconds == -1.0 else seconds
        with self._speaking():
            async with asyncio.timeout(limit):
                return await self._connected()._query_json(
                    path, method, params=params, data=data, versioned_api=versioned
                )

    async def _stream(self, path: str, params: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        with self._speaking():
            async with self._connected()._query(path, params=params, timeout=None) as response, response:
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    yield chunk

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Say in our words what went wrong on the way to the daemon, and what it refused."""
        if self._client is None and (reason := self.missing()):  # before anything is imported for it
            raise DaemonAway(reason, hint="install Docker on the node, or start it")
        import aiodocker
        import aiohttp

        try:
            yield
        except aiodocker.DockerError as error:
            if error.status == _NO_CONNECTION:
                raise DaemonAway(self._away(error.message), hint="start it (`systemctl start docker`)") from error
            raise Refusal(error.status, error.message) from error
        except TimeoutError as error:
            raise DaemonAway("the Docker daemon of this node does not answer", hint="look at its log") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise DaemonAway(self._away(str(error)), hint="start it (`systemctl start docker`)") from error

    def _away(self, said: str) -> str:
        return f"the Docker daemon of this node cannot be reached: {said}"


def _attach(docker: "aiodocker.Docker", container: str) -> "Stream":
    """Attach as aiodocker does, without asking first whether there is a terminal: ours never have one."""
    from aiodocker.stream import Stream
    from yarl import URL

    async def setup() -> tuple[URL, bytes | None, bool]:
        query: dict[str, str | int] = {"detachKeys": "", "logs": 0, "stdin": 0, "stdout": 1, "stderr": 1, "stream": 1}
        return URL(f"containers/{container}/attach").with_query(query), None, False

    return Stream(docker, setup)


def _exec(docker: "aiodocker.Docker", command: str) -> "Stream":
    """Begin a command and listen to it."""
    from aiodocker.stream import Stream
    from yarl import URL

    async def setup() -> tuple[URL, bytes | None, bool]:
        return URL(f"exec/{command}/start"), json.dumps({"Detach": False, "Tty": False}).encode(), False

    return Stream(docker, setup)


def _label_filter(labels: Mapping[str, str]) -> str:
    return json.dumps({"label": [f"{name}={value}" for name, value in labels.items()]})
