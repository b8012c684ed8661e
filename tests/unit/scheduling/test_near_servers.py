"""Where what a job reads lies on no node, it goes near to where that comes from; who has not measured yet may too."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.bounds import MOST_SERVERS, wrong_with_info
from skrei_domain.messages import ManifestRef
from skrei_domain.node import NearServer, NodeInfo
from skrei_domain.object_servers import USUAL, amazon, asked, server
from skrei_scheduling import locality
from skrei_scheduling.rows import JobRow, KeyedInput, NodeRow, TaskPlan
from tests.support.builders import a_job, a_node, a_requirement
from tests.support.task_life import Life
from tests.unit.scheduling.test_locality import MB, nodes_of, reasons, tell

STORE = "http://store.example:9000"
LOGS = KeyedInput("00000000000000aa", 0, "/logs", servers=(STORE,))


def reading(*inputs: KeyedInput, count: int = 1, size: int | None = None, cpu: str = "100m") -> JobRow:
    task = TaskPlan("main", count, a_requirement(cpu=cpu), inputs=inputs or (LOGS,))
    ref = ManifestRef(digest="sha256:" + "0" * 64, parts=1, files=1, size_bytes=size or 0)
    refs = {} if size is None else {("main", 0): ref}
    return replace(a_job(tasks=[task]), manifests=refs)


def reaching(number: int, millis: float | None, url: str = STORE, *, usual: bool = False, cpu: str = "2") -> NodeRow:
    node = a_node(f"n-{number}", cpu=cpu)
    near = () if millis is None else (NearServer(url=url, latency_micros=int(millis * 1000), usual=usual),)
    return replace(node, info=node.info.model_copy(update={"near": near}))


def test_it_goes_to_the_node_that_is_near_and_says_so() -> None:
    life = Life([reading()], [reaching(0, 80), reaching(1, 0.4), reaching(2, 80)])
    life.plan()
    assert nodes_of(life) == {0: "n-1"}
    assert reasons(life) == [f"reaches {STORE} in 0.4 ms"]


def test_it_is_spread_over_those_that_are_near_and_the_far_ones_take_what_is_left() -> None:
    nodes = [reaching(0, 0.5), reaching(1, 0.9), reaching(2, 80), reaching(3, 80)]
    life = Life([reading(count=10, cpu="500m")], nodes)
    life.plan()
    assert sorted(nodes_of(life).values()) == [*["n-0"] * 4, *["n-1"] * 4, "n-2", "n-3"]


def test_a_node_that_has_not_measured_it_yet_is_no_worse_than_the_nearest() -> None:
    life = Life([reading(count=4)], [reaching(0, 0.5), reaching(1, None), reaching(2, None), reaching(3, 80)])
    life.plan()
    assert set(nodes_of(life).values()) == {"n-0", "n-1", "n-2"}


def test_servers_that_no_job_asks_for_take_no_column() -> None:
    node = reaching(0, 80)
    others = tuple(NearServer(url=f"http://s-{each}.example", latency_micros=1_000) for each in range(15))
    many = replace(node, info=node.info.model_copy(update={"near": (*node.info.near, *others)}))
    life = Life([reading()], [many, reaching(1, 0.4)])
    life.plan()
    assert life.view.matrix.near.columns == 1


def test_a_node_that_tells_of_more_servers_than_nodes_do_is_not_believed() -> None:
    def near(count: int) -> NodeInfo:
        told = tuple(NearServer(url=f"http://s-{each}.example", latency_micros=1_000) for each in range(count))
        return NodeInfo(node_id="n-1", near=told)

    assert wrong_with_info(near(MOST_SERVERS)) == ""
    assert wrong_with_info(near(MOST_SERVERS + 1)) == "it is near to 17 servers, of 16 at most"


def test_bytes_that_are_there_outweigh_it() -> None:
    life = Life([reading()], [reaching(0, 0.5), reaching(1, 80)])
    tell(life, "n-1", (LOGS.key, 61 * MB))
    life.plan()
    assert nodes_of(life) == {0: "n-1"}


def test_what_is_moved_in_no_time_is_no_reason_to_leave_others_idle() -> None:
    life = Life([reading(count=4, size=100_000)], [reaching(0, 0.5), reaching(1, 80), reaching(2, 80), reaching(3, 80)])
    life.plan()
    assert len(set(nodes_of(life).values())) == 4


def test_without_an_endpoint_it_is_each_node_s_own_or_amazon_s() -> None:
    wanted = replace_servers(asked("s3", {"Bucket": "b", "Region": "eu-west-1"}))
    nodes = [
        reaching(0, 80, amazon("eu-west-1")),
        reaching(1, 2, amazon("us-east-1")),
        reaching(2, 0.5, STORE, usual=True),
        reaching(3, 80, "http://other.example", usual=True),
    ]
    life = Life([reading(wanted)], nodes)
    life.plan()
    assert nodes_of(life)[0] in ("n-1", "n-2"), "one knows nothing of that region, the other one's own is near"
    life = Life([reading(wanted)], [nodes[0], nodes[2]])
    life.plan()
    assert nodes_of(life) == {0: "n-2"}
    assert reasons(life) == ["reaches its own S3 server in 0.5 ms"]


def replace_servers(servers: tuple[str, ...]) -> KeyedInput:
    return LOGS._replace(servers=servers)


@given(st.lists(st.integers(1, 10**7), min_size=2, max_size=12), st.integers(1, 10**12))
def test_nearer_is_never_worse_and_the_order_of_nodes_counts_for_nothing(micros: list[int], size: int) -> None:
    def close(order: list[int]) -> list[int]:
        life = Life([], [reaching(number, each / 1000) for number, each in enumerate(order)])
        job = reading(size=size)
        found = locality.nearness(job, job.tasks[0], life.view.matrix)
        return [0] * len(order) if found is None or found.close is None else found.close.tolist()

    there, back = close(micros), close(micros[::-1])
    assert there == back[::-1]
    assert all(0 <= each <= 1000 for each in there)
    for one, near in zip(micros, there, strict=True):
        assert all(near >= other for far, other in zip(micros, there, strict=True) if one <= far)


@pytest.mark.parametrize(
    ("type_", "params", "names"),
    [
        ("S3", {"ENDPOINT": "HTTPS://Minio.Example.:443/"}, ("https://minio.example",)),
        ("s3", {"Bucket": "b"}, (USUAL, "https://s3.us-east-1.amazonaws.com")),
        ("s3", {"Endpoint": "ftp://x"}, ()),
        ("s3", {"Endpoint": "http://[broken"}, ()),
        ("s3", {"Endpoint": 7}, ()),
        ("ipfs", {"CID": "x"}, ()),
    ],
)
def test_a_server_has_one_name_however_it_is_written(
    type_: str, params: dict[str, object], names: tuple[str, ...]
) -> None:
    assert asked(type_, params) == names


def test_a_name_says_the_same_as_its_server() -> None:
    assert server("http://user:secret@H.example:80/") == "http://h.example"
