"""No message is larger than 512 KiB, whatever it is made of: neither the leader's nor a node's."""

import asyncio
from datetime import timedelta
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from skrei_domain import envelope
from skrei_domain.bounds import HIGHEST, INFO_BYTES, INLINE_BYTES, wrong_with_fact, wrong_with_hello, wrong_with_info
from skrei_domain.clock import ManualClock
from skrei_domain.lifecycle import ExecutionState, JobState, Want
from skrei_domain.messages import ExecutionObserved, FactBatch, Problem, ResultRef, RunOutput, Step
from skrei_domain.node import Gpu, NodeInfo, Plugin
from skrei_domain.spec import MAX_SPEC_BYTES, JobSpec, SpecConfig, TaskSpec, encode
from skrei_domain.sync import Known, LeaderSide, Meta, NodeLog, NodeMemory, NodeSide
from skrei_kit.bus import Bus
from skrei_kit.tokens import TokenSigner
from skrei_kit.topology import MAX_MESSAGE_BYTES
from skrei_scheduler.core import Core
from skrei_scheduler.sender import Sender
from skrei_scheduler.specs import SpecCache
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_digest, a_job, a_node, an_execution, counting_ids

CHARACTERS = st.sampled_from(["x", "\x01", '"', "\\", "\0", "é", "\u2028", "𝄞"])
LENGTHS = st.sampled_from([0, 1, 200, 4_096, 200_000])
IDS = st.sampled_from(["e-{}", "e-" + "x" * 110 + "-{}"])


def size(message: object) -> int:
    return len(envelope.wrap(message, type_="skrei.some.type.v1", source="n" * 256, id_="0" * 32))  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(CHARACTERS, LENGTHS), st.sampled_from([0, INLINE_BYTES]), st.integers(1, 400), IDS, st.integers(0, 300)
)
def test_no_batch_of_facts_is_too_large_and_all_that_it_holds_is_within_the_leaders_bounds(
    texts: tuple[str, int], inline: int, facts: int, name: str, steps: int
) -> None:
    side = NodeSide(NodeMemory(Meta("n-1", timeline=1, epoch=1, incarnation=1)), "b")
    side.greeted = True
    text = texts[0] * texts[1]
    for number in range(facts):
        execution_id = name.format(number)
        side.memory.known.put(Known(execution_id, 1, Want.RUN))
        side.observe(
            ExecutionObserved(
                execution_id=execution_id,
                revision=1,
                state=ExecutionState.COMPLETED,
                steps=(Step(state=ExecutionState.RUNNING, at=NOW, start=HIGHEST),) * steps,
                problem=Problem(code=text, message=text),
                output=RunOutput(stdout=text, stderr=text),
                result=ResultRef(digest=a_digest("r"), size=inline, inline="A" * (4 * -(-inline // 3))),
            ),
            NOW,
        )
    batches: list[FactBatch] = side.batches(0.0)
    assert batches
    for batch in batches:
        assert size(batch) <= MAX_MESSAGE_BYTES
        assert not any(wrong_with_fact(fact) for fact in batch.facts if isinstance(fact, ExecutionObserved))


@settings(max_examples=20, deadline=None)
@given(IDS, st.integers(0, 2_500), st.sampled_from([1, 60, 250]), st.sampled_from(["x", "é", '"']))
def test_no_page_of_a_hello_and_no_answer_to_one_is_too_large(name: str, known: int, labels: int, text: str) -> None:
    info = NodeInfo(
        node_id="n-1",
        labels={f"label-{number}": text * 100 for number in range(labels)},
        engines=tuple(Plugin(name=f"engine-{number}", version="1") for number in range(20)),
        gpus=tuple(Gpu(index=number, name="a large device") for number in range(16)),
    )
    assert not wrong_with_info(info) or len(info.model_dump_json()) > INFO_BYTES
    side = NodeSide(NodeMemory(Meta("n-1", timeline=1, epoch=1, incarnation=1)), "b")
    for number in range(known):
        execution_id = name.format(number)
        side.memory.known.put(Known(execution_id, 1, Want.RUN, state=ExecutionState.RUNNING))
    leader = LeaderSide(1, 1)
    rows = {
        each: an_execution(each, revision=HIGHEST, seen_revision=1, state=ExecutionState.RUNNING)
        for each in (known.execution_id for known in side.memory.known.values())
    }
    for page in side.hello(info):
        assert size(page) <= MAX_MESSAGE_BYTES
        assert wrong_with_hello(page, 1) == wrong_with_info(info)
        greeting = leader.greet(NodeLog(1, 0, "b"), rows, page, 0.0)
        assert size(greeting.reply) <= MAX_MESSAGE_BYTES
    assert greeting.log is not None


class _Recorder:
    """A bus that weighs what it is given."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def publish(self, _subject: str, payload: bytes) -> None:
        self.sizes.append(len(payload))


class _Tokens:
    """Tokens of the size of real ones."""

    def run(self, *_: object, **__: object) -> str:
        return "t" * 600


@settings(max_examples=20, deadline=None)
@given(CHARACTERS, st.sampled_from([1, 1_000, 20_000, MAX_SPEC_BYTES - 2_000]), st.integers(1, 300), st.booleans())
def test_no_batch_of_commands_is_too_large(character: str, length: int, executions: int, stop: bool) -> None:
    text = character * (length // len(character.encode()))
    task = TaskSpec(name="main", engine=SpecConfig(type="wasm", params={"Parameters": [text]}))
    specs = SpecCache()
    specs.put("j-1", 1, encode(JobSpec(name="job", tasks=(task,))))
    job = a_job(count=executions, state=JobState.RUNNING)
    want = Want.STOP if stop else Want.RUN
    rows = [an_execution(f"e-{number}", job=job, partition=number, want=want) for number in range(executions)]
    core = Core(ClusterView.load([a_node()], [job], rows), timeline=1, epoch=1, now=0.0, ids=counting_ids())
    bus = _Recorder()
    sender = Sender(
        cast("Bus", bus),
        core,
        specs=specs,
        signer=cast("TokenSigner", _Tokens()),
        clock=ManualClock(NOW),
        token=timedelta(hours=1),
    )
    asyncio.run(sender.commands("n-1", rows))
    assert bus.sizes
    assert max(bus.sizes) <= MAX_MESSAGE_BYTES
