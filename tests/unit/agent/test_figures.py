"""A node tells what it is in figures."""

from pathlib import Path

from skrei_compute_agent.figures import node_figures
from skrei_compute_agent.held import Phase
from skrei_compute_agent.machine import AgentMachine
from skrei_domain.node import InputCache, NodeInfo
from skrei_domain.resources import Resources
from skrei_domain.sync import Meta, NodeMemory, NodeSide
from skrei_kit.metrics import lines


def test_a_node_tells_what_it_holds_and_what_its_cache_was_good_for(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "journal.sqlite").write_bytes(b"x" * 10)
    (tmp_path / "journal" / "journal.sqlite-wal").write_bytes(b"x" * 5)
    (tmp_path / "journal" / "lock").write_bytes(b"x" * 100)
    info = NodeInfo(
        node_id="n-1", capacity=Resources(cpu_milli=1500, memory_bytes=10), cache=InputCache(hits=3, fetched_bytes=9)
    )
    machine = AgentMachine(NodeSide(NodeMemory(Meta(node_id="n-1")), "boot"), info)
    found = "".join(lines(node_figures(machine, lambda: False, tmp_path))).splitlines()
    assert "skrei_node_greeted 0" in found
    assert "skrei_node_journal_bytes 15" in found
    assert "skrei_node_capacity_cpu_cores 1.5" in found
    assert "skrei_node_reserved_cpu_cores 0" in found
    assert "skrei_node_facts_unconfirmed 0" in found
    assert "skrei_input_cache_hits_total 3" in found
    assert sum(line.startswith("skrei_node_executions{") for line in found) == len(Phase)
