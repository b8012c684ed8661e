"""A whole stack as whoever looks after it sees it: health, figures, and one trace from the call to its end."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from skrei_embedded.nats import free_port
from skrei_embedded.roster import AGENT_PLACE, API_PLACE, PUBLISHER_PLACE, SCHEDULER_PLACE
from tests.support.live_stack import LiveStack, live_stack, sleeper_job
from tests.support.otlp_receiver import Collector, Received, collecting

DEPLOY = Path(__file__).parents[2] / "deploy"
PLACES = {
    "orchestrator-api": API_PLACE,
    "publisher": PUBLISHER_PLACE,
    "compute-agent": AGENT_PLACE,
    "scheduler": SCHEDULER_PLACE,
}


class Watched(NamedTuple):
    stack: LiveStack
    collector: Collector
    first: int

    def get(self, service: str, path: str) -> httpx2.Response:
        return httpx2.get(f"http://127.0.0.1:{self.first + PLACES[service]}{path}", timeout=10)


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with collecting() as collector:
        first = _four_free_ports()
        env = {"SKREI_HEALTH_LISTEN": f"127.0.0.1:{first}", "SKREI_OTLP_ENDPOINT": collector.url}
        with live_stack(env=env) as stack:
            yield Watched(stack, collector, first)


def _four_free_ports() -> int:
    """The first of four ports in a row that nobody has now."""
    import socket

    while True:
        first = free_port()
        try:
            for port in range(first, first + 4):
                with socket.socket() as sock:
                    sock.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first


@pytest.mark.parametrize("service", sorted(PLACES))
def test_every_service_lives_is_ready_and_tells_who_it_is(watched: Watched, service: str) -> None:
    assert watched.get(service, "/healthz").json() == {"Status": "OK"}
    ready = watched.get(service, "/readyz")
    assert (ready.status_code, set(ready.json()["Checks"].values())) == (200, {"OK"})
    figures = watched.get(service, "/metrics").text
    assert f'skrei_build_info{{service="{service}",version="' in figures


def test_a_job_is_one_connected_trace_from_the_call_to_the_end_of_its_program(watched: Watched) -> None:
    trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    answer = watched.stack.client.put(
        "/jobs", json=sleeper_job(0.1), headers={"traceparent": f"00-{trace}-{caller}-01"}
    )
    job_id = answer.json()["JobID"]
    assert watched.stack.wait_for([job_id], 30) == {job_id: "Completed"}
    wanted = {"submit", "commit", "job", "plan", "execution", "offer", "staging", "run"}
    watched.stack.wait_until(
        lambda: wanted <= {span.name for span in watched.collector.of_trace(trace)}, 20, "its trace has come"
    )
    spans = {span.name: span for span in watched.collector.of_trace(trace)}
    assert len(watched.collector.of_trace(trace)) == len(spans), "each of them once"
    parents = {name: _name_of(span.parent_id, spans, caller) for name, span in spans.items()}
    assert {name: parents[name] for name in wanted} == {
        "submit": "the caller",
        "commit": "submit",
        "job": "submit",
        "plan": "job",
        "execution": "job",
        "offer": "execution",
        "staging": "execution",
        "run": "execution",
    }
    assert spans["run"].service == "skrei-compute-agent"
    assert (spans["run"].ended - spans["run"].began) >= 90_000_000, "it slept for a tenth of a second"
    assert spans["execution"].attributes["skrei.exit_code"] == 0
    assert spans["job"].attributes["skrei.job.id"] == job_id
    assert watched.collector.problems == []


def _name_of(span_id: str, spans: dict[str, Received], caller: str) -> str:
    return "the caller" if span_id == caller else next(each.name for each in spans.values() if each.span_id == span_id)


def test_a_stopped_job_and_one_that_its_caller_does_not_trace(watched: Watched) -> None:
    stack, collector = watched.stack, watched.collector
    quiet = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    unseen = stack.client.put("/jobs", json=sleeper_job(0), headers={"traceparent": f"00-{quiet}-{'b' * 16}-00"})
    stopped = stack.submit(sleeper_job(60))
    stack.wait_until(lambda: stack.state_of(stopped) == "Running", 20, "it runs")
    stack.call("DELETE", f"/jobs/{stopped}")

    def ends() -> set[str]:
        return {span.name for span in collector.spans if span.attributes.get("skrei.state", "").lower() == "stopped"}

    stack.wait_until(lambda: ends() == {"job", "execution"}, 20, "its end is told")
    stack.wait_for([unseen.json()["JobID"]], 20)
    assert collector.of_trace(quiet) == []


def test_what_dashboards_and_alerts_ask_for_is_told_by_a_real_stack(watched: Watched) -> None:
    told = set()
    for service in PLACES:
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", watched.get(service, "/metrics").text, re.MULTILINE):
            told |= {f"{name}{end}" for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    asked = {
        name
        for path in sorted(DEPLOY.rglob("*"))
        if path.suffix in (".json", ".yml")
        for name in re.findall(r"\b(?:skrei|process)_[a-z0-9_]+\b", path.read_text("utf-8"))
    }
    rules = set(re.findall(r"record: (\S+)", "".join(path.read_text() for path in DEPLOY.glob("alerts/*.yml"))))
    assert len(asked) > 30
    assert asked - told - rules == set()


def test_the_figures_of_one_job_add_up(watched: Watched) -> None:
    def value(name: str) -> float:
        text = watched.get("scheduler", "/metrics").text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    before = value("skrei_placements_total"), value('skrei_jobs_ended_total{state="Completed"}')
    job_id = watched.stack.submit(sleeper_job(0, count=3))
    watched.stack.wait_for([job_id], 30)
    assert (
        value("skrei_placements_total") - before[0],
        value('skrei_jobs_ended_total{state="Completed"}') - before[1],
    ) == (
        3,
        1,
    )
    waits = sleeper_job(0, cpu="1000")
    waits["Job"]["Tasks"][0]["Timeouts"] = {"QueueTimeout": 60}
    queued = watched.stack.submit(waits)
    watched.stack.wait_until(lambda: value("skrei_waiting_cpu_cores") == 1000, 20, "what waits is told")
    assert value('skrei_jobs_waiting{reason="no-node"}') == 1
    watched.stack.call("DELETE", f"/jobs/{queued}")
    watched.stack.wait_until(lambda: value("skrei_waiting_cpu_cores") == 0, 20, "and no more")
