"""`--input ./data` of the user who started Skrei works, and nobody else's does; loopback need not be trusted at all."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.live_stack import live_stack, sleeper_job


def reading(path: Path) -> dict[str, Any]:
    job = sleeper_job(0.0)
    inputs = job["Job"]["Tasks"][0]["InputSources"]
    inputs.append({"Source": {"Type": "local", "Params": {"SourcePath": str(path)}}, "Target": "/in"})
    return job


def test_what_the_owner_submits_reads_his_paths_and_what_others_submit_does_not(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with live_stack() as stack:
        owner = {"Authorization": f"Bearer {(stack.keys / 'owner.token').read_text()}"}
        body = reading(tmp_path / "data")
        mine = str(stack.call("PUT", "/jobs", json=body, headers=owner)["JobID"])
        others = stack.submit(body)
        assert stack.wait_for([mine, others], 60) == {mine: "Completed", others: "Failed"}
        told = stack.call("GET", f"/jobs/{others}/history", params={"event_type": "all", "limit": 1000})
        said = " ".join(item["Event"]["Message"] for item in told["Items"])
        assert f"does not hand out {tmp_path / 'data'}" in said
        assert ((stack.keys / "owner.token").stat().st_mode & 0o777) == 0o600


def test_a_stack_that_trusts_nobody_starts_and_asks_its_own_machine_for_the_token_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SKREI_TRUST_LOOPBACK", "false")
    with live_stack() as stack:
        assert stack.client.get("/nodes").status_code == 401
        owner = {"Authorization": f"Bearer {(stack.keys / 'owner.token').read_text()}"}
        assert stack.client.get("/nodes", headers=owner).status_code == 200
