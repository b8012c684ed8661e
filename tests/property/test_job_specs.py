"""Whatever is sent as a job is read or refused by name, and what was read once is read the same for ever."""

import base64
import contextlib
import json
import string
from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skrei_domain.constraints import OPERATORS, Constraint, matches, parse, problems
from skrei_domain.errors import Invalid, SkreiError, Unsupported
from skrei_domain.job import JobSpec, cut_blobs, decode, encode, parse_job, restore_blobs, stored_text
from skrei_domain.job_diff import _text, difference, same
from skrei_domain.job_reading import parse_seconds
from skrei_domain.resources import parse_bytes, parse_cpu, parse_gpu
from skrei_orchestrator_api.problems import HttpProblem
from skrei_orchestrator_api.submit import read_submission

WORDS = st.sampled_from(
    [
        *("Name", "Namespace", "Type", "Priority", "Count", "Constraints", "Meta", "Labels", "Tasks", "Offline", "ID"),
        *("State", "Version", "Engine", "Params", "Publisher", "Env", "InputSources", "ResultPaths", "Resources"),
        *(
            "Network",
            "Timeouts",
            "Logs",
            "Source",
            "Target",
            "Alias",
            "Path",
            "CPU",
            "Memory",
            "Disk",
            "GPU",
            "Domains",
        ),
        *("Ports", "Key", "Operator", "Values", "Wait", "Replace", "OnReturn", "Ship", "URL", "Image", "EntryModule"),
        *("Static", "StateType", "QueueTimeout", "DependsOn", "Check", "Interval"),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["batch", "ops", "service", "docker", "wasm", "inline", "local", "in", "gt", "500m", "1Gi", "5m"]),
    st.sampled_from(
        ["", " ", "\0", "\ud800", "1e999", "-1", "data:,x", "blob:sha256:0", "BACALHAU_X", "/a", "é" * 300]
    ),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from([2**31, 2**63, -(2**70)]), st.floats(), TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(WORDS, TEXTS, st.integers(0, 3)), inner, max_size=6)
    ),
    max_leaves=25,
)
OF_A_TASK = ("Publisher", "Env", "InputSources", "ResultPaths", "Resources", "Network", "Timeouts", "Logs", "Count")
OF_A_JOB = ("Name", "Namespace", "Count", "Constraints", "Meta", "Labels", "Offline", "State", "Other")
HALF_RIGHT = st.fixed_dictionaries(
    {
        "Type": st.one_of(st.just("batch"), SCALARS),
        "Tasks": st.lists(
            st.fixed_dictionaries(
                {"Name": st.one_of(st.just("main"), SCALARS), "Engine": VALUES},
                optional=dict.fromkeys(OF_A_TASK, VALUES),
            ),
            max_size=2,
        ),
    },
    optional=dict.fromkeys(OF_A_JOB, VALUES),
)


@given(st.one_of(VALUES, HALF_RIGHT))
@settings(max_examples=170)
def test_whatever_is_sent_is_read_or_refused_by_name(raw: Any) -> None:
    refused: SkreiError | None = None
    try:
        spec, warnings = parse_job(raw)
    except (Invalid, Unsupported) as error:
        refused = error
    if refused is not None:
        assert all(line.strip() and line.isprintable() for line in refused.message.split("\n"))
    else:
        assert all(warning.isprintable() for warning in warnings)
        assert decode(encode(spec)) == spec


BODIES = st.one_of(
    st.binary(max_size=60), VALUES.map(lambda v: json.dumps({"Job": v}, default=str, skipkeys=True).encode())
)


@given(BODIES)
@settings(max_examples=110)
def test_whatever_body_comes_is_read_or_refused_as_its_senders_mistake(raw: bytes) -> None:
    with contextlib.suppress(Invalid, Unsupported, HttpProblem):
        read_submission(raw)


# ---------------------------------------------------------------- what is right

NAMES = st.text(string.ascii_letters + string.digits + "-_ .é", min_size=1, max_size=12).filter(str.strip)
KEYS = st.text(string.ascii_lowercase + string.digits + "-_./", min_size=1, max_size=10)
WORD = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
CPUS = st.one_of(
    st.integers(0, 10**6).map(str),
    st.integers(0, 10**6).map(lambda n: f"{n}m"),
    st.floats(0, 1000, allow_nan=False).map(lambda x: f"{x:.3f}"),
    st.sampled_from(["", "1e-1", " 2 ", "250000u", ".5", "1."]),
)
SIZES = st.one_of(
    st.integers(0, 2**50).map(str),
    st.tuples(st.integers(0, 999), st.sampled_from(["b", "k", "Kb", "MB", "Mi", "GiB", "tb", "Ti"])).map(
        lambda x: f"{x[0]} {x[1]}"
    ),
    st.sampled_from(["", "1.5Gi", "1,024", "12,345.5 kb"]),
)
ENVS = st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,6}", fullmatch=True), WORD.filter(bool), max_size=3).map(
    lambda env: {name: value for name, value in env.items() if not name.startswith("BACALHAU_")}
)
PLAIN = st.text(string.ascii_letters + string.digits + "-._", max_size=6)


@st.composite
def constraints(draw: st.DrawFn) -> Constraint:
    operator = draw(st.sampled_from(OPERATORS))
    values: tuple[str, ...] = ()
    if operator in ("in", "notin"):
        values = tuple(draw(st.lists(PLAIN, min_size=1, max_size=3)))
    elif operator in ("gt", "lt"):
        values = (str(draw(st.integers(-(10**18), 10**18))),)
    elif operator not in ("exists", "!"):
        values = (draw(PLAIN),)
    return Constraint(draw(KEYS), operator, values)


TASKS = st.fixed_dictionaries(
    {"Name": NAMES, "Engine": st.just({"Type": "docker", "Params": {"Image": "ubuntu", "Parameters": ["a"]}})},
    optional={
        "Env": ENVS,
        "Meta": st.dictionaries(WORD, WORD, max_size=2),
        "Publisher": st.sampled_from([{}, {"Type": "s3", "Params": {"Bucket": "b", "N": 1.5, "Deep": {"a": [None]}}}]),
        "Resources": st.fixed_dictionaries(
            {}, optional={"CPU": CPUS, "Memory": SIZES, "Disk": SIZES, "GPU": st.just("1")}
        ),
        "Timeouts": st.fixed_dictionaries(
            {}, optional={"ExecutionTimeout": st.integers(0, 99), "QueueTimeout": st.sampled_from([0, "5m", "1h30m"])}
        ),
        "ResultPaths": st.just([{"Name": "out", "Path": "/out"}]),
        "Logs": st.sampled_from([None, {"Ship": "end"}]),
    },
)
JOBS = st.fixed_dictionaries(
    {"Type": st.sampled_from(["batch", "Batch"]), "Tasks": st.lists(TASKS, min_size=1, max_size=1)},
    optional={
        "Name": NAMES,
        "Namespace": st.sampled_from(["", "team", None]),
        "Priority": st.integers(-10, 10),
        "Count": st.integers(0, 9),
        "Labels": st.dictionaries(KEYS, WORD, max_size=3),
        "Meta": st.dictionaries(KEYS, WORD, max_size=2),
        "Constraints": st.lists(
            constraints().map(lambda c: {"Key": c.key, "Operator": c.operator, "Values": list(c.values)}), max_size=3
        ),
        "Offline": st.fixed_dictionaries({}, optional={"Wait": st.sampled_from([0, "90s"]), "Replace": st.booleans()}),
        "Mine": st.just({"kept": [1, None, "x"]}),
    },
)


CHECKS = st.fixed_dictionaries(
    {},
    optional={
        "Interval": st.sampled_from([1, "30s", "1m"]),
        "Timeout": st.integers(1, 60),
        "Healthy": st.integers(1, 9),
        "Unhealthy": st.integers(1, 9),
    },
).flatmap(
    lambda common: st.sampled_from(
        [
            {"HTTP": {"Port": "web", "Path": "/healthy"}},
            {"HTTP": {}},
            {"TCP": {"Port": "web"}},
            {"Exec": {"Command": ["/bin/true", "é"]}},
        ]
    ).map(lambda one: common | one)
)
PORTS = st.sampled_from([[{"Name": "web", "Target": 80}], [{"Name": "web", "Static": 8080, "HostNetwork": "10.0.0.1"}]])
SERVED = st.fixed_dictionaries(
    {"Network": PORTS.map(lambda ports: {"Type": "Bridge", "Ports": ports})},
    optional={"Check": CHECKS, "StopGrace": st.sampled_from([0, "5s", 90]), "Uses": st.just(["other", "db"])},
)


def _name(task: dict[str, Any]) -> str:
    return str(task["Name"]).strip()


SERVICES = st.tuples(
    JOBS,
    st.lists(st.tuples(TASKS, SERVED).map(lambda pair: pair[0] | pair[1]), min_size=1, max_size=3, unique_by=_name),
    st.sampled_from([None, {}, {"MaxSurge": 2, "ProgressDeadline": "90s"}]),
).map(lambda made: made[0] | {"Type": "service", "Tasks": made[1], "Update": made[2]})
GRAPHS = st.tuples(JOBS, st.lists(TASKS, min_size=2, max_size=4)).map(lambda made: _graph(*made))


def _graph(job: dict[str, Any], tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch whose tasks wait for each other in turn, in both forms."""
    named = [task | {"Name": f"t{number}"} for number, task in enumerate(tasks)]
    for number, task in enumerate(named[1:], 1):
        same = {"Task": f"t{number - 1}", "Partition": "same"}
        task["DependsOn"] = [same if number % 2 else f"t{number - 1}"]
    return job | {"Tasks": named, "FailOn": "exit-code"}


ALL_KINDS = st.one_of(JOBS, SERVICES, GRAPHS)


def spec_of(raw: Any) -> JobSpec:
    return parse_job(raw)[0]


@pytest.mark.row("2.3/lower-case", "2.2/meta")
@given(ALL_KINDS)
@settings(max_examples=110)
def test_a_spec_goes_through_yaml_and_json_and_through_the_reader_again_unchanged(raw: dict[str, Any]) -> None:
    spec = spec_of(raw)
    document = json.loads(encode(spec))
    assert spec_of(document) == spec, "reading what was read is reading it once"
    text = yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
    assert spec_of(yaml.safe_load(text)) == spec
    assert stored_text(spec_of(yaml.safe_load(text))) == stored_text(spec)


def in_case(value: Any, change: Any) -> Any:
    """Spell the keys of the spec's own objects otherwise; those of people's maps and of parameters are theirs."""
    if isinstance(value, list):
        return [in_case(item, change) for item in value]
    if not isinstance(value, dict):
        return value
    theirs = ("Env", "Meta", "Labels", "Params", "Mine")
    return {
        (key if key in theirs[4:] else change(key)): (item if key in theirs else in_case(item, change))
        for key, item in value.items()
    }


@given(ALL_KINDS, st.sampled_from([str.lower, str.upper, str.title]))
@settings(max_examples=60)
@pytest.mark.row("2.1/any-case")
def test_keys_mean_the_same_in_any_case(raw: dict[str, Any], change: Any) -> None:
    assert spec_of(in_case(raw, change)) == spec_of(raw)


@given(ALL_KINDS, ALL_KINDS)
@settings(max_examples=60)
def test_a_difference_is_told_exactly_where_there_is_one(one: dict[str, Any], other: dict[str, Any]) -> None:
    old, new = spec_of(one), spec_of(other)
    assert same(old, decode(encode(old)))
    assert difference(old, old) == ""
    assert bool(difference(old, new)) == (not same(old, new))
    lines = difference(old, new).splitlines()  # no text of these is long enough to be shortened
    removed, added = (Counter(line[1:] for line in lines if line[0] == sign) for sign in "-+")
    assert Counter(_text(old).splitlines()) - removed + added == Counter(_text(new).splitlines())


@given(st.lists(st.binary(min_size=4_090, max_size=4_110), max_size=3))
@settings(max_examples=20)
def test_what_is_cut_out_is_put_back(pieces: list[bytes]) -> None:
    sources = [
        {
            "Source": {"Type": "inline", "Params": {"URL": "data:;base64," + base64.b64encode(piece).decode()}},
            "Target": f"/{n}",
        }
        for n, piece in enumerate(pieces)
    ]
    task = {"Name": "a", "Engine": {"Type": "docker", "Params": {"Image": "u"}}, "InputSources": sources}
    spec = spec_of({"Type": "batch", "Tasks": [task]})
    cut, blobs = cut_blobs(spec)
    assert len(blobs) == len({piece for piece in pieces if len(piece) > 4_096})
    assert restore_blobs(cut, dict(blobs)) == spec
    assert cut_blobs(cut) == (cut, ())


# ---------------------------------------------------------------- the grammars


@pytest.mark.row("2.3/amounts")
@given(st.integers(0, 10**9))
def test_amounts_of_cpu_are_exact_in_every_form(milli: int) -> None:
    whole, rest = divmod(milli, 1000)
    forms = [f"{milli}m", f"{whole}.{rest:03}", f"{milli}e-3", f" {milli} M", f"{milli * 1000}u"]
    assert {parse_cpu(form) for form in forms} == {milli}
    assert parse_cpu(f"{milli * 1000 + 1}u") == milli + 1, "finer than a thousandth is rounded up, never away"


@pytest.mark.row("2.3/amounts")
@given(st.integers(0, 2**40), st.sampled_from([("", 0), ("k", 1), ("m", 2), ("g", 3), ("t", 4)]))
def test_amounts_of_bytes_are_exact_in_every_form(number: int, unit: tuple[str, int]) -> None:
    letter, power = unit
    assert {parse_bytes(f"{number}{letter}{tail}".upper()) for tail in ("", "b")} == {number * 1000**power}
    if letter:
        assert {parse_bytes(f"{number} {letter}i{tail}") for tail in ("", "b")} == {number * 1024**power}
    assert parse_bytes(f"{number:,}") == number


@given(st.text("0123456789.,emkgitbu+- \n", max_size=12))
@settings(max_examples=200)
def test_a_text_is_an_amount_or_a_value_error_and_spaces_and_case_do_not_count(text: str) -> None:
    for amount in (parse_cpu, parse_bytes, parse_gpu):
        with contextlib.suppress(ValueError):
            found = amount(text)
            assert found >= 0
            assert amount("".join(text.split()).upper()) == found


@given(st.integers(0, 40), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
@example(0, 0, 0, 0)
def test_durations_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert parse_seconds(f"{days}d{hours}h{minutes}m{seconds}s") == parse_seconds(f"{total}") == total


SIGNS = {"gt": ">", "lt": "<", "=": "=", "==": "==", "!=": "!="}


def written(constraint: Constraint) -> str:
    """The constraint as people write it in a selector."""
    key, operator, values = constraint.key, constraint.operator, constraint.values
    if operator in SIGNS:
        return f"{key}{SIGNS[operator]}{values[0]}"
    if operator in ("in", "notin"):
        return f"{key} {operator} ({', '.join(values)})"
    return key if operator == "exists" else f"!{key}"


@pytest.mark.row("2.6/selectors")
@given(st.lists(constraints(), max_size=4))
def test_a_selector_means_what_was_written(wanted: list[Constraint]) -> None:
    assert parse(",".join(map(written, wanted))) == tuple(wanted)
    assert parse(" , ".join(map(written, wanted))) == tuple(wanted)
    assert not any(map(problems, wanted))


@pytest.mark.row("2.6/operators")
@given(st.lists(constraints(), max_size=3), st.dictionaries(KEYS, PLAIN, max_size=4), KEYS, PLAIN)
def test_conditions_and_their_opposites_divide_all_labels(
    wanted: list[Constraint], labels: dict[str, str], key: str, value: str
) -> None:
    assert matches(wanted, labels) == all(matches([one], labels) for one in wanted)
    for one, other in (("=", "!="), ("in", "notin"), ("exists", "!")):
        values = () if one == "exists" else (value,)
        assert matches([Constraint(key, one, values)], labels) != matches([Constraint(key, other, values)], labels)


@given(st.text("ab1=!<>(), innot\n", max_size=16))
@settings(max_examples=200)
def test_a_text_is_a_selector_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        found = parse(text)
        assert parse(",".join(map(written, found))) == found
