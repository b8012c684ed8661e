"""How operators and jobs say how long what jobs leave is kept."""

from datetime import timedelta

import pytest

from skrei_domain.job_parse import parse_job
from skrei_domain.job_reading import InvalidJob
from skrei_domain.retention import DAY, Asked, Keep, parse_policy, spelled

WEEK = timedelta(days=7)


def test_unless_anybody_says_so_results_and_logs_are_kept_for_a_week_and_what_happened_for_a_quarter() -> None:
    assert parse_policy({}).keep("default") == Keep(WEEK, WEEK, timedelta(days=90))


def test_a_namespace_goes_before_all_and_a_job_before_its_namespace() -> None:
    policy = parse_policy({"results": "3d", "team:results": "1d", "logs": "2h"})
    assert policy.keep("default").results == timedelta(days=3)
    assert policy.keep("team") == Keep(timedelta(days=1), timedelta(hours=2), timedelta(days=90))
    assert policy.keep("team", Asked(results=60)).results == timedelta(minutes=1)


def test_a_job_gets_no_more_than_its_namespace_allows() -> None:
    policy = parse_policy({"results.max": "10d", "team:results.max": "2d", "a:b:history": "400d"})
    asked = Asked(results=5 * DAY)
    assert policy.beyond("default", asked) == []
    assert policy.beyond("team", asked) == [("results", 5 * DAY, 2 * DAY)]
    assert policy.keep("team", asked).results == timedelta(days=2)
    assert policy.keep("team").results == timedelta(days=2), "the default of a week is cut to it, too"
    assert policy.keep("a:b").history == timedelta(days=400)
    assert policy.longest("results") == timedelta(days=10)


def test_a_default_above_the_usual_maximum_is_the_maximum() -> None:
    policy = parse_policy({"team:results": "200d", "history": "forever"})
    assert policy.keep("team").results == timedelta(days=200)
    assert policy.limit("team", "results") == 200 * DAY
    assert policy.limit("default", "results") == 90 * DAY
    assert policy.longest("results") == timedelta(days=200)
    assert policy.keep("default").history > timedelta(days=36_000)


def test_history_is_kept_as_long_as_what_it_names() -> None:
    assert parse_policy({"history": "1d", "results": "30d"}).keep("default").history == timedelta(days=30)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"result": "7d"}, "'result' is nothing that is kept: `results`, `logs` or `history`"),
        ({"results.min": "7d"}, "is nothing that is kept"),
        ({"results": "week"}, "results='week' is no time that results can be kept: at least 1m, such as `7d`"),
        ({"history": "1h"}, "at least 1d"),
        ({"team:logs.max": ""}, "is no time that logs can be kept"),
    ],
)
def test_what_is_wrong_is_told_with_what_would_do(said: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_policy(said)


def test_times_are_written_as_people_write_them() -> None:
    assert (spelled(7 * DAY), spelled(36 * 3_600), spelled(90), spelled(120)) == ("7d", "36h", "90s", "2m")


def a_job(**more: object) -> dict[str, object]:
    task = {"Name": "main", "Engine": {"Type": "docker", "Params": {"Image": "busybox"}}}
    return {"Name": "a", "Type": "batch", "Tasks": [task]} | more


def test_a_job_says_it_for_itself() -> None:
    spec, warnings = parse_job(a_job(Retention={"Results": "2d", "history": 86_400}))
    assert warnings == ()
    assert spec.retention is not None
    assert spec.retention.asked == Asked(2 * DAY, None, DAY)
    assert parse_job(a_job())[0].retention is None
    assert parse_job(a_job(Retention={}))[0].retention is None


@pytest.mark.parametrize(
    ("retention", "told"),
    [
        ({"Results": "soon"}, 'Retention.Results: "soon"; allowed: '),
        ({"Results": "1s"}, 'Retention.Results: "1s"; allowed: at least 1m'),
        ({"History": "1h"}, 'Retention.History: "1h"; allowed: at least 1d'),
        ({"Logs": True}, "Retention.Logs: true; allowed: "),
        (7, "Retention: 7; allowed: an object"),
    ],
)
def test_a_wrong_time_is_told(retention: object, told: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        parse_job(a_job(Retention=retention))
    assert told in "\n".join(map(str, caught.value.problems))
