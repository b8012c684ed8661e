"""Taking back what was given to nodes: the token that lets machines in, and the keys that speak for them.

The record says which keys are revoked; the transport hears it from the supervisor, who reads the file that is written
here and has the server close the connections of those keys, or from whoever asks this server for them
(`skrei-cluster-init keep-out`). A crash between the two is mended at the next start.
"""

import asyncio
import secrets
from pathlib import Path

from skrei_domain.errors import Conflict
from skrei_kit.observability import get_logger
from skrei_kit.secret_files import write_secret
from skrei_orchestrator_api.gate import Gate
from skrei_orchestrator_api.record import Record

log = get_logger()

TOKEN_BYTES = 32
"""Of the join token: as at first start."""


class NodeAccess:
    """What lets nodes in, as far as it can be changed here. `revoked_file` None, and not `asked`: the transport is
    somebody else's.

    The hints tell the owner what to do where it cannot be: see the settings of these names.
    """

    def __init__(
        self,
        record: Record,
        gate: Gate,
        *,
        token_file: Path | None,
        revoked_file: Path | None,
        asked: bool = False,
        rotate_hint: str = "",
        revoke_hint: str = "",
    ) -> None:
        self._record = record
        self._gate = gate
        self._token_file = token_file
        self._revoked_file = revoked_file
        self._asked = asked
        self._rotate_hint = rotate_hint
        self._revoke_hint = revoke_hint
        self._writing = asyncio.Lock()
        self._unread = ""  # why the token could not be read when it was looked at last: said once

    async def rotate_token(self, actor: str) -> None:
        """Let nobody in any more by the join token that was; nodes that joined go on. Raises Conflict."""
        if self._token_file is None:
            raise Conflict("this control plane has no join token", hint="start it with `skrei serve --listen ADDR`")
        async with self._writing:
            token = secrets.token_urlsafe(TOKEN_BYTES)
            try:
                await asyncio.to_thread(write_secret, self._token_file, token)
            except OSError as error:
                raise Conflict(
                    f"the join token cannot be changed here: {self._token_file}: {error.strerror}",
                    hint=self._rotate_hint or "change it where that file comes from; this server then reads it again",
                    component="NodeManager",
                ) from error
            self._gate.join_token = token
        await self._record.audit(actor, "join-token.rotate", "join-token")
        log.info("join_token_rotated")

    async def follow(self) -> None:
        """Let in by the join token that its file holds now: another server beside this one may have changed it.

        A file that cannot be read changes nothing, and is logged once.
        """
        if self._token_file is None:
            return
        async with self._writing:
            try:
                token = (await asyncio.to_thread(self._token_file.read_text, "ascii")).strip()
            except FileNotFoundError:  # taken away: whoever wants nobody in any more rotates it
                return
            except (OSError, ValueError) as error:  # the one that was holds: this server has more to do than let in
                if (said := str(error)) != self._unread:
                    self._unread = said
                    log.warning("join_token_unreadable", file=str(self._token_file), error=said)
                return
            self._unread = ""
            if token and token != self._gate.join_token:
                self._gate.join_token = token
                log.info("join_token_changed")

    async def revoke(self, node_id: str, *, actor: str, reason: str) -> str:
        """Let a node in no more with the key that it has; returns what is left to do for it, empty where nothing is.

        Raises NotFound or Conflict where it has no key of ours.
        """
        if self._revoked_file is None and not (self._asked or self._revoke_hint):
            raise Conflict(
                "this control plane does not run its nats-server itself, so it cannot have it refuse a key",
                hint="revoke the node's user where that server's accounts are managed",
                component="NodeManager",
            )
        await self._record.revoke_node(node_id, actor=actor, reason=reason)
        await self.publish()
        log.info("node_revoked", node_id=node_id)
        if "{keys}" not in self._revoke_hint:
            return self._revoke_hint
        return self._revoke_hint.replace("{keys}", " ".join(await self._record.revoked_keys()))

    async def publish(self) -> None:
        """Write down for the supervisor which keys are let in no more; what the owner wrote there stays."""
        if self._revoked_file is None:
            return
        async with self._writing:
            keys = await self._record.revoked_keys()
            await asyncio.to_thread(_write, self._revoked_file, keys)


def _write(path: Path, keys: list[str]) -> None:
    known = path.read_text("utf-8").split("\n") if path.exists() else []
    missing = [key for key in keys if key not in {line.strip() for line in known}]
    if missing:
        write_secret(path, "\n".join([*(line for line in known if line), *missing, ""]))
