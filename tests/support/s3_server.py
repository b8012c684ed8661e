"""A real S3 server of a test's own: it checks signatures, digests, conditions and versions as Amazon's does."""

import asyncio
import hashlib
import io
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

from scripts.tools import FOLDER
from skrei_embedded.nats import free_port
from tests.support.certificates import make_certificate

PROGRAM = FOLDER / "versitygw"
START_SECONDS = 20.0
PARALLEL = 16
HELD_BYTES = 64 * 1024
"""On a line between what the server sends and what the client reads: so much is lost with a cut, and not more."""


def needs_s3_server() -> None:
    """Skip where the server was not built."""
    if not PROGRAM.exists():
        pytest.skip("needs versitygw: `make tools` builds it (a Go compiler, a minute)")


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where it listens, and the keys of its root user."""

    port: int
    access_key: str
    secret_key: str
    folder: Path
    shown: Path | None = None
    """The certificate that it shows, where it speaks TLS."""

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"{'http' if self.shown is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a node needs for it."""
        trusted = {} if self.shown is None else {"AWS_CA_BUNDLE": str(self.shown)}
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key} | trusted

    async def make_bucket(self, name: str, *, versions: bool = False) -> None:
        """Make a bucket."""
        async with self._session() as session:
            await self._ask(session, "PUT", f"/{name}")
            if versions:
                body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
                await self._ask(session, "PUT", f"/{name}?versioning", body)

    async def put(
        self, bucket: str, files: Mapping[str, bytes], *, headers: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Put objects; returns the version of each, empty in a bucket without."""
        versions: dict[str, str] = {}
        waiting = iter(files.items())
        async with self._session() as session:

            async def work() -> None:
                for key, data in waiting:
                    told = await self._ask(session, "PUT", f"/{bucket}/{quote(key)}", data, headers)
                    versions[key] = told.get("x-amz-version-id", "")

            await asyncio.gather(*(work() for _ in range(min(PARALLEL, len(files)))))
        return versions

    async def delete(self, bucket: str, key: str) -> None:
        """Remove an object."""
        async with self._session() as session:
            await self._ask(session, "DELETE", f"/{bucket}/{quote(key)}")

    async def allow_everyone(self, bucket: str) -> None:
        """Let anybody read a bucket."""
        policy = (
            '{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"], '
            f'"Resource": ["arn:aws:s3:::{bucket}", "arn:aws:s3:::{bucket}/*"]}}]}}'
        )
        async with self._session() as session:
            await self._ask(session, "PUT", f"/{bucket}?policy", policy.encode())

    async def uploads(self, bucket: str) -> list[str]:
        """Return the keys of uploads in parts that are under way."""
        async with self._session() as session:
            _, text = await self._answer(session, "GET", f"/{bucket}?uploads")
        return re.findall(r"<Upload>.*?<Key>([^<]*)</Key>", text, re.DOTALL)

    def _session(self) -> aiohttp.ClientSession:
        trusted = None if self.shown is None else ssl.create_default_context(cafile=self.shown)
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=True if trusted is None else trusted))

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        return (await self._answer(session, method, path, body, headers))[0]

    async def _answer(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, str], str]:
        url = self.url + path
        request = AWSRequest(method, url, data=body, headers=dict(headers or {}))
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
        S3SigV4Auth(Credentials(self.access_key, self.secret_key), "s3", "us-east-1").add_auth(request)
        target, data = URL(url, encoded=True), io.BytesIO(body)
        async with session.request(method, target, data=data, headers=dict(request.headers)) as response:
            assert response.status < 300, await response.text()
            return {name.lower(): value for name, value in response.headers.items()}, await response.text(
                "utf-8", "replace"
            )


@contextmanager
def s3_server(*, tls: bool = False) -> Iterator[S3Server]:
    """Run a server on a free port of loopback, its data in memory where that is a folder."""
    needs_s3_server()
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="skrei-s3-", dir=memory if os.access(memory, os.W_OK) else None))
    port = free_port()
    pair = make_certificate(folder, "s3.test") if tls else None
    secured: list[str | Path] = [] if pair is None else ["--cert", pair.file, "--key", pair.key]
    made = S3Server(
        port, f"K{secrets.token_hex(8).upper()}", secrets.token_urlsafe(24), folder, None if pair is None else pair.file
    )
    for name in ("data", "versions"):
        (folder / name).mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, "--port", f"127.0.0.1:{port}", "--region", "us-east-1", "--quiet", "--keep-alive",
             *secured, "posix", "--versioning-dir", folder / "versions", folder / "data"],
            env={"PATH": os.environ["PATH"], "HOME": str(folder),
                 "ROOT_ACCESS_KEY": made.access_key, "ROOT_SECRET_KEY": made.secret_key},
            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        _wait_for(port, process, folder)
        yield made
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > ends:
                raise AssertionError(f"versitygw does not start: {(folder / 'log').read_text()[-2000:]}") from error
            time.sleep(0.02)  # another process is awaited: there is nothing in this one to wait for


@dataclass
class Line:
    """A line to a server that goes wrong on demand.

    `cuts` are how many bytes of answers the next connections bring before they are cut; `refuse` is an answer that as
    many of the next requests get instead as `refusals` says.
    """

    port: int = 0
    cuts: list[int] | None = None
    refusals: int = 0
    refuse: bytes = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    brought: int = 0
    connections: int = 0
    seen: bytes = b""

    @property
    def url(self) -> str:
        """The endpoint that leads through it."""
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def line_to(server: S3Server) -> AsyncIterator[Line]:
    """Lead a line to a server. Signatures hold: they name the host that the client asked, which the server takes."""
    line = Line(cuts=[])
    serving: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(task := asyncio.create_task(serve(reader, writer)))
        task.add_done_callback(serving.discard)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line.connections += 1
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, HELD_BYTES)
        writer.transport.set_write_buffer_limits(HELD_BYTES)
        if line.refusals:
            line.refusals -= 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(line.refuse)
            await writer.drain()
            writer.close()
            return
        limit = line.cuts.pop(0) if line.cuts else None
        there, onward = await asyncio.open_connection("127.0.0.1", server.port)
        asks = asyncio.create_task(_copy(reader, onward, line))
        try:
            while data := await there.read(65536):
                if limit is not None:
                    data, limit = data[:limit], limit - len(data[:limit])
                writer.write(data)
                await writer.drain()
                line.brought += len(data)
                if limit == 0:
                    writer.transport.abort()
                    break
        except ConnectionError:
            pass
        finally:
            asks.cancel()
            await asyncio.gather(asks, return_exceptions=True)
            onward.close()
            writer.close()

    listener = await asyncio.start_server(begin, "127.0.0.1", 0)
    line.port = listener.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        listener.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> None:
    while data := await reader.read(65536):
        line.seen += data
        writer.write(data)
        await writer.drain()
