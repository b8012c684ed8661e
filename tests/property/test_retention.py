"""What may go and when: never what a job needs, never too soon, always in the end, and once so for good."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.retention import Asked, Due, Keep, Standing, due, kept_until, parse_policy, result_goes
from tests.support.builders import NOW

SPANS = st.integers(0, 500 * 86_400).map(lambda seconds: timedelta(seconds=seconds))
KEEPS = st.tuples(SPANS, SPANS, SPANS).map(lambda spans: Keep(spans[0], spans[1], max(spans)))
MADE = SPANS.map(lambda span: NOW - span)
VERSIONS = st.integers(1, 4)


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    ended = draw(st.one_of(st.none(), MADE))
    return Standing(draw(VERSIONS), ended, draw(st.booleans()))


@given(standings(), KEEPS, VERSIONS, st.booleans(), MADE)
def test_what_a_job_that_has_not_ended_has_won_stays_whatever_its_age(
    job: Standing, keep: Keep, version: int, won: bool, made_at: datetime
) -> None:
    found = due(job, keep, NOW)
    if job.ended_at is None:
        assert not found.everything
        if won and version == job.version and not job.endless:
            assert not result_goes(found, version=version, won=won, made_at=made_at)


@given(standings(), KEEPS, VERSIONS, st.booleans(), MADE)
def test_nothing_goes_before_its_time_and_what_is_told_is_kept_to(
    job: Standing, keep: Keep, version: int, won: bool, made_at: datetime
) -> None:
    found = due(job, keep, NOW)
    if result_goes(found, version=version, won=won, made_at=made_at):
        assert kept_until(job, keep, made_at) <= NOW or (job.ended_at is not None and made_at > job.ended_at)
        assert NOW - made_at >= keep.results or job.ended_at is not None
    if job.ended_at is not None and NOW - job.ended_at < keep.results:
        assert not result_goes(found, version=version, won=won, made_at=made_at)
    if found.everything:
        assert job.ended_at is not None
        assert NOW - job.ended_at >= max(keep)


@given(standings(), KEEPS, st.tuples(VERSIONS, st.booleans()), MADE, SPANS)
def test_what_may_go_may_go_later_too(
    job: Standing, keep: Keep, of: tuple[int, bool], made_at: datetime, later: timedelta
) -> None:
    version, won = of

    def goes(found: Due) -> tuple[bool, bool]:
        return result_goes(found, version=version, won=won, made_at=made_at), found.everything

    before, after = goes(due(job, keep, NOW)), goes(due(job, keep, NOW + later))
    assert before <= after
    assert all(new or not old for old, new in zip(before, after, strict=True))


@given(MADE, st.booleans(), KEEPS, VERSIONS, st.booleans())
def test_of_a_job_that_has_ended_everything_goes_in_the_end_and_its_history_last(
    ended_at: datetime, endless: bool, keep: Keep, version: int, won: bool
) -> None:
    job = Standing(2, ended_at, endless)
    found = due(job, keep, ended_at + max(keep))
    assert found.everything
    assert result_goes(found, version=version, won=won, made_at=ended_at)
    for moment in (ended_at, ended_at + keep.results, ended_at + keep.logs, NOW):
        each = due(job, keep, moment)
        if each.everything:
            assert result_goes(each, version=version, won=won, made_at=ended_at)
            assert each.logs_before >= ended_at


SECONDS = st.integers(86_400, 10**9).map(lambda seconds: f"{seconds}s")
KEYS = st.tuples(
    st.sampled_from(["", "team:", "a:b:"]),
    st.sampled_from(["results", "logs", "history"]),
    st.sampled_from(["", ".max"]),
).map("".join)


@given(
    st.dictionaries(KEYS, SECONDS),
    st.sampled_from(["default", "team", "a:b"]),
    st.builds(Asked, *[st.one_of(st.none(), st.integers(86_400, 10**9))] * 3),
)
def test_no_job_keeps_more_than_its_limit_and_history_outlives_the_rest(
    said: dict[str, str], namespace: str, asked: Asked
) -> None:
    policy = parse_policy(said)
    keep = policy.keep(namespace, asked)
    assert keep.history == max(keep)
    for kind, span in (("results", keep.results), ("logs", keep.logs)):
        assert span <= timedelta(seconds=policy.limit(namespace, kind)) <= policy.longest(kind)
    if not policy.beyond(namespace, asked):
        wanted = [seconds for seconds in asked if seconds is not None]
        assert all(span >= timedelta(seconds=least) for span, least in zip(keep[:2], asked[:2], strict=True) if least)
        assert all(keep.history >= timedelta(seconds=each) for each in wanted)
