"""The dashboards of Grafana, written down as what they ask: `python -m scripts.dashboards` writes deploy/dashboards.

A dashboard's JSON is a thousand lines that nobody reads; here a panel is its title, its unit and its questions. A test
compares the files with what this makes, asks Prometheus' own parser about every question, and a real stack about
every name in them.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from scripts.environment import ROOT

FOLDER = ROOT / "deploy/dashboards"
WIDTH, HEIGHT, COLUMNS = 8, 7, 3
_SOURCE = {"type": "prometheus", "uid": "${source}"}


class Panel(NamedTuple):
    """A panel: its questions with their legends, and what the answers are in."""

    title: str
    unit: str
    asks: tuple[tuple[str, str], ...]
    text: str = ""
    kind: str = "timeseries"


class Row(NamedTuple):
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


class Dashboard(NamedTuple):
    """A page."""

    uid: str
    title: str
    rows: tuple[Row, ...]


def _quantiles(name: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"histogram_quantile({share}, sum by (le) (rate({name}_bucket[$__rate_interval])))", f"p{round(share * 100)}")
        for share in (0.5, 0.9, 0.99)
    )


def _rate(name: str, by: str = "") -> tuple[tuple[str, str], ...]:
    asked = f"sum by ({by}) (rate({name}[$__rate_interval]))" if by else f"sum(rate({name}[$__rate_interval]))"
    return ((asked, f"{{{{{by}}}}}" if by else "all"),)


CLUSTER = Dashboard(
    "skrei-cluster",
    "Skrei: cluster",
    (
        Row(
            "Is it well",
            (
                Panel("Leaders", "short", (("sum(skrei_leader)", "leaders"),), "One, always.", "stat"),
                Panel(
                    "Nodes",
                    "short",
                    (("sum by (membership, connection) (skrei_cluster_nodes)", "{{membership}}, {{connection}}"),),
                ),
                Panel("Jobs that have not ended", "short", (("sum by (state) (skrei_jobs)", "{{state}}"),)),
                Panel("Jobs that end", "ops", _rate("skrei_jobs_ended_total", "state")),
                Panel("Executions", "short", (("sum by (state) (skrei_executions)", "{{state}}"),)),
                Panel("Executions that end", "ops", _rate("skrei_executions_ended_total", "state")),
            ),
        ),
        Row(
            "What waits, and for what",
            (
                Panel(
                    "Jobs that wait for room, by why",
                    "short",
                    (("sum by (reason) (skrei_jobs_waiting)", "{{reason}}"),),
                    "no-node: no node that is known could ever; nodes-away: those that could are silent; "
                    "something-missing: a service, a port or a cached input; no-room: those are full.",
                ),
                Panel(
                    "Cores that waiting work needs",
                    "short",
                    (
                        ("sum by (engine, constraints) (skrei_waiting_cpu_cores)", "{{engine}} {{constraints}}"),
                        ("sum(skrei_free_cpu_cores)", "free"),
                    ),
                ),
                Panel(
                    "Memory that it needs",
                    "bytes",
                    (
                        ("sum by (engine, constraints) (skrei_waiting_memory_bytes)", "{{engine}} {{constraints}}"),
                        ("sum(skrei_free_memory_bytes)", "free"),
                    ),
                ),
                Panel(
                    "GPUs that it needs",
                    "short",
                    (
                        ("sum by (engine, constraints) (skrei_waiting_gpus)", "{{engine}} {{constraints}}"),
                        ("sum(skrei_free_gpu_devices)", "free"),
                    ),
                ),
                Panel("From submission to placement", "s", _quantiles("skrei_placement_wait_seconds")),
                Panel(
                    "Placements",
                    "ops",
                    (*_rate("skrei_placements_total"), (_rate("skrei_retries_total")[0][0], "retries")),
                ),
            ),
        ),
        Row(
            "Where it is held up: the chain of back-pressure",
            (
                Panel(
                    "Nodes: facts that nobody has confirmed",
                    "short",
                    (("topk(10, skrei_node_facts_unconfirmed)", "{{instance}}"),),
                ),
                Panel(
                    "Leader: facts that wait",
                    "short",
                    (("sum(skrei_facts_lag_messages)", "in the stream"), ("sum(skrei_facts_queued_batches)", "read")),
                ),
                Panel("Leader: evaluations that wait", "short", (("sum(skrei_evaluations_pending)", "pending"),)),
                Panel("Leader: commits", "s", _quantiles("skrei_commit_seconds")),
                Panel("API: commits of submissions", "s", _quantiles("skrei_submit_commit_seconds")),
                Panel(
                    "API: answers that refuse",
                    "ops",
                    (
                        (
                            'sum by (code) (rate(skrei_api_requests_total{code=~"429|5.."}[$__rate_interval]))',
                            "{{code}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Requests and processes",
            (
                Panel("Requests", "reqps", _rate("skrei_api_requests_total", "code")),
                Panel("Time to answer", "s", _quantiles("skrei_api_request_seconds")),
                Panel("Memory", "bytes", (("process_resident_memory_bytes", "{{job}} {{instance}}"),)),
                Panel(
                    "Processor",
                    "percentunit",
                    (("rate(process_cpu_seconds_total[$__rate_interval])", "{{job}} {{instance}}"),),
                ),
                Panel("Files and sockets", "short", (("process_open_fds", "{{job}} {{instance}}"),)),
                Panel(
                    "Messages that could not be read",
                    "ops",
                    _rate("skrei_messages_skipped_total", "kind"),
                ),
            ),
        ),
    ),
)

DATA = Dashboard(
    "skrei-data",
    "Skrei: nodes and data",
    (
        Row(
            "Where data was",
            (
                Panel("What executions read", "Bps", _rate("skrei_input_bytes_total", "where")),
                Panel(
                    "Share that was there",
                    "percentunit",
                    (
                        (
                            'sum(rate(skrei_input_bytes_total{where!="moved"}[$__rate_interval])) '
                            "/ sum(rate(skrei_input_bytes_total[$__rate_interval]))",
                            "there",
                        ),
                    ),
                ),
                Panel("Files found in caches", "ops", _rate("skrei_cache_hits_total")),
                Panel("Results, by their way", "Bps", _rate("skrei_result_bytes_total", "way")),
                Panel("Uploads", "Bps", _rate("skrei_upload_bytes_total")),
                Panel("Results handed out", "ops", _rate("skrei_downloads_total", "source")),
            ),
        ),
        Row(
            "The result store",
            (
                Panel(
                    "How full it is",
                    "bytes",
                    (("sum(skrei_store_bytes)", "holds"), ("sum(skrei_store_quota_bytes)", "may hold")),
                ),
                Panel("Results that wait for the publisher", "short", (("sum(skrei_publisher_pending)", "pending"),)),
                Panel("Uploads under way", "short", (("sum(skrei_uploads_open)", "open"),)),
            ),
        ),
        Row(
            "Nodes",
            (
                Panel("Greeted by a leader", "short", (("skrei_node_greeted", "{{instance}}"),)),
                Panel("Executions, by phase", "short", (("sum by (phase) (skrei_node_executions)", "{{phase}}"),)),
                Panel(
                    "Cores handed out",
                    "percentunit",
                    (("skrei_node_reserved_cpu_cores / skrei_node_capacity_cpu_cores", "{{instance}}"),),
                ),
                Panel(
                    "Memory handed out",
                    "percentunit",
                    (("skrei_node_reserved_memory_bytes / skrei_node_capacity_memory_bytes", "{{instance}}"),),
                ),
                Panel("Free on the disk", "bytes", (("bottomk(10, skrei_node_disk_free_bytes)", "{{instance}}"),)),
                Panel("The journal", "bytes", (("topk(10, skrei_node_journal_bytes)", "{{instance}}"),)),
                Panel(
                    "Input caches",
                    "percentunit",
                    (("skrei_input_cache_bytes / skrei_input_cache_limit_bytes", "{{instance}}"),),
                ),
                Panel("Fetched", "Bps", (("sum(rate(skrei_input_fetched_bytes_total[$__rate_interval]))", "fetched"),)),
                Panel(
                    "Not fetched again",
                    "Bps",
                    (("sum(rate(skrei_input_cache_saved_bytes_total[$__rate_interval]))", "saved"),),
                ),
            ),
        ),
    ),
)

DASHBOARDS = (CLUSTER, DATA)


def document(dashboard: Dashboard) -> dict[str, Any]:
    """Return a dashboard as Grafana reads it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["skrei"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "panels": list(_panels(dashboard.rows)),
    }


def questions(dashboard: Dashboard) -> Iterator[tuple[str, str]]:
    """Yield every question with the title of its panel, as Prometheus is asked it."""
    for row in dashboard.rows:
        for panel in row.panels:
            for asked, _ in panel.asks:
                yield panel.title, asked.replace("$__rate_interval", "1m")


def _panels(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": top, "w": WIDTH * COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "gridPos": place, "collapsed": False, "panels": []}
        top += 1
        for index, panel in enumerate(row.panels):
            number += 1
            x, y = index % COLUMNS * WIDTH, top + index // COLUMNS * HEIGHT
            yield _panel(panel, number, {"x": x, "y": y, "w": WIDTH, "h": HEIGHT})
        top += -(-len(row.panels) // COLUMNS) * HEIGHT


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "gridPos": place,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": asked, "legendFormat": legend, "datasource": _SOURCE}
            for index, (asked, legend) in enumerate(panel.asks)
        ],
    }


def text(dashboard: Dashboard) -> str:
    """Return the file of a dashboard."""
    return json.dumps(document(dashboard), indent=1) + "\n"


def main() -> None:
    """Write the files."""
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.uid}.json").write_text(text(dashboard), "utf-8")


if __name__ == "__main__":
    main()
