"""Work goes to where its inputs are: how that weighs against room, and what is told of it."""

import base64
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_domain import bloom
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import JobState
from skrei_domain.messages import CachedInputs, ManifestRef
from skrei_domain.node import DataSet, InputCache, PathSize
from skrei_domain.paths import LocalPath
from skrei_scheduling import texts
from skrei_scheduling.cached import CachedInputs as Cached
from skrei_scheduling.rows import JobRow, KeyedInput, NodeRow, TaskPlan
from skrei_scheduling.sizes import Sizes
from tests.support.builders import a_job, a_node, a_requirement
from tests.support.task_life import Life

MB = 1000**2
LOGS = KeyedInput("00000000000000aa", 0, "/logs")
MODEL = KeyedInput("00000000000000bb", 1, "/model")
PARTS = KeyedInput("00000000000000cc", 0, "/parts", dealt_out=True)


def reading(*inputs: KeyedInput, count: int = 1, id: str = "j-1", required: bool = False, cpu: str = "100m") -> JobRow:
    requirement = replace(a_requirement(cpu=cpu), cached=inputs if required else ())
    return a_job(id, tasks=[TaskPlan("main", count, requirement, inputs=inputs)])


def tell(life: Life, node: str, *sizes: tuple[str, int], whole: bool = True) -> None:
    filter_ = base64.b64encode(bloom.build([key for key, _ in sizes])).decode() if whole else None
    life.woken += life.view.hear_cached(node, CachedInputs(filter=filter_, added=sizes))


def nodes_of(life: Life, job: str = "j-1") -> dict[int, str]:
    return {row.partition: row.node_id for row in life.record.executions.values() if row.job_id == job}


def reasons(life: Life) -> list[str]:
    return [item.details[texts.WHY] for item in life.record.history if texts.WHY in item.details]


def nodes(count: int, cpu: str = "2") -> list[NodeRow]:
    return [a_node(f"n-{number}", cpu=cpu) for number in range(count)]


def test_it_goes_where_its_input_is_however_full_that_node_is() -> None:
    life = Life([a_job("j-0", count=15, requirement=a_requirement()), reading(LOGS)], nodes(5))
    tell(life, "n-3", (LOGS.key, 61 * MB))
    life.plan()
    assert nodes_of(life) == {0: "n-3"}
    assert reasons(life) == ["has 61 MB of 61 MB of its inputs"]


def test_every_partition_goes_there_before_it_is_spread_and_the_rest_elsewhere() -> None:
    life = Life([reading(LOGS, count=6, cpu="500m")], nodes(3, cpu="2"))
    tell(life, "n-1", (LOGS.key, 61 * MB))
    life.plan()
    assert sorted(nodes_of(life).values()) == ["n-0", *["n-1"] * 4, "n-2"]


def test_what_is_moved_in_no_time_is_no_reason_to_leave_others_idle() -> None:
    life = Life([reading(LOGS, count=6)], nodes(3))
    tell(life, "n-1", (LOGS.key, 100_000))
    life.plan()
    assert sorted(nodes_of(life).values()) == ["n-0", "n-0", "n-1", "n-1", "n-2", "n-2"]


def test_the_larger_input_counts_more_and_one_that_nobody_measured_like_the_others() -> None:
    life = Life([reading(LOGS, MODEL), reading(LOGS, MODEL, id="j-2")], nodes(3))
    tell(life, "n-0", (LOGS.key, 20 * MB))
    tell(life, "n-1", (MODEL.key, 500 * MB))
    life.plan()
    assert nodes_of(life) == {0: "n-1"}
    assert nodes_of(life, "j-2") == {0: "n-1"}
    assert reasons(life) == ["has 500 MB of 520 MB of its inputs"] * 2
    life = Life([reading(LOGS, MODEL)], nodes(3))
    tell(life, "n-0", whole=True)
    life.view.matrix.cached.add(life.view.matrix.row_of["n-2"], [MODEL.key])
    life.plan()
    assert nodes_of(life) == {0: "n-2"}
    assert reasons(life) == ["has 1 of its 2 inputs"]


def test_each_partition_goes_to_the_node_that_has_its_own_share() -> None:
    count = 8
    life = Life([reading(PARTS, count=count)], nodes(4))
    for number in range(4):
        shares = [(PARTS.keys_of(each, count)[0], 30 * MB) for each in range(count) if each % 4 == number]
        tell(life, f"n-{number}", *shares)
    life.plan()
    assert nodes_of(life) == {each: f"n-{each % 4}" for each in range(count)}


def test_where_it_has_failed_it_is_not_placed_again_for_its_inputs() -> None:
    job = replace(reading(LOGS), refused_by={("main", 0): frozenset({"n-1"})})
    life = Life([job], nodes(3))
    life.view.upsert_job(job)
    tell(life, "n-1", (LOGS.key, 61 * MB))
    life.plan()
    assert nodes_of(life) != {0: "n-1"}


def test_one_that_requires_its_inputs_waits_for_a_node_that_has_them() -> None:
    life = Life([reading(LOGS, required=True), reading(MODEL, required=True, id="j-2")], nodes(2))
    life.plan()
    assert life.record.jobs["j-1"].state is JobState.QUEUED
    assert "does not have the input at /logs in its cache (Locality: required)" in life.record.messages["j-1"]
    tell(life, "n-1", (LOGS.key, 1), whole=False)
    assert life.woken == ["j-1"]
    life.plan()
    assert nodes_of(life) == {0: "n-1"}
    assert nodes_of(life, "j-2") == {}


@pytest.mark.parametrize("kind", [Kind.OPS, Kind.DAEMON])
def test_of_what_runs_once_a_node_only_nodes_are_meant_that_have_what_it_requires(kind: Kind) -> None:
    requirement = replace(a_requirement(), cached=(LOGS,))
    job = a_job("j-1", type=kind.value, tasks=[TaskPlan("main", 1, requirement, inputs=(LOGS,))])
    life = Life([job], nodes(3))
    tell(life, "n-1", (LOGS.key, MB))
    life.plan()
    assert life.record.jobs["j-1"].targets == {"n-1": 0}
    life.woken.clear()
    tell(life, "n-1", (LOGS.key, MB))
    tell(life, "n-0", (MODEL.key, MB))
    assert life.woken == []
    tell(life, "n-2", (LOGS.key, MB))
    assert life.woken == (["j-1"] if kind is Kind.DAEMON else [])
    life.plan()
    assert set(nodes_of(life).values()) == ({"n-1", "n-2"} if kind is Kind.DAEMON else {"n-1"})


def test_a_node_that_has_dropped_it_is_no_better_than_others() -> None:
    life = Life([reading(LOGS, required=True)], nodes(2))
    tell(life, "n-1", (LOGS.key, 61 * MB))
    tell(life, "n-1")
    life.plan()
    assert nodes_of(life) == {}


def test_a_list_that_the_job_is_pinned_to_says_how_large_what_nobody_has_fetched_is() -> None:
    listed = ManifestRef(digest=f"sha256:{'0' * 64}", parts=1, files=9, size_bytes=900 * MB)
    job = replace(reading(LOGS, MODEL), manifests={("main", MODEL.place): listed})
    life = Life([job], nodes(2))
    life.view.upsert_job(job)
    tell(life, "n-1", (LOGS.key, 100 * MB))
    life.plan()
    assert reasons(life) == ["has 100 MB of 1.0 GB of its inputs"]


def test_what_a_cache_was_good_for_moves_nothing_of_the_view() -> None:
    life = Life([], nodes(1))
    before, node = life.view.matrix.version, life.view.nodes["n-0"]
    counted = replace(node, info=node.info.model_copy(update={"cache": InputCache(hits=1)}))
    life.put(counted)
    assert life.view.nodes["n-0"] == counted
    assert life.view.matrix.version == before


def with_data(node: NodeRow, **sizes: int) -> NodeRow:
    sets = tuple(DataSet(name=name, size_bytes=size) for name, size in sizes.items())
    return replace(node, info=node.info.model_copy(update={"data": sets}))


def test_of_those_that_have_the_data_the_one_with_most_of_it_is_taken() -> None:
    holders = [with_data(a_node("n-0"), books=20 * MB), with_data(a_node("n-1"), books=61 * MB), a_node("n-2")]
    life = Life([a_job(requirement=a_requirement(data=["books"]))], holders)
    life.plan()
    assert nodes_of(life) == {0: "n-1"}
    assert reasons(life) == ["has 61 MB of 61 MB of its inputs"]


def test_a_path_counts_with_what_lies_below_the_nearest_one_that_was_measured() -> None:
    def serving(id: str, size: int) -> NodeRow:
        node = a_node(id)
        sizes = (PathSize(path="/srv/logs", size_bytes=size),)
        return replace(node, info=node.info.model_copy(update={"local_paths": ("/srv/logs/**",), "local_sizes": sizes}))

    requirement = replace(a_requirement(), local=(LocalPath("/srv/logs/2024"),))
    life = Life([a_job(requirement=requirement)], [serving("n-0", 5 * MB), serving("n-1", 90 * MB), a_node("n-2")])
    life.plan()
    assert nodes_of(life) == {0: "n-1"}


def test_where_a_result_is_to_stay_is_nothing_that_is_read() -> None:
    def keeping(id: str, size: int) -> NodeRow:
        node = a_node(id)
        sizes = (PathSize(path="/srv/out", size_bytes=size),)
        return replace(
            node, info=node.info.model_copy(update={"local_paths": ("/srv/out/**:rw",), "local_sizes": sizes})
        )

    place = LocalPath("/srv/out/{jobID}", writes=True, creates=True)
    requirement = replace(a_requirement(), local=(place,), handed_out=True)
    holders = [keeping("n-0", 5 * MB), keeping("n-1", 900 * MB)]
    life = Life([a_job(count=4, requirement=requirement)], holders)
    life.plan()
    assert sorted(nodes_of(life).values()) == ["n-0", "n-0", "n-1", "n-1"]
    assert reasons(life) == []


def test_of_what_no_node_has_any_more_nothing_is_kept() -> None:
    def serving(path: str) -> NodeRow:
        node = a_node("n-0")
        info = {"local_sizes": (PathSize(path=path, size_bytes=MB),), "data": (DataSet(name=path[1:], size_bytes=MB),)}
        return replace(node, info=node.info.model_copy(update=info))

    life = Life([], [serving("/a")])
    for path in ("/b", "/c"):
        life.put(serving(path))
    paths, sets = life.view.matrix.path_bytes, life.view.matrix.data_bytes
    assert [paths.of(f"/{name}", 1) is None for name in "abc"] == [True, True, False]
    assert [sets.of(name, 1) is None for name in "abc"] == [True, True, False]


def test_what_nodes_have_under_names_of_their_own_takes_no_room_of_others() -> None:
    sizes = Sizes()
    tracemalloc.start()
    told = [{f"/srv/{row}/{number}": row + number for number in range(8)} for row in range(1_000)]
    own, _ = tracemalloc.get_traced_memory()
    for row, each in enumerate(told):
        sizes.put(row, each)
    taken = tracemalloc.get_traced_memory()[0] - own
    tracemalloc.stop()
    assert taken < 100_000, "8,000 names of 1,000 nodes"
    column = sizes.of("/srv/7/3", 1_001)
    assert column is not None
    assert (column[7], column.sum(), len(column)) == (10, 10, 1_001)
    assert sizes.of("/srv/7", 1_000) is None


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)), st.sampled_from("abc"))
    )
)
def test_a_size_is_always_that_which_its_node_told_last(steps: list[tuple[int, dict[str, int], str]]) -> None:
    sizes, model = Sizes(), dict[int, dict[str, int]]()
    for row, told, asked in steps:
        model[row] = told
        sizes.put(row, told)
        column = sizes.of(asked, 6)
        wanted = [model.get(each, {}).get(asked, 0) for each in range(6)]
        if any(asked in told for told in model.values()):
            assert column is not None
            assert column.tolist() == wanted
        else:
            assert column is None


def test_a_hundred_nodes_are_told_apart() -> None:
    cached, all_keys = Cached(), [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(100)]
    for row, key in enumerate(all_keys):
        cached.replace(row, bloom.build([key]))
    assert [cached.having([key], 100).nonzero()[0].tolist() for key in all_keys] == [[row] for row in range(100)]


keys = st.sampled_from([f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(40)])
words: st.SearchStrategy[tuple[str, int, list[str]]] = st.one_of(
    st.tuples(st.just("whole"), st.integers(0, 20), st.lists(keys, max_size=40)),
    st.tuples(st.just("large"), st.integers(0, 20), st.lists(keys, max_size=3)),
    st.tuples(st.just("add"), st.integers(0, 20), st.lists(keys, max_size=5)),
    st.tuples(st.just("forget"), st.integers(0, 20), st.just([])),
)


@given(st.lists(words, max_size=60), keys)
def test_a_node_that_has_something_is_always_found_whatever_was_told_before(
    said: Iterable[tuple[str, int, list[str]]], asked: str
) -> None:
    cached, model = Cached(), dict[int, set[str]]()
    for word, row, some in said:
        if word in ("whole", "large"):
            filter_ = bytearray(bloom.LEAST_BYTES << (2 if word == "large" else 0))
            bloom.put(filter_, some)
            cached.replace(row, bytes(filter_))
            model[row] = set(some)
        elif word == "add":
            cached.add(row, some)
            model.setdefault(row, set()).update(some)
        else:
            cached.forget(row)
            model.pop(row, None)
    mask = cached.having([asked], 21)
    assert [cached.has(row, asked) for row in range(21)] == mask.tolist()
    assert all(mask[row] for row, some in model.items() if asked in some)
    assert not any(mask[row] for row in range(21) if row not in model)
    assert cached.anywhere([asked]) or not mask.any()
