"""The leader keeps a spec while its job may still be commanded, and no longer."""

from skrei_domain.spec import JobSpec, SpecConfig, TaskSpec, encode
from skrei_scheduler.specs import SpecCache
from skrei_scheduling.rows import ExecutionRow
from tests.support.builders import an_execution

TEXT = encode(JobSpec(name="one", tasks=(TaskSpec(name="main", engine=SpecConfig(type="wasm", params={})),)))


def of(job_id: str) -> ExecutionRow:
    return an_execution(job_id=job_id)


def test_what_is_not_at_hand_is_missing_and_nothing_else_is() -> None:
    cache = SpecCache()
    cache.put("j-1", 1, TEXT)
    assert cache.missing([of("j-1"), of("j-2")]) == {("j-2", 1)}


def test_a_job_that_ended_is_let_go_of() -> None:
    cache = SpecCache()
    cache.put("j-1", 1, TEXT)
    cache.forget("j-1", 1)
    assert cache.get("j-1", 1) is None
    assert cache._bytes == 0
    cache.forget("j-1", 1)
    assert cache._bytes == 0
