"""The feed: what one commit's history is to listeners."""

from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.envelope import unwrap
from skrei_domain.feed import EXECUTION, JOB, MOST_CHANGES, Change, FeedBatch, batches, messages
from skrei_kit.topology import MAX_MESSAGE_BYTES


def test_a_commit_is_one_message_for_each_namespace_and_kind() -> None:
    changes = [
        Change("default", JOB, "j-1", 1),
        Change("default", EXECUTION, "j-1", 2),
        Change("a.b", JOB, "j-2", 4),
        Change("default", JOB, "j-1", 5),
        Change("default", JOB, "j-3", 1),
    ]
    told = {subject: unwrap(FeedBatch, payload).jobs for subject, payload in messages(changes, source="test")}
    assert told == {
        "skrei.v1.feed.default.job": (("j-1", 5), ("j-3", 1)),
        "skrei.v1.feed.default.execution": (("j-1", 2),),
        "skrei.v1.feed.a_2e_b.job": (("j-2", 4),),
    }


def test_nothing_is_told_of_nothing() -> None:
    assert list(messages([], source="test")) == []


@given(
    st.lists(
        st.builds(
            Change,
            st.sampled_from(["a", "b"]),
            st.sampled_from([JOB, EXECUTION]),
            st.integers(0, 5).map("j-{}".format),
            st.integers(0, 9),
        )
    )
)
def test_every_job_is_told_once_a_kind_with_its_highest_number(changes: list[Change]) -> None:
    told = [(b.namespace, b.kind, job, seq) for b in batches(changes) for job, seq in b.jobs]
    keys = [each[:3] for each in told]
    assert len(keys) == len(set(keys))
    highest: dict[tuple[str, str, str], int] = {}
    for namespace, kind, job, seq in changes:
        highest[namespace, kind, job] = max(seq, highest.get((namespace, kind, job), 0))
    assert {key: each[3] for key, each in zip(keys, told, strict=True)} == highest


def test_no_message_is_larger_than_the_transport_takes() -> None:
    changes = [Change("n" * 256, JOB, f"j-{number:036}", 2**31) for number in range(MOST_CHANGES + 1)]
    sizes = [len(payload) for _, payload in messages(changes, source="test")]
    assert len(sizes) == 2
    assert max(sizes) < MAX_MESSAGE_BYTES / 2
