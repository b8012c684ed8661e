"""The `ipfs` storage: a file or directory by its CID, whoever has it, through the node's own IPFS daemon.

No byte is believed that does not make the name it was asked by: what is listed and what is brought are checked block
by block (ADR 0033), so a daemon, or a gateway of somebody else's, can only fail to bring it.
"""

import os
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skrei_domain.job_reading import FieldProblem, show
from skrei_domain.source_keys import cid_key
from skrei_plugin_api.pieces import DATA, Entry, Piece, PieceStorage
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo, param
from skrei_plugin_api.storage import Near, SourceSpec, StageFailed, StageLimits, StageProblem
from skrei_plugin_ipfs.cid import RAW, SHA2_256, Cid, InvalidCid, parse
from skrei_plugin_ipfs.endpoint import API_OPTION, Endpoint, find

if TYPE_CHECKING:
    from skrei_plugin_ipfs.daemon import Daemon

PROBE_SECONDS = 1.0
"""How long a daemon of this machine may take to say its version."""
MISSED_SECONDS = 5.0
"""For so long what nobody has is not looked for again: its job was listed a moment ago, and is placed here now."""
MOST_MISSED = 1_000
"""Of such names that are remembered."""
MOST_NAMES = 64
"""Directories between a CID and what is wanted below it."""


class IpfsStorage(PieceStorage):
    """Brings what a CID names: the file itself, or the directory, at the target."""

    plugin_api = PLUGIN_API
    name = "ipfs"
    version = "0.5.0"

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context)
        self._daemons: dict[Endpoint, Daemon] = {}  # one that was started again may listen elsewhere
        self._missed: dict[Cid, tuple[float, StageFailed]] = {}

    async def describe(self) -> PluginInfo:
        """Say whether a daemon answers: the owner's, else the one of this user that says where it listens."""
        from skrei_plugin_ipfs.version import version

        try:
            endpoint = self._endpoint()
        except ValueError as error:
            return PluginInfo(available=False, reason=str(error))
        if endpoint is None:
            return PluginInfo(
                available=False,
                reason="no IPFS daemon runs here; start one (ipfs daemon), or name one: "
                f"SKREI_PLUGIN_OPTIONS={API_OPTION}=/ip4/127.0.0.1/tcp/5001",
            )
        try:
            told = version(endpoint, PROBE_SECONDS)
        except OSError as error:
            return PluginInfo(available=False, reason=f"the IPFS daemon at {endpoint.url} does not answer: {error}")
        return PluginInfo(available=True, version=told or self.version)

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name a CID that nothing can have."""
        text = param(params, "CID")
        try:
            _named(text)
        except InvalidCid as error:
            return [FieldProblem("CID", show(text), f"a CID, or one with a path below it ({error})")]
        return []

    async def pieces(self, source: SourceSpec, limits: StageLimits) -> Sequence[Piece]:
        """List the files by the blocks that name them. Raises StageFailed, and IpfsAway."""
        from skrei_plugin_ipfs.tree import NotThere, TooMany, files
        from skrei_plugin_ipfs.unixfs import Malformed

        try:
            root, path = _named(param(source.params, "CID"))
            self._check_missed(root)
            found = await files(self._tools().block, root, path, limits.max_files)
        except InvalidCid as error:
            raise StageFailed(StageProblem.INVALID, f"the input's CID cannot be read: {error}") from error
        except Malformed as error:
            raise StageFailed(StageProblem.INVALID, f"{root} is no input: {error}") from error
        except NotThere as error:
            raise StageFailed(StageProblem.MISSING, f"{root}: {error}", hint="look at the path") from error
        except TooMany as error:
            raise StageFailed(
                StageProblem.TOO_LARGE,
                f"{root} has more than {limits.max_files:,} files; this node takes no more",
                hint="name a directory below it: CID/path",
            ) from error
        except StageFailed as error:
            self._miss(root, error)
            raise
        return [Piece(each.path, identity(each.cid), each.size) for each in found]

    async def resolve(self, source: SourceSpec, limits: StageLimits) -> AsyncGenerator[Entry, None]:
        """List all files, once for every partition: their names pin them, the blocks that list them say their sizes."""
        for piece in await self.pieces(source, limits):
            yield Entry(piece)

    async def bring(self, source: SourceSpec, limits: StageLimits, piece: Piece, folder: Path) -> None:
        """Bring a file, from where an earlier try ended. Raises StageFailed, IpfsAway, and OSError."""
        from skrei_plugin_ipfs.unixfs import Malformed
        from skrei_plugin_ipfs.whole import Larger, write

        del source
        cid = named_by(piece.identity)
        try:
            await write(self._tools().block, cid, folder / DATA, limits.max_bytes)
        except Malformed as error:
            raise StageFailed(StageProblem.INVALID, f"{cid} is no file: {error}") from error
        except Larger as error:
            raise StageFailed(
                StageProblem.TOO_LARGE,
                f"{cid} is larger than the {limits.max_bytes:,} bytes that this node takes",
                hint="the node's owner can raise SKREI_INPUT_BYTES",
            ) from error

    async def near(self) -> Near:
        """Say what the daemon has pinned with all below it."""
        endpoint = self._endpoint()
        if endpoint is None:
            return Near()
        import aiohttp  # 8 MB: a node without a daemon does without

        from skrei_plugin_ipfs.pins import pins

        try:
            found = await pins(endpoint)
        except (OSError, aiohttp.ClientError):
            found = []
        return Near(holds=tuple(key for key in map(cid_key, found) if key))

    async def close(self) -> None:
        """Close the connections."""
        for daemon in self._daemons.values():
            await daemon.close()

    def _check_missed(self, root: Cid) -> None:
        """Raise what was found out a moment ago: to look for it takes as long as anything that fails."""
        since, error = self._missed.get(root, (0.0, None))
        if error is not None and time.monotonic() - since < MISSED_SECONDS:
            raise StageFailed(StageProblem.MISSING, error.message, hint=error.hint)

    def _miss(self, root: Cid, error: StageFailed) -> None:
        if error.code is StageProblem.MISSING:
            if len(self._missed) >= MOST_MISSED:
                self._missed.clear()
            self._missed[root] = (time.monotonic(), error)

    def _tools(self) -> "Daemon":
        """Return the daemon that is there now. Raises IpfsAway."""
        from skrei_plugin_ipfs.daemon import Daemon, IpfsAway

        try:
            endpoint = self._endpoint()
        except ValueError as error:
            raise IpfsAway(str(error)) from error
        if endpoint is None:
            raise IpfsAway("no IPFS daemon runs on this node any more")
        if endpoint not in self._daemons:
            self._daemons[endpoint] = Daemon(endpoint)
        return self._daemons[endpoint]

    def _endpoint(self) -> Endpoint | None:
        return find(self.context.options, os.environ)


def identity(cid: Cid) -> str:
    """Return what a file's bytes are called on every node: one block of them is named by their own digest. Pure."""
    if cid.codec == RAW and cid.hash == SHA2_256:
        return f"sha256:{cid.digest.hex()}"
    return f"ipfs:{cid}"


def named_by(text: str) -> Cid:
    """Return the CID of which a text is the `identity`. Pure."""
    kind, _, rest = text.partition(":")
    return Cid(RAW, SHA2_256, bytes.fromhex(rest)) if kind == "sha256" else parse(rest)


def _named(text: object) -> tuple[Cid, list[str]]:
    """Return a CID and the path below it, of `CID`, `CID/path`, `/ipfs/…` or `ipfs://…`. Raises InvalidCid."""
    if not isinstance(text, str) or not text:
        raise InvalidCid("it is no text")
    plain = text.removeprefix("ipfs://").removeprefix("/ipfs/")
    first, *path = plain.rstrip("/").split("/")
    if len(path) > MOST_NAMES or any(name in ("", ".", "..") for name in path):
        raise InvalidCid("its path leads nowhere")
    return parse(first), path
