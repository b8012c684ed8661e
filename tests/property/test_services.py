"""What services are ready is kept by facts; whatever happened, it is what a new leader would find in the record."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import PortObserved
from skrei_domain.services import MOST_BYTES, MOST_ENDPOINTS, Endpoint, variable, variables
from skrei_scheduling.changes import Changes, ExecutionChange
from skrei_scheduling.rows import ExecutionRow
from skrei_scheduling.schedule import schedule
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, a_job, a_node, a_requirement, an_evaluation, an_execution, counting_ids

NODES = ("n-1", "n-2", "n-3")
HOSTS = st.sampled_from(["127.0.0.1", "10.0.0.1", "n-7", "::1", "2001:db8::1"])
NAMES = st.sampled_from(["http", "Admin", "web_1", "a"])


@st.composite
def ports(draw: st.DrawFn) -> tuple[PortObserved, ...]:
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    return tuple(
        PortObserved(name=name, host=draw(HOSTS), port=draw(st.integers(1024, 65535)), target=80) for name in names
    )


@st.composite
def endpoints(draw: st.DrawFn) -> list[Endpoint]:
    keys = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), min_size=1, max_size=60, unique=True))
    return [Endpoint((task, partition, f"e-{partition}"), f"t{task}", draw(ports())) for task, partition in keys]


SERVICES = st.dictionaries(st.sampled_from(["web", "Web-1", "db", "web_http"]), endpoints(), min_size=1)


@given(SERVICES, st.integers(0, 100), st.randoms(use_true_random=False))
def test_every_service_is_told_the_same_whatever_the_order(
    services: dict[str, list[Endpoint]], turn: int, random
) -> None:  # type: ignore[no-untyped-def]
    found = variables(services, turn=turn)
    shuffled = {name: random.sample(rows, k=len(rows)) for name, rows in services.items()}
    assert variables(shuffled, turn=turn) == found
    assert sum(len(name) + len(value) for name, value in found.items()) <= MOST_BYTES
    for name, rows in services.items():
        told = found[variable(name)].split(",")
        first = min(row.order[0] for row in rows)
        there = [row for row in rows if row.order[0] == first]
        assert 1 <= len(told) <= min(len(there), MOST_ENDPOINTS)
        assert {each.rpartition(":")[2] for each in told} <= {str(row.ports[0].port) for row in there}


STATES = st.sampled_from(
    [ExecutionState.OFFERED, *[ExecutionState.RUNNING] * 4, ExecutionState.UNKNOWN, ExecutionState.STOPPED]
)


@st.composite
def lives(draw: st.DrawFn) -> list[dict[str, object]]:
    return draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "state": STATES,
                    "ready": st.sampled_from([None, True, False]),
                    "revoked": st.booleans(),
                    "ports": st.one_of(st.just(()), ports()),
                }
            ),
            max_size=6,
        )
    )


@given(st.lists(lives(), min_size=1, max_size=4))
def test_what_is_ready_is_what_a_new_leader_would_find(histories: list[list[dict[str, object]]]) -> None:
    web = replace(a_job("j-web", count=9, state=JobState.RUNNING, type="service"), name="web")
    nodes = [a_node(name) for name in NODES]
    rows: dict[str, ExecutionRow] = {
        f"e-{number}": an_execution(f"e-{number}", job=web, partition=number, node_id=NODES[number % 3])
        for number in range(len(histories))
    }
    view = ClusterView.load(nodes, [web], rows.values())
    asks = a_job("j-asks", count=3, requirement=a_requirement(uses=["web"]))
    for moment in range(6):
        for number, history in enumerate(histories):
            if moment < len(history) and (old := rows[f"e-{number}"]).live:
                change = history[moment]
                ends = change["state"] is ExecutionState.STOPPED
                rows[old.id] = replace(old, **change, holds=not ends)  # type: ignore[arg-type]
                view.apply(Changes(executions=(ExecutionChange(rows[old.id]),)))
        fresh = ClusterView.load(nodes, [web], [row for row in rows.values() if row.live])
        for name in NODES:
            told = view.matrix.told([("default", "web")], name, turn=0)
            assert told == fresh.matrix.told([("default", "web")], name, turn=0)
        placed = schedule(view, [evaluation_of(asks)], NOW, 0, counting_ids()).placements
        for row in placed:
            assert view.matrix.told([("default", "web")], row.node_id, turn=row.partition), (
                "placed where it is not reached"
            )
        reached = [name for name in NODES if view.matrix.told([("default", "web")], name, turn=0)]
        assert bool(placed) == bool(reached)


def evaluation_of(job):  # type: ignore[no-untyped-def]
    return an_evaluation(job, id="v-1")
