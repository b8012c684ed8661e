"""Versions on the command line: all of them, also where there are more than fit on a page."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.fake_api import FakeApi, event, job
from tests.support.served_api import serving

JOBS = "/api/v1/orchestrator/jobs"
ID = "j-1"
LATEST = 2001
Call = Callable[..., str]


def version(number: int) -> dict[str, Any]:
    return job(ID=ID, Version=number, Count=number)


def job_of(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, json={"Job": version(int(request.url.params.get("job_version") or LATEST))})


def versions(request: httpx2.Request) -> httpx2.Response:
    first = int(request.url.params.get("next_token") or 1)
    last = min(first + 999, LATEST)
    told = {"NextToken": str(last + 1) if last < LATEST else "", "Items": [version(n) for n in range(first, last + 1)]}
    return httpx2.Response(200, json=told)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(
        {
            f"GET {JOBS}/many": job_of,
            f"GET {JOBS}/{ID}": job_of,
            f"GET {JOBS}/many/versions": versions,
            f"PUT {JOBS}": {"JobID": ID, "EvaluationID": "ev", "Warnings": None},
            f"PUT {JOBS}/diff": {"Diff": "-a", "Warnings": None},
        }
    )


@pytest.fixture
def call(
    api: FakeApi,
    skrei: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Iterator[Call]:
    with serving(api) as url:
        monkeypatch.setenv("SKREI_API_URL", url)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)

        def told(*words: str) -> str:
            assert skrei(*words) == 0
            return capsys.readouterr().out

        yield told


@pytest.mark.parametrize(("words", "wanted"), [((), LATEST - 1), (("--to", "1500"), 1500), (("--to", "2"), 2)])
def test_a_rollback_goes_to_the_version_that_is_meant(
    words: tuple[str, ...], wanted: int, call: Call, api: FakeApi
) -> None:
    assert call("job", "rollback", "many", "--namespace", "mine", *words).startswith(f"j-1 back to version {wanted}.")
    assert api.body()["Job"]["Count"] == wanted
    assert api.requests[0].url.params["namespace"] == "mine"


def test_a_service_that_went_back_by_itself_is_not_sent_to_what_it_gave_up(call: Call, api: FakeApi) -> None:
    """Whoever deploys, sees it fail and says rollback may be later than the service itself."""
    served = job(ID=ID, Version=3, Count=3, Type="service")
    why = "Job updated: back to version 1, because nothing more of version 2 became ready within 10m"
    api.answers[f"GET {JOBS}/many"] = api.answers[f"GET {JOBS}/{ID}"] = {"Job": served}
    api.answers[f"GET {JOBS}/{ID}/history"] = {"NextToken": "", "Items": [event(1, why, GoneBackFrom="2")]}
    assert call("job", "rollback", "many").startswith(f"j-1 is back already: {why}.\n")
    assert api.requests[-1].url.params["job_version"] == "3"
    assert call("job", "rollback", "many", "--to", "2").startswith("j-1 back to version 2.")
    api.answers[f"GET {JOBS}/{ID}/history"] = {"NextToken": "", "Items": [event(1, "Job updated")]}
    assert call("job", "rollback", "many").startswith("j-1 back to version 2."), "somebody has submitted it"


@pytest.mark.parametrize("wanted", [0, LATEST + 1])
@pytest.mark.usefixtures("call")
def test_a_version_that_is_none_is_told(
    wanted: int, skrei: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert skrei("job", "diff", "many", *(("--to", str(wanted)) if wanted else ("--version", "1"))) == 1
    told = f"There is no version {wanted}" if wanted else "There is no earlier version"
    assert capsys.readouterr().err == f"Error: {told} of j-1.\nIts versions: 1 to {LATEST}\n"


def test_two_late_versions_are_compared(call: Call) -> None:
    assert "-Count: 1999\n+Count: 2001\n" in call("job", "diff", "many", "--to", "1999")


def test_every_version_is_listed(call: Call) -> None:
    lines = call("job", "versions", "many", "-o", "csv", "--hide-header").splitlines()
    assert len(lines) == LATEST


def test_a_file_is_compared_with_its_template_filled_in(call: Call, api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("Name: {{.name}}\nCount: {{.COUNT}}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUNT", "7")
        assert call("job", "diff", "job.yaml", "-V", "name=web", "-E", "COUNT") == "-a\n"
    assert api.body()["Job"] == {"Name": "web", "Count": 7}
