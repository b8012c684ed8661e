"""Every rule of a spec, as what is sent and the exact lines that answer it."""

from typing import Any

import pytest

from skrei_domain.job import InvalidJob, decode, encode, parse_job
from skrei_domain.spec import Port


def a_job(**changes: Any) -> dict[str, Any]:
    return {"Type": "batch", "Tasks": [a_task()]} | changes


def a_task(**changes: Any) -> dict[str, Any]:
    return {"Name": "main", "Engine": {"Type": "wasm", "Params": {"EntryModule": "m"}}} | changes


def with_task(**changes: Any) -> dict[str, Any]:
    return a_job(Tasks=[a_task(**changes)])


CPU = "cores (`2`, `1.5`) or thousandths of a core (`500m`)"
SIZE = "bytes such as `512Mb`, `1Gi` or plain digits"
ENV = "a name of upper case letters, digits and `_` that begins with a letter, and not with `BACALHAU_`"
FOLDER = "a folder name: no `/`, `.` or `..`, none of stdout, stderr, exitCode"
SECONDS = 'whole seconds from 0 to 9,223,372,036, or a duration such as "5m"'
DOMAIN = "a domain such as `example.com` or `.example.com`, or an IP"
OPERATOR = "one of in, notin, exists, !, =, ==, !=, gt, lt"

DOCKER = {"Type": "docker", "Params": {"Image": "ubuntu"}}

T = "Tasks[0]"
MODULE = "missing; allowed: the target of the input that brings the module"

WRONG: list[tuple[str, dict[str, Any], list[str]]] = [
    ("no type", {"Tasks": [a_task()]}, ["Type: missing job type; allowed: batch, service, daemon, ops"]),
    ("blank type", a_job(Type=" "), ["Type: missing job type; allowed: batch, service, daemon, ops"]),
    ("another type", a_job(Type="cron"), ['Type: "cron"; allowed: batch, service, daemon, ops']),
    ("a type that is no text", a_job(Type=7), ["Type: 7; allowed: a text"]),
    ("count below zero", a_job(Count=-1), ["Count: -1; allowed: a whole number from 0 to 10,000"]),
    ("count too high", a_job(Count=10_001), ["Count: 10001; allowed: a whole number from 0 to 10,000"]),
    ("count in text", a_job(Count="3"), ['Count: "3"; allowed: a whole number from 0 to 10,000']),
    ("count a truth", a_job(Count=True), ["Count: true; allowed: a whole number from 0 to 10,000"]),
    ("count broken", a_job(Count=1.5), ["Count: 1.5; allowed: a whole number from 0 to 10,000"]),
    (
        "priority beyond an integer column",
        a_job(Priority=2**31),
        ["Priority: 2147483648; allowed: a whole number from -2,147,483,647 to 2,147,483,647"],
    ),
    ("a name that is no text", a_job(Name=["a"]), ['Name: ["a"]; allowed: a text']),
    ("a name too long", a_job(Name="é" * 129), [f'Name: "{"é" * 80}…"; allowed: at most 256 bytes']),
    ("a namespace of all", a_job(Namespace="*"), ['Namespace: "*"; allowed: a name without spaces, not `*`']),
    ("labels no object", a_job(Labels=["a"]), ['Labels: ["a"]; allowed: an object of texts']),
    ("a label no text", a_job(Labels={"a": 1}), ['Labels.a: 1; allowed: a text: in YAML, `"1"` with its quotes']),
    (
        "a label too long",
        a_job(Labels={"a": "x" * 257}),
        [f'Labels.a: "{"x" * 80}…"; allowed: at most 256 bytes in key and in value'],
    ),
    (
        "too many labels",
        a_job(Labels={str(i): "" for i in range(101)}),
        ["Labels: 101 entries; allowed: at most 100 entries"],
    ),
    ("no tasks", a_job(Tasks=[]), ["Tasks: 0 tasks; allowed: 1 to 32 tasks"]),
    ("tasks null", a_job(Tasks=None), ["Tasks: 0 tasks; allowed: 1 to 32 tasks"]),
    ("tasks no list", a_job(Tasks={}), ["Tasks: {}; allowed: a list"]),
    (
        "too many tasks",
        a_job(Tasks=[a_task(Name=f"t{i}") for i in range(33)]),
        ["Tasks: 33 tasks; allowed: 1 to 32 tasks"],
    ),
    ("a task without name", with_task(Name=" "), [f'{T}.Name: " "; allowed: a text that is not blank']),
    ("a task without engine", with_task(Engine=None), [f"{T}.Engine.Type: missing; allowed: a text that is not blank"]),
    (
        "engine a text",
        with_task(Engine="wasm"),
        [f'{T}.Engine: "wasm"; allowed: an object with Type, Params'],
    ),
    (
        "params no object",
        with_task(Engine={"Type": "wasm", "Params": []}),
        [f"{T}.Engine.Params: []; allowed: an object", f"{T}.Engine.Params.EntryModule: {MODULE}"],
    ),
    ("an environment name in lower case", with_task(Env={"path": "x"}), [f'{T}.Env.path: "path"; allowed: {ENV}']),
    (
        "a reserved environment name",
        with_task(Env={"BACALHAU_X": "x"}),
        [f'{T}.Env.BACALHAU_X: "BACALHAU_X"; allowed: {ENV}'],
    ),
    ("an empty environment value", with_task(Env={"A": ""}), [f'{T}.Env.A: ""; allowed: a value that is not empty']),
    (
        "a number as environment value",
        with_task(Env={"A": 1}),
        [f'{T}.Env.A: 1; allowed: a text: in YAML, `"1"` with its quotes'],
    ),
    (
        "too many environment entries",
        with_task(Env={f"A{i}": "x" for i in range(1001)}),
        [f"{T}.Env: 1,001 entries; allowed: at most 1,000 entries"],
    ),
    (
        "an input without source and target",
        with_task(InputSources=[{}]),
        [
            f"{T}.InputSources[0].Source.Type: missing; allowed: a text that is not blank",
            f"{T}.InputSources[0].Target: missing; allowed: a text that is not blank",
        ],
    ),
    (
        "two inputs at one target",
        with_task(InputSources=[{"Source": {"Type": "s3"}, "Target": "/a"}] * 2),
        [f'{T}.InputSources[1].Target: "/a"; allowed: a target that is not also at {T}.InputSources[0].Target'],
    ),
    (
        "inline data that is none",
        with_task(InputSources=[{"Source": {"Type": "Inline", "Params": {"url": "hello"}}, "Target": "/a"}]),
        [
            f'{T}.InputSources[0].Source.Params.URL: "hello"; '
            "allowed: a data URL such as `data:text/plain;base64,aGVsbG8=`"
        ],
    ),
    (
        "somebody else's blob",
        with_task(InputSources=[{"Source": {"Type": "inline", "Params": {"URL": "blob:sha256:00"}}, "Target": "/a"}]),
        [
            f'{T}.InputSources[0].Source.Params.URL: "blob:sha256:00"; '
            "allowed: a data URL such as `data:text/plain;base64,aGVsbG8=`"
        ],
    ),
    (
        "broken base64",
        with_task(InputSources=[{"Source": {"Type": "inline", "Params": {"URL": "data:;base64,a"}}, "Target": "/a"}]),
        [
            f'{T}.InputSources[0].Source.Params.URL: "data:;base64,a"; '
            "allowed: base64 with its padding after the comma of the data URL"
        ],
    ),
    (
        "a result outside",
        with_task(ResultPaths=[{"Name": "../x", "Path": "out"}]),
        [
            f'{T}.ResultPaths[0].Name: "../x"; allowed: {FOLDER}',
            f'{T}.ResultPaths[0].Path: "out"; allowed: an absolute path',
        ],
    ),
    (
        "a result named like an output",
        with_task(ResultPaths=[{"Name": "stdout", "Path": "/o"}]),
        [f'{T}.ResultPaths[0].Name: "stdout"; allowed: {FOLDER}'],
    ),
    (
        "amounts that are none",
        with_task(Resources={"CPU": "lots", "Memory": "1 Potato", "Disk": "-1", "GPU": "half"}),
        [
            f'{T}.Resources.CPU: "lots"; allowed: {CPU}',
            f'{T}.Resources.Memory: "1 Potato"; allowed: {SIZE}',
            f'{T}.Resources.Disk: "-1"; allowed: {SIZE}',
            f'{T}.Resources.GPU: "half"; allowed: a whole number',
        ],
    ),
    (
        "more memory than there is in the world",
        with_task(Resources={"Memory": "2000000TB"}),
        [
            f'{T}.Resources.Memory: "2000000TB"; allowed: {SIZE}; at most 1 EiB',
        ],
    ),
    (
        "a timeout below zero",
        with_task(Timeouts={"QueueTimeout": -1}),
        [f"{T}.Timeouts.QueueTimeout: -1; allowed: {SECONDS}"],
    ),
    (
        "a timeout in words",
        with_task(Timeouts={"TotalTimeout": "soon"}),
        [f'{T}.Timeouts.TotalTimeout: "soon"; allowed: {SECONDS}'],
    ),
    (
        "timeouts that do not add up",
        with_task(Timeouts={"ExecutionTimeout": 5, "QueueTimeout": 6, "TotalTimeout": 10}),
        [f"{T}.Timeouts.TotalTimeout: 10; allowed: at least ExecutionTimeout + QueueTimeout (11), or 0 for none"],
    ),
    (
        "an unknown network",
        with_task(Network={"Type": "Carrier pigeon"}),
        [f'{T}.Network.Type: "Carrier pigeon"; allowed: Default, None, Host, Full, HTTP, Bridge'],
    ),
    (
        "domains without HTTP",
        with_task(Network={"Domains": ["example.com"]}),
        [f'{T}.Network.Domains: ["example.com"]; allowed: none unless Network.Type is HTTP'],
    ),
    (
        "a domain that is none",
        with_task(Network={"Type": "http", "Domains": ["not a domain"]}),
        [f'{T}.Network.Domains[0]: "not a domain"; allowed: {DOMAIN}'],
    ),
    (
        "a filter that lets nobody through",
        with_task(Engine=DOCKER, Network={"Type": "http"}),
        [f"{T}.Network.Domains: none; allowed: at least one domain where Network.Type is HTTP"],
    ),
    (
        "ports without a network",
        with_task(Network={"Ports": [{"Name": "web"}]}),
        [f"{T}.Network.Ports: 1 ports; allowed: none unless Network.Type is Host or Bridge"],
    ),
    (
        "ports of every wrong kind",
        with_task(
            Engine=DOCKER,
            Network={"Type": "host", "Ports": [{"Name": "1", "Static": 80, "Target": 5, "HostNetwork": "x"}]},
        ),
        [
            f'{T}.Network.Ports[0].Name: "1"; allowed: letters, digits and `_`, not starting with a digit, at most 237',
            f"{T}.Network.Ports[0].Static: 80; allowed: 0 (any free port) or 1024 to 65535",
            f"{T}.Network.Ports[0].Target: 5; allowed: 0 with Network.Type Host",
            f'{T}.Network.Ports[0].HostNetwork: "x"; allowed: an IP address',
        ],
    ),
    (
        "ports that are somebody else's",
        with_task(
            Engine=DOCKER,
            Network={
                "Type": "bridge",
                "Ports": [{"Name": "a", "Static": 8000, "Target": 80}, {"Name": "a", "Static": 8000, "Target": 80}],
            },
        ),
        [
            f'{T}.Network.Ports[1].Name: "a"; allowed: a name that is not also at {T}.Network.Ports[0].Name',
            f'{T}.Network.Ports[1].Static: "8000"; allowed: a static that is not also at {T}.Network.Ports[0].Static',
            f'{T}.Network.Ports[1].Target: "80"; allowed: a target that is not also at {T}.Network.Ports[0].Target',
        ],
    ),
    (
        "more ports than a task may have",
        with_task(Engine=DOCKER, Network={"Type": "bridge", "Ports": [{"Name": f"p{number}"} for number in range(33)]}),
        [f"{T}.Network.Ports: 33 ports; allowed: at most 32 ports"],
    ),
    (
        "ports for a program that cannot listen",
        with_task(Network={"Type": "host", "Ports": [{"Name": "web"}]}),
        [f"{T}.Network.Ports: 1 ports; allowed: none for wasm: its programs cannot listen"],
    ),
    (
        "constraints of every wrong kind",
        a_job(
            Constraints=[
                {"Key": "", "Operator": "exists"},
                {"Key": "a", "Operator": "near", "Values": ["x"]},
                {"Key": "a", "Operator": "in"},
                {"Key": "a", "Operator": "!", "Values": ["x"]},
                {"Key": "a", "Operator": "="},
                {"Key": "a", "Operator": "gt", "Values": ["x"]},
            ]
        ),
        [
            'Constraints[0].Key: ""; allowed: a label key',
            f'Constraints[1].Operator: "near"; allowed: {OPERATOR}',
            "Constraints[2].Values: missing; allowed: at least one value with `in`",
            'Constraints[3].Values: ["x"]; allowed: no value with `!`',
            "Constraints[4].Values: missing; allowed: exactly one value with `=`",
            'Constraints[5].Values: ["x"]; allowed: an integer with `gt`',
        ],
    ),
    (
        "a constraint with nothing right",
        a_job(Constraints=[{"Key": "", "Operator": "~~", "Values": []}, {"Key": "", "Operator": "~~", "Values": [3]}]),
        [
            'Constraints[0].Key: ""; allowed: a label key',
            f'Constraints[0].Operator: "~~"; allowed: {OPERATOR}',
            "Constraints[1].Values[0]: 3; allowed: a text",
            'Constraints[1].Key: ""; allowed: a label key',
            f'Constraints[1].Operator: "~~"; allowed: {OPERATOR}',
        ],
    ),
    (
        "a wasm engine without its module",
        with_task(Engine={"Type": "wasm", "Params": {"Parameters": ["a"]}}),
        [f"{T}.Engine.Params.EntryModule: {MODULE}"],
    ),
    (
        "a wasm engine with nothing right",
        with_task(
            Engine={
                "Type": "WASM",
                "Params": {"EntryModule": 3, "entrypoint": 7, "Parameters": "x", "ImportModules": [1]},
            }
        ),
        [
            f"{T}.Engine.Params.EntryModule: 3; allowed: the target of the input that brings the module",
            f"{T}.Engine.Params.Entrypoint: 7; allowed: the name of an exported function",
            f'{T}.Engine.Params.Parameters: "x"; allowed: a list of texts',
            f"{T}.Engine.Params.ImportModules: [1]; allowed: a list of targets of inputs",
        ],
    ),
    (
        "local sources that no node could hand out",
        with_task(
            InputSources=[
                {"Source": {"Type": "local"}, "Target": "/a"},
                {
                    "Source": {
                        "Type": "localDirectory",
                        "Params": {"SourcePath": "here", "ReadWrite": "yes", "CreateAs": "link"},
                    },
                    "Target": "/b",
                },
            ]
        ),
        [
            f"{T}.InputSources[0].Source.Params.SourcePath: missing; allowed: an absolute path on the node",
            f'{T}.InputSources[1].Source.Params.SourcePath: "here"; allowed: an absolute path on the node',
            f'{T}.InputSources[1].Source.Params.ReadWrite: "yes"; allowed: true or false',
            f'{T}.InputSources[1].Source.Params.CreateAs: "link"; allowed: dir or file or noCreate',
        ],
    ),
    (
        "partitions that would all be left at one place",
        with_task(Publisher={"Type": "LocalDirectory", "Params": {"path": "/srv/{jobID}", "Key": "x"}}) | {"Count": 2},
        [
            f'{T}.Publisher.Params.Key: "x"; allowed: a path with {{partition}} or {{executionID}}, one for each of '
            "its 2 partitions"
        ],
    ),
    (
        "a name that another job's id may be",
        a_job(Name="j-0b7e1c1e-5a5e-4c1e-9d1e-0123456789ab"),
        ['Name: "j-0b7e1c1e-5a5e-4c1e-9d1e-0123456789ab"; allowed: a name that does not look like a job\'s id'],
    ),
    (
        "offline of every wrong kind",
        a_job(Offline={"Wait": "400d", "Replace": "yes", "OnReturn": "shrug"}),
        [
            'Offline.Wait: "400d"; allowed: whole seconds from 0 to 31,622,400, or a duration such as "5m"',
            'Offline.Replace: "yes"; allowed: true or false',
            'Offline.OnReturn: "shrug"; allowed: keep-first, keep-original, stop',
        ],
    ),
    (
        "NULs and half characters, by field",
        a_job(Name="a\0b", Labels={"\0": "x", "k": "\ud800"}),
        [
            'Name: "a\\u0000b"; allowed: text without NUL characters',
            'Labels.\\u0000: "\\u0000"; allowed: keys without NUL characters and lone surrogates',
            'Labels.k: "\\ud800"; allowed: text without lone surrogates (U+D800 to U+DFFF)',
        ],
    ),
    (
        "a NUL deep in what only the engine reads",
        with_task(Engine={"Type": "wasm", "Params": {"EntryModule": "m", "Parameters": ["a", "\0"]}}),
        [f'{T}.Engine.Params.Parameters[1]: "\\u0000"; allowed: text without NUL characters'],
    ),
]


@pytest.mark.parametrize(("raw", "lines"), [pytest.param(raw, lines, id=name) for name, raw, lines in WRONG])
@pytest.mark.row(
    "2.2/result-names",
    "2.4/ports",
    "2.4/http-without-domains",
    "2.1/namespace",
    "2.1/no-task",
    "2.2/name",
    "2.2/inputs",
    "2.2/result-rules",
    "2.3/gpu",
    "2.4/types",
    "2.5/bounds",
)
def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed(raw: dict[str, Any], lines: list[str]) -> None:
    with pytest.raises(InvalidJob) as raised:
        parse_job(raw)
    assert raised.value.message.splitlines() == lines


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidJob) as raised:
        parse_job({"Count": -1, "Tasks": [{"Resources": {"CPU": "x"}}]})
    assert [problem.path for problem in raised.value.problems] == [
        "Type",
        "Count",
        "Tasks[0].Name",
        "Tasks[0].Engine.Type",
        "Tasks[0].Resources.CPU",
    ]


def test_a_thousand_problems_do_not_make_a_message_of_a_thousand_lines() -> None:
    with pytest.raises(InvalidJob) as raised:
        parse_job(a_job(Constraints=[{}] * 1_000))
    assert raised.value.message.splitlines()[-1] == "… and 1900 more"


@pytest.mark.row("2.2/unknown-engine")
def test_the_parameters_of_types_that_are_not_known_here_are_their_plugins_own() -> None:
    source = {"Source": {"Type": "s3", "Params": {"SourcePath": 7}}, "Target": "/a"}
    spec, _ = parse_job(
        with_task(Engine={"Type": "bash", "Params": {"EntryModule": 3, "Image": 7}}, InputSources=[source])
    )
    assert spec.tasks[0].engine.param("EntryModule") == 3


def test_nesting_beyond_reason_is_a_problem_and_not_a_crash() -> None:
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(InvalidJob, match="nested too deeply; allowed: at most 64 levels"):
        parse_job(with_task(Engine={"Type": "wasm", "Params": {"EntryModule": "m", "x": deep}}))


@pytest.mark.parametrize(
    "domain", ["Example.com ", ".example.com", "*.example.com", "a-b.c.xn--p1ai", "192.0.2.1", "2001:db8::1"]
)
@pytest.mark.row("2.4/domains")
def test_domains_of_every_form_are_kept_in_lower_case(domain: str) -> None:
    spec, _ = parse_job(with_task(Engine=DOCKER, Network={"Type": "http", "Domains": [domain]}))
    assert spec.tasks[0].network.domains == (domain.strip().lower(),)


@pytest.mark.row("2.4/ports")
def test_ports_are_read_with_what_is_not_said() -> None:
    ports = [{"name": "web", "target": 80}, {"Name": "own", "Static": 8080, "HostNetwork": "127.0.0.1"}]
    spec, _ = parse_job(with_task(Engine=DOCKER, Network={"Type": "bridge", "Ports": ports}))
    assert spec.tasks[0].network.ports == (
        Port(name="web", static=0, target=80, host_network=""),
        Port(name="own", static=8080, target=0, host_network="127.0.0.1"),
    )


@pytest.mark.parametrize("engine", [DOCKER, {"Type": "wasm", "Params": {"EntryModule": "m"}}])
@pytest.mark.parametrize("kind", ["Host", "Full", "Bridge", "None", "Default"])
@pytest.mark.row("2.4/types")
def test_a_task_may_have_every_network_that_its_engine_makes(engine: dict[str, Any], kind: str) -> None:
    spec, _ = parse_job(with_task(Engine=engine, Network={"Type": kind.lower()}))
    assert spec.tasks[0].network.type == kind


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (
            a_job(Type="ops", Count=2),
            "Count: 2; allowed: 0 or none with Type ops: it runs once on every node that matches",
        ),
        (
            a_job(Type="daemon", Tasks=[a_task(Count=1)]),
            "Tasks[0].Count: 1; allowed: none with Type daemon: it runs once on every node that matches",
        ),
        (
            a_job(Type="service", Tasks=[a_task(), a_task(Name="other", DependsOn=["main"])]),
            'Tasks[1].DependsOn[0]: "main"; allowed: none with Type service: its tasks never end, and only an end is '
            "waited for; to wait until another service is ready say `Uses: [its job's name]`, and make a batch job of "
            "what has to be done before",
        ),
    ],
)
@pytest.mark.row("2.1/count")
def test_what_a_kind_of_job_does_not_take_is_named(raw: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidJob) as raised:
        parse_job(raw)
    assert raised.value.message == named


@pytest.mark.parametrize(("kind", "count"), [("batch", 1), ("service", 1), ("ops", 0), ("daemon", 0)])
@pytest.mark.row("2.1/count")
def test_every_kind_of_job_has_its_own_count(kind: str, count: int) -> None:
    spec, _ = parse_job(a_job(Type=kind.title()))
    assert (spec.type, spec.count) == (kind, count)


WEB = {"Type": "host", "Ports": [{"Name": "web"}]}


@pytest.mark.parametrize(
    ("check", "named"),
    [
        ({}, "Tasks[0].Check: none of them; allowed: one of HTTP, TCP and Exec"),
        ({"HTTP": {}, "TCP": {}}, "Tasks[0].Check: HTTP and TCP; allowed: one of HTTP, TCP and Exec"),
        ({"TCP": {"Port": "x"}}, 'Tasks[0].Check.TCP.Port: "x"; allowed: the name of one of Network.Ports (web)'),
        (
            {"HTTP": {"Path": "a b"}},
            'Tasks[0].Check.HTTP.Path: "a b"; allowed: a path that starts with `/`, as in a URL (no spaces)',
        ),
        ({"TCP": {}, "Interval": 0}, "Tasks[0].Check.Interval: 0; allowed: at least 1 second"),
        ({"TCP": {}, "Healthy": 0}, "Tasks[0].Check.Healthy: 0; allowed: a whole number from 1 to 100"),
    ],
)
def test_a_wrong_check_is_named(check: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidJob) as raised:
        parse_job(with_task(Engine=DOCKER, Network=WEB, Check=check))
    assert raised.value.message == named


@pytest.mark.parametrize(
    ("check", "named"),
    [
        ({"Exec": {}}, "Tasks[0].Check.Exec.Command: missing; allowed: a list of texts"),
        ({"Exec": {"Command": "pg_isready"}}, 'Tasks[0].Check.Exec.Command: "pg_isready"; allowed: a list of texts'),
        ({"Exec": {"Command": [" "]}}, 'Tasks[0].Check.Exec.Command: [" "]; allowed: a list of texts'),
        ({"Exec": {"Command": ["x", 1]}}, 'Tasks[0].Check.Exec.Command: ["x", 1]; allowed: a list of texts'),
        (
            {"Exec": {"Command": ["x" * 5000]}},
            "Tasks[0].Check.Exec.Command: a longer one; allowed: a command of at most 4,096 bytes",
        ),
    ],
)
def test_a_wrong_command_of_a_check_is_named(check: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidJob) as raised:
        parse_job(with_task(Engine=DOCKER, Check=check))
    assert raised.value.message.startswith(named)


def test_a_check_by_command_needs_no_port_and_an_engine_that_runs_commands() -> None:
    check = {"Exec": {"Command": ["pg_isready", "-q"]}}
    spec, _ = parse_job(with_task(Engine=DOCKER, Check=check))
    found = spec.tasks[0].check
    assert found is not None
    assert found.exec is not None
    assert found.exec.command == ("pg_isready", "-q")
    assert decode(encode(spec)).tasks[0].check == found
    with pytest.raises(InvalidJob) as raised:
        parse_job(with_task(Engine={"Type": "WASM", "Params": {"EntryModule": "m"}}, Check=check))
    assert raised.value.message == (
        'Tasks[0].Check.Exec: "WASM"; allowed: an engine that runs commands beside the program (docker)'
    )


def test_how_long_a_stop_may_take_is_said_by_a_task_or_left_to_its_engine() -> None:
    assert parse_job(with_task())[0].tasks[0].stop_grace is None
    for said, seconds in ((0, 0), (90, 90), ("2m", 120), ("1h", 3600)):
        spec, _ = parse_job(with_task(StopGrace=said))
        assert spec.tasks[0].stop_grace == seconds
        assert decode(encode(spec)).tasks[0].stop_grace == seconds
    for said in (-1, 3601, "61m", "soon", True):
        with pytest.raises(InvalidJob, match=r"Tasks\[0\]\.StopGrace: .*; allowed: whole seconds from 0 to 3,600"):
            parse_job(with_task(StopGrace=said))


def test_a_check_has_defaults_and_takes_the_only_port() -> None:
    spec, _ = parse_job(with_task(Engine=DOCKER, Network=WEB, Check={"http": {}, "interval": "2s"}))
    check = spec.tasks[0].check
    assert check is not None
    assert check.http is not None
    assert (check.http.port, check.http.path, check.interval, check.timeout) == ("web", "/", 2, 5)
    assert decode(encode(spec)).tasks[0].check == check


def test_how_a_service_is_updated_has_bounds() -> None:
    with pytest.raises(InvalidJob) as raised:
        parse_job(a_job(Type="service", Update={"MaxSurge": 0, "ProgressDeadline": "5s"}))
    assert raised.value.message.splitlines() == [
        "Update.MaxSurge: 0; allowed: a whole number from 1 to 100",
        'Update.ProgressDeadline: "5s"; allowed: at least 10 seconds',
    ]


def test_tasks_that_leave_their_results_at_one_place_are_warned_of() -> None:
    places = (
        ("a", "/srv", "out/{jobID}"),
        ("b", "/srv/out/", "{jobID}"),
        ("c", "/srv", "{task}"),
        ("d", "/srv", "{task}"),
    )
    tasks = [
        a_task(Name=name, Publisher={"Type": "localDirectory", "Params": {"Path": path, "Key": key}})
        for name, path, key in places
    ]
    _, (told,) = parse_job(a_job(Tasks=tasks))
    assert told.startswith('Tasks[1].Publisher.Params.Key: "{jobID}" is where the task "a" leaves its result too')
    assert "{task} or {executionID}" in told
