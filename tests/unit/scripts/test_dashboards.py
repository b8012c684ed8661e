"""Dashboards and alerts are what Prometheus can answer: its own parsers read each question and each rule."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.dashboards import DASHBOARDS, FOLDER, questions, text
from scripts.environment import ROOT
from scripts.tools import PROMCHECK

ALERTS = ROOT / "deploy/alerts/skrei.yml"


def promcheck(*rules: Path, asked: str = "") -> str:
    """What Prometheus' parsers find wrong; empty where nothing is."""
    if not PROMCHECK.exists():
        pytest.skip("promcheck is not here; `make tools` builds it (Go)")
    return subprocess.run(
        [PROMCHECK, *rules], check=False, input=asked, capture_output=True, text=True, timeout=60
    ).stdout


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.uid)
def test_the_files_are_what_the_dashboards_say(dashboard) -> None:  # type: ignore[no-untyped-def]
    told = (FOLDER / f"{dashboard.uid}.json").read_text("utf-8")
    assert told == text(dashboard), "`python -m scripts.dashboards` writes them anew"
    panels = json.loads(told)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    taken = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(taken) == len(set(taken)), "panels lie on each other"


def test_every_question_is_one_that_prometheus_understands() -> None:
    asked = "".join(f"{title}\t{question}\n" for each in DASHBOARDS for title, question in questions(each))
    assert promcheck(asked=asked) == ""
    assert "wrong: " in promcheck(asked="wrong\tsum(rate(x[5m])\n"), "what is none is found"


def test_every_rule_is_one_that_prometheus_understands(tmp_path: Path) -> None:
    assert promcheck(ALERTS) == ""
    broken = tmp_path / "broken.yml"
    broken.write_text(ALERTS.read_text("utf-8").replace("for: 2m", "for: soon", 1))
    assert "broken.yml" in promcheck(broken)


def test_every_alert_says_how_bad_it_is_and_is_about_what_is_asked_for() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert {rule["labels"]["severity"] for rule in rules} == {"critical", "warning", "info"}
    assert all(rule["annotations"]["summary"] for rule in rules)
    jobs = [each["job_name"] for each in yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())["scrape_configs"]]
    down = next(rule["expr"] for rule in rules if rule["alert"] == "SkreiServiceDown")
    pattern = re.search(r'job=~"([^"]+)"', down)
    assert pattern is not None
    assert all(re.fullmatch(pattern[1], job) for job in jobs)


def test_every_alert_has_its_place_in_the_operators_page() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]
    told = re.findall(r"^### (Skrei\w+)$", (ROOT / "docs/OPERATIONS.md").read_text("utf-8"), re.MULTILINE)
    assert [rule["alert"] for rule in rules] == told
