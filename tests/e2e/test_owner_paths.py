"""`--input ./data` of the user who started Skrei works, and nobody else's does."""

from pathlib import Path
from typing import Any

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
