import json

import pytest

from skrei_domain.envelope import wrap
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import ExecutionObserved, FactBatch
from skrei_domain.sync.received import Unreadable
from skrei_scheduler.reading import read_batch


def a_batch() -> FactBatch:
    facts = tuple(
        ExecutionObserved(execution_id=f"e-{number}", revision=1, state=ExecutionState.RUNNING) for number in range(3)
    )
    return FactBatch(node_id="n-1", boot_id="b", incarnation=1, first=5, facts=facts, writer="b")


def spoiled(change: dict[str, object]) -> bytes:
    event = json.loads(wrap(a_batch(), type_="skrei.facts.v1", source="n-1", id_="1"))
    event["data"]["facts"][1] |= change
    return json.dumps(event).encode()


@pytest.mark.parametrize("change", [{"type": "skrei.volume.seen.v1"}, {"state": "dreaming"}, {"revision": "many"}])
def test_a_fact_that_cannot_be_read_keeps_its_place_and_the_others_their_numbers(change: dict[str, object]) -> None:
    batch = read_batch(spoiled(change), "n-1")
    assert (batch.first, batch.last, batch.writer) == (5, 7, "b")
    assert isinstance(batch.facts[1], Unreadable)
    assert "e-1" in batch.facts[1].raw
    assert [batch.facts[0], batch.facts[2]] == [a_batch().facts[0], a_batch().facts[2]]


def test_a_sound_batch_is_read_as_it_is() -> None:
    assert read_batch(wrap(a_batch(), type_="skrei.facts.v1", source="n-1", id_="1"), "n-1") == a_batch()


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b'{"data": {"facts": []}}'])
def test_what_is_no_batch_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        read_batch(payload, "n-1")
