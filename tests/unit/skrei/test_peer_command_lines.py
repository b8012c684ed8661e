"""Command lines as Bacalhau's users type them, with `skrei` in place of the name: each is read, and says the same.

The rows are those of docs/COMPATIBILITY.md, section 7.
"""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from skrei.cli import tree
from skrei.cli.grammar import Values, read
from skrei.cli.universal import before_command, with_universal


def said(line: str) -> tuple[str, Values]:
    """The command that a line calls, and the values that it says."""
    universal, words = before_command(shlex.split(line))
    name, left = tree.split(words)
    assert name in tree.COMMANDS, name
    return name, read(with_universal(tree.load(name)), [*universal, *left])


PEERS_TREE = """
agent    alive node version config
auth     info hash-password
auth sso login logout token
config   list set
docker   run
job      describe executions get history list logs rerun run stop validate versions
node     approve delete describe list reject
profile  delete list save select show
wasm     run
"""


@pytest.mark.row("7.1/tree")
def test_every_command_of_the_peer_is_one_here() -> None:
    groups = [line.split() for line in PEERS_TREE.strip().splitlines()]
    wanted = {"devstack", "serve", "version"}
    for words in groups:
        group = "auth sso" if words[:2] == ["auth", "sso"] else words[0]
        wanted |= {f"{group} {word}" for word in words[len(group.split()) :]}
    assert wanted <= set(tree.COMMANDS)


@pytest.mark.parametrize(
    ("row", "line", "expected"),
    [
        ("7.1/root-flags", "--api-host h --api-port 99 -c a.yaml -c k=v job list",
         {"api-host": "h", "api-port": "99", "config": ("a.yaml", "k=v")}),
        ("7.1/root-flags", "job list --data-dir /d --log-level debug --profile p",
         {"data-dir": "/d", "log-level": "debug", "profile": "p"}),
        ("7.2/runtime", "docker run --wait=false --wait-timeout-secs 5 --id-only --node-details -f --group-events "
         "--dry-run ubuntu", {"wait": False, "wait-timeout-secs": 5, "id-only": True, "node-details": True,
                              "follow": True, "group-events": True, "dry-run": True}),
        ("7.2/list", "job list --limit 3 --next-token t --order-by created_at --order-reversed",
         {"limit": 3, "next-token": "t", "order-by": "created_at", "order-reversed": True}),
        ("7.2/tabular", "node list --output csv --pretty --hide-header --no-style --wide",
         {"output": "csv", "pretty": True, "hide-header": True, "no-style": True, "wide": True}),
        ("7.2/object", "node describe n-1 --output json --pretty", {"output": "json", "pretty": True, "NODE": "n-1"}),
        ("7.2/job", "docker run --name n --namespace s --priority 3 -l a=b --labels c=d,e=f --count 2 --target all "
         "--constraints region=eu,!gpu ubuntu",
         {"name": "n", "namespace": "s", "priority": 3, "labels": ("a=b", "c=d,e=f"), "count": 2, "target": "all",
          "constraints": "region=eu,!gpu"}),
        ("7.2/job", "wasm run --concurrency 2 -s region=eu m.wasm", {"count": 2, "constraints": "region=eu"}),
        ("7.2/task", "docker run --task-name t -e A=1 --env B=2 -i file:///d:/in --input s3://b/k -o out:/out -p local "
         "--cpu 1 --memory 1Gi --disk 2Gi --gpu 1 --network http --domain a.example --domain b.example "
         "--timeout 60 --queue-timeout 30 ubuntu",
         {"task-name": "t", "env": ("A=1", "B=2"), "input": ("file:///d:/in", "s3://b/k"), "output": ("out:/out",),
          "publisher": "local", "cpu": "1", "memory": "1Gi", "disk": "2Gi", "gpu": "1", "network": "http",
          "domain": ("a.example", "b.example"), "timeout": 60, "queue-timeout": 30}),
        ("7.3/docker-run", "docker run -w /w --entrypoint /bin/sh ubuntu -- -c 'echo hi'",
         {"workdir": "/w", "entrypoint": ("/bin/sh",), "IMAGE": "ubuntu", "COMMAND": ("--", "-c", "echo hi")}),
        ("7.3/docker-run", "docker run ubuntu sh -c 'echo hi' --help", {"COMMAND": ("sh", "-c", "echo hi", "--help")}),
        ("7.3/wasm-run", "wasm run --entry-point main -I lib.wasm m.wasm a --b",
         {"entry-point": "main", "import-modules": ("lib.wasm",), "MODULE": "m.wasm", "ARG": ("a", "--b")}),
        ("7.3/job-run", "job run --force --no-template -V a=1,b=2 --template-envs 'CI_.*' --hide-warnings job.yaml",
         {"force": True, "no-template": True, "template-vars": ("a=1,b=2",), "template-envs": ("CI_.*",),
          "hide-warnings": True, "FILE": "job.yaml"}),
        ("7.3/job-rerun", "job rerun j-1 --version 2 --wait=false", {"JOB": "j-1", "version": 2, "wait": False}),
        ("7.3/job-list", "job list --labels 'env=prod' --limit 10", {"labels": ("env=prod",), "limit": 10}),
        ("7.3/job-describe", "job describe j-1 -v 2 --namespace s --output yaml",
         {"JOB": "j-1", "version": 2, "namespace": "s", "output": "yaml"}),
        ("7.3/job-executions", "job executions j-1 -v 1 --all-versions --namespace s --limit 5",
         {"version": 1, "all-versions": True, "limit": 5}),
        ("7.3/job-history", "job history j-1 --event-type execution --execution-id e-1 -v 1 --all-versions --limit 5",
         {"event-type": "execution", "execution-id": "e-1", "version": 1, "all-versions": True}),
        ("7.3/job-versions", "job versions j-1 --namespace s", {"JOB": "j-1", "namespace": "s"}),
        ("7.3/job-logs", "job logs j-1 -e e-1 -f -t -v 2 --namespace s",
         {"execution-id": "e-1", "follow": True, "namespace": "s"}),
        ("7.3/job-stop", "job stop j-1 --quiet --namespace s", {"quiet": True, "namespace": "s"}),
        ("7.3/job-get", "job get j-1/outputs/a --output-dir d --raw --download-timeout-secs 60 --namespace s",
         {"JOB": "j-1/outputs/a", "output-dir": "d", "raw": True, "download-timeout-secs": 60, "namespace": "s"}),
        ("7.3/job-validate", "job validate job.yaml", {"FILE": "job.yaml"}),
        ("7.3/node-list", "node list --show version,features --labels a=b --filter-approval approved "
         "--filter-status connected --order-by available_cpu",
         {"show": "version,features", "filter-approval": "approved", "filter-status": "connected",
          "order-by": "available_cpu"}),
        ("7.3/node-approve", "node approve n-1 -m welcome", {"NODE": "n-1", "message": "welcome"}),
        ("7.3/node-approve", "node reject n-1 --message no", {"message": "no"}),
        ("7.3/node-approve", "node delete n-1", {"NODE": "n-1"}),
        ("7.3/agent", "agent alive --output json", {"output": "json"}),
        ("7.3/agent", "agent version", {"output": "text"}),
        ("7.3/version", "version --client --output json", {"client": True, "output": "json"}),
        ("7.3/config-list", "config list --output yaml", {"output": "yaml"}),
        ("7.3/config-set", "config set log_level=debug -c c.yaml",
         {"KEY=VALUE": "log_level=debug", "config": ("c.yaml",)}),
        ("7.3/profile", "profile save p --endpoint http://h:1 --description d --timeout 30s --insecure --select",
         {"NAME": "p", "endpoint": "http://h:1", "description": "d", "timeout": "30s", "insecure": True,
          "select": True}),
        ("7.3/profile", "profile list --output csv", {"output": "csv"}),
        ("7.3/serve", "serve --orchestrator --compute --name n -c api.port=99",
         {"orchestrator": True, "compute": True, "name": "n", "config": ("api.port=99",)}),
        ("7.3/devstack", "devstack --computes 2 --orchestrators 1 --hybrids 1 --bad-computes 0 --stack-repo r "
         "--random-ports --cpu-profiling-file f --memory-profiling-file g",
         {"computes": 2, "orchestrators": 1, "hybrids": 1, "stack-repo": "r", "random-ports": True}),
    ],
)  # fmt: skip
@pytest.mark.row("12/removed")
def test_a_command_line_of_the_peer_is_read_as_it_is(row: str, line: str, expected: dict[str, object]) -> None:
    _, values = said(line)
    assert {key: values.found[key] for key in expected} == expected, row


@pytest.mark.row("7.3/auth-later")
def test_what_needs_accounts_says_that_there_are_none_yet(
    skrei: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert skrei("auth", "hash-password") == 1
    assert capsys.readouterr().err.startswith("Error: Skrei has no accounts with passwords yet.\n")


@pytest.mark.row("7.3/auth-info", "7.1/env")
def test_who_asks_is_told_in_the_words_that_scripts_look_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from skrei.cli.auth import info_lines

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("SKREI_API_KEY", "BACALHAU_API_KEY", "BACALHAU_API_USERNAME", "BACALHAU_API_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    plain = list(info_lines("http://far:1", False))
    assert plain[:5] == ["Target environment: http://far:1", "", "Environment Variables:", "  API Key: Not Set",
                         "  Username: Not Set"]  # fmt: skip
    assert plain[-1] == "  Server does not support SSO login"
    monkeypatch.setenv("BACALHAU_API_KEY", "k")
    told = list(info_lines("http://far:1", True))
    assert "  API Key: Set" in told
    assert told[-2:] == [
        "Note: Environment variables take precedence over other authentication mechanisms including SSO.",
        "To use SSO login, please unset Auth related environment variables first.",
    ]
