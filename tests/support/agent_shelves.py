"""Where a node keeps what inputs are made of, in a folder of a test; nothing of it comes from elsewhere but blobs."""

from pathlib import Path

import pytest

from skrei_compute_agent.held_inputs import HeldInputs
from skrei_compute_agent.input_cache import InputCache
from skrei_compute_agent.input_trees import InputTrees
from skrei_compute_agent.listings import Listings
from skrei_compute_agent.pinned import Pinned
from skrei_compute_agent.staging import Shelves
from skrei_compute_agent.task_results import TaskResults


def shelves(folder: Path, cache: InputCache) -> Shelves:
    """Return them around this cache, all of them open."""
    cache.open()
    trees = InputTrees(folder / "inputs", cache)
    trees.open([])
    listings = Listings(folder / "listings")
    listings.open()
    pinned = Pinned(listings, lambda: pytest.fail("no list lies elsewhere"))
    results = TaskResults(lambda: pytest.fail("no result of a task is an input here"), cache)
    return Shelves(cache, trees, listings, pinned, results, HeldInputs(cache.files, folder / "held"))
