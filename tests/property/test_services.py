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


NAMES_OFFERED = st.sets(st.sampled_from(["web", "db"]))


@given(
    st.lists(st.tuples(NAMES_OFFERED, NAMES_OFFERED), min_size=1, max_size=5),
    st.sampled_from(["", "127.0.0.1", "10.0.0.1"]),
    st.sampled_from([["web"], ["db"], ["web", "db"]]),
)
def test_work_lies_only_where_all_that_it_uses_is_reached_and_waits_only_where_it_is_not(
    offers: list[tuple[set[str], set[str]]], host: str, uses: list[str]
) -> None:
    web = replace(a_job("j-web", state=JobState.RUNNING, type="service"), name="web")
    ready = () if not host else (PortObserved(name="http", host=host, port=80, target=80),)
    serving = replace(an_execution("e-web", job=web, state=ExecutionState.RUNNING, node_id="n-0"), ports=ready)
    view = ClusterView.load([a_node(f"n-{n}", services=a) for n, (a, _) in enumerate(offers)], [web], [serving])
    for moment in (0, 1):
        if moment:
            view.apply(Changes(nodes=tuple(a_node(f"n-{n}", services=b) for n, (_, b) in enumerate(offers))))
        asks = a_job("j-asks", count=len(offers), requirement=a_requirement(cpu="1500m", uses=uses))

        def reached(number: int, moment: int = moment) -> bool:
            job_serves = host == "10.0.0.1" or (host == "127.0.0.1" and number == 0)
            return all(name in offers[number][moment] or (name == "web" and job_serves) for name in uses)

        placed = schedule(view, [evaluation_of(asks)], NOW, moment, counting_ids()).placements
        assert {row.node_id for row in placed} == {f"n-{n}" for n in range(len(offers)) if reached(n)}
        for row in placed:
            keys = [("default", name) for name in uses]
            told = view.matrix.told(keys, row.node_id, turn=0)
            assert told is not None
            own = view.matrix.of_node(keys, row.node_id)
            assert {variable(name) for name in own}.isdisjoint(told)
            assert {variable(name) for name in uses} <= told.keys() | {variable(name) for name in own}


def evaluation_of(job):  # type: ignore[no-untyped-def]
    return an_evaluation(job, id="v-1")
