"""What the owner is told who takes a node's key back."""

from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from skrei_orchestrator_api.gate import Gate
from skrei_orchestrator_api.node_access import NodeAccess
from skrei_orchestrator_api.record import Record
from skrei_orchestrator_api.settings import LOCAL_HOSTS


class Revoked:
    """A record that knows two keys which are let in no more."""

    async def revoke_node(self, node_id: str, *, actor: str, reason: str) -> None:
        pass

    async def revoked_keys(self) -> list[str]:
        return ["UA", "UB"]


@pytest.mark.parametrize(
    ("written", "asked", "hint", "told"),
    [
        (True, False, "", ""),  # whoever reads the file sees to it
        (False, True, "", ""),  # and so does whoever asks
        (True, False, "have it read again", "have it read again"),
        (False, False, "write '{keys}' down", "write 'UA UB' down"),
    ],
)
async def test_what_the_transport_does_not_hear_of_by_itself_is_left_to_the_owner(
    tmp_path: Path, written: bool, asked: bool, hint: str, told: str
) -> None:
    file, gate = tmp_path / "revoked", Gate(hosts=LOCAL_HOSTS, owner_token="owner")
    access = NodeAccess(
        cast("Record", Revoked()), gate, token_file=None, revoked_file=file if written else None, asked=asked,
        revoke_hint=hint,
    )  # fmt: skip
    assert await access.revoke("n-1", actor="owner", reason="stolen") == told
    assert file.exists() == written


async def test_a_token_file_that_cannot_be_read_changes_nothing_and_is_said_once(tmp_path: Path) -> None:
    file, gate = tmp_path / "join.token", Gate(hosts=LOCAL_HOSTS, owner_token="owner", join_token="old")
    access = NodeAccess(cast("Record", Revoked()), gate, token_file=file, revoked_file=None)
    with capture_logs() as logs:
        for _ in range(2):
            file.write_bytes(b"\xff\xfe")
            await access.follow()
        file.unlink()
        file.mkdir()
        for _ in range(2):
            await access.follow()
        assert gate.join_token == "old"
        file.rmdir()
        file.write_text("new\n")
        await access.follow()
    assert gate.join_token == "new"
    assert [each["event"] for each in logs] == ["join_token_unreadable"] * 2 + ["join_token_changed"]
