"""`skrei job wait` on what does not end by itself."""

from collections.abc import Callable

import pytest

from tests.support.fake_api import FakeApi, event, execution, job, page
from tests.support.served_api import serving

JOBS = "/api/v1/orchestrator/jobs"
ID = str(job()["ID"])
NONE = {"NextToken": "", "Items": []}


@pytest.fixture
def waited(skrei: Callable[..., int]) -> Callable[..., int]:
    """Waits for a job that runs at the first look and was stopped before the next."""

    def wait(kind: str, *words: str) -> int:
        looks = [{"Job": job(state, Type=kind)} for state in ("Running", "Running", "Stopped")]
        answers = {f"GET {JOBS}/{kind}": looks[0], f"GET {JOBS}/{ID}": looks, f"GET {JOBS}/{ID}/history": NONE}
        with serving(FakeApi(answers | {f"GET {JOBS}/{ID}/executions": NONE})) as url:
            return skrei("job", "wait", kind, *words, "--api", url)

    return wait


@pytest.mark.parametrize(
    ("kind", "words", "told"),
    [
        ("service", (), "is a service, which runs until it is stopped; --for ready waits until all of it is."),
        ("daemon", (), "is a daemon, which runs until it is stopped; --for running is sooner."),
    ],
)
def test_who_waits_for_the_end_of_what_does_not_end_is_told_so_once(
    kind: str, words: tuple[str, ...], told: str, waited: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert waited(kind, *words) == 1
    shown = capsys.readouterr()
    assert shown.err == f"j-8c9f9f0e {told}\n"
    assert shown.out == "j-8c9f9f0e Stopped\n"


def test_nothing_is_told_to_who_wants_to_hear_nothing(
    waited: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert waited("service", "-q") == 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["batch", "ops", "daemon"])
def test_only_a_service_gets_ready(kind: str, waited: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert waited(kind, "--for", "ready") == 2
    assert "and only a service gets ready.\nWait for its end" in capsys.readouterr().err


def test_a_job_that_is_placed_does_not_run_before_a_program_does(
    skrei: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    older, begun = event(1, "Running", "e-1") | {"JobVersion": 1}, event(2, "Running", "e-2") | {"JobVersion": 2}
    answers = {
        f"GET {JOBS}/x": {"Job": job("Running", Version=2)},
        f"GET {JOBS}/{ID}": {"Job": job("Running", Version=2)},
        f"GET {JOBS}/{ID}/history": [page("", older), NONE, page("", begun)],
        f"GET {JOBS}/{ID}/executions": NONE,
    }
    api = FakeApi(answers)
    with serving(api) as url:
        assert skrei("job", "wait", "x", "--for", "running", "--api", url) == 0
    assert capsys.readouterr().out == "j-8c9f9f0e Running\n"
    assert len([one for one in api.requests if one.url.path.endswith("/history")]) == 3


def test_a_job_whose_history_has_gone_runs_as_its_executions_say(skrei: Callable[..., int]) -> None:
    placed, runs = {"Job": job("Running")}, page("", execution(1, state=6))
    known = {f"GET {JOBS}/x": placed, f"GET {JOBS}/{ID}": placed, f"GET {JOBS}/{ID}/history": NONE}
    with serving(FakeApi(known | {f"GET {JOBS}/{ID}/executions": runs})) as url:
        assert skrei("job", "wait", "x", "--for", "running", "--api", url) == 0
