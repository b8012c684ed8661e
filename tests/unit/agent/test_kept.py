"""What is not kept of an execution, where its job says so: never what can count."""

import pytest

from skrei_compute_agent.verdicts import kept
from skrei_domain.lifecycle import ExecutionState as S
from skrei_domain.messages import RunOrder

ORDER = RunOrder(job_id="j-1", job_version=1, task="main", partition=0, partition_count=1, task_json="{}")


@pytest.mark.parametrize(
    ("drop", "state", "code", "keeps"),
    [
        (None, S.FAILED, None, True),
        (None, S.STOPPED, None, True),
        ("failed", S.FAILED, None, False),
        ("failed", S.STOPPED, None, False),
        ("failed", S.COMPLETED, 3, True),
        ("nonzero", S.COMPLETED, 3, False),
        ("nonzero", S.COMPLETED, 0, True),
        ("nonzero", S.FAILED, 0, False),
    ],
)
def test_what_can_count_is_kept_whatever_a_job_says(drop: str | None, state: S, code: int | None, keeps: bool) -> None:
    assert kept(ORDER.model_copy(update={"drop": drop}), state, code) is keeps
