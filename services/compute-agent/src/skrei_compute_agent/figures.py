"""What a node tells of itself in figures: read from what it is at the moment that somebody asks."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from skrei_compute_agent.held import Phase
from skrei_compute_agent.machine import AgentMachine
from skrei_domain.node import InputCache
from skrei_domain.sync.node import WINDOW_BATCHES
from skrei_kit.metrics import Figure, Sample, gauge, gauges

CACHE = (
    ("skrei_input_cache_bytes", "gauge", "Bytes of fetched inputs that the node keeps.", "size_bytes"),
    ("skrei_input_cache_limit_bytes", "gauge", "Bytes that it may keep.", "limit_bytes"),
    ("skrei_input_cache_files", "gauge", "Files that it keeps.", "files"),
    ("skrei_input_cache_hits_total", "counter", "Files that were asked for and were there.", "hits"),
    ("skrei_input_cache_saved_bytes_total", "counter", "Bytes that were not fetched again.", "saved_bytes"),
    ("skrei_input_fetched_bytes_total", "counter", "Bytes that had to be fetched.", "fetched_bytes"),
)
"""Figures of a node's input cache: name, kind, text, and the field of `InputCache`."""


def node_figures(machine: AgentMachine, greeted: Callable[[], bool], data_dir: Path) -> Iterator[Figure]:
    """Yield what a node is now; `data_dir` holds its journal, and what its disk has free is told of it."""
    node = machine.node
    yield gauge("skrei_node_greeted", "Whether a leader hears this node.", greeted())
    phases = Counter(held.phase for held in machine.all_held())
    yield gauges(
        "skrei_node_executions",
        "Executions that this node looks after, by phase; ended ones until their end is confirmed.",
        "phase",
        {phase.value: phases[phase] for phase in Phase},
    )
    yield gauge("skrei_node_facts_unconfirmed", "Facts in the journal that no leader has confirmed.", node.unconfirmed)
    yield gauge("skrei_node_fact_batches", "Batches of facts under way.", node.in_flight)
    yield gauge("skrei_node_fact_batches_limit", "Batches that may be under way at once.", WINDOW_BATCHES)
    yield gauge("skrei_node_journal_bytes", "What the journal takes on the disk.", _bytes(data_dir / "journal"))
    yield gauge("skrei_node_disk_free_bytes", "Free on the disk of the node's data.", shutil.disk_usage(data_dir).free)
    has, held = machine.info.capacity, machine.reserved
    for name, whole, taken in (
        ("cpu_cores", has.cpu_milli / 1000, held.cpu_milli / 1000),
        ("memory_bytes", has.memory_bytes, held.memory_bytes),
        ("gpu_devices", has.gpu, held.gpu),
    ):
        yield gauge(f"skrei_node_capacity_{name}", "What the node hands out.", whole)
        yield gauge(f"skrei_node_reserved_{name}", "What executions hold of that.", taken)
    yield from cache_figures(machine.info.cache or InputCache())


def cache_figures(cache: InputCache) -> Iterator[Figure]:
    """Yield what a node's input cache holds, and was good for."""
    for name, kind, text, field in CACHE:
        yield Figure(name, kind, text, (Sample(getattr(cache, field)),))


def _bytes(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.glob("journal.sqlite*"))
