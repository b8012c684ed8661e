"""Figures for Prometheus: whole lines, whatever nodes call themselves."""

from skrei_domain.lifecycle import Connection
from skrei_domain.node import InputCache, NodeInfo
from skrei_kit.metrics import lines
from skrei_orchestrator_api.access import Door, door_of
from skrei_orchestrator_api.routes.metrics import node_figures


def test_every_figure_of_every_node_that_tells_some_has_one_line() -> None:
    cache = InputCache(files=3, size_bytes=61, limit_bytes=100, inputs=2, hits=19, saved_bytes=500, fetched_bytes=61)
    infos = [NodeInfo(node_id="n-1", name="oslo", cache=cache), NodeInfo(node_id="n-2")]
    told = "".join(lines(node_figures({Connection.CONNECTED: 2}, infos))).splitlines()
    assert 'skrei_nodes{connection="connected"} 2' in told
    assert 'skrei_nodes{connection="disconnected"} 0' in told
    assert 'skrei_input_cache_hits_total{node="n-1",name="oslo"} 19' in told
    assert 'skrei_input_cache_saved_bytes_total{node="n-1",name="oslo"} 500' in told
    assert 'skrei_input_fetched_bytes_total{node="n-1",name="oslo"} 61' in told
    assert not any("n-2" in line for line in told)
    assert all(line.startswith("#") or line.count(" ") == 1 for line in told)


def test_what_nodes_call_themselves_ends_no_line() -> None:
    infos = [NodeInfo(node_id="n-1", name='a"b\\c\nd', cache=InputCache())]
    told = "".join(lines(node_figures({}, infos)))
    assert 'name="a\\"b\\\\c\\nd"} 0\n' in told


def test_it_is_for_the_owner_alone() -> None:
    assert door_of("GET", "/metrics") is Door.OWNER
