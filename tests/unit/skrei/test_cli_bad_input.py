# ruff: noqa: E501 - messages stand here as they are read
"""Wrong calls that need no API, and the exact words with which each is answered: one line what, one line what to do."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

WRONG = [
    ("frobnicate", 2, "Error: There is no command `skrei frobnicate`.\nAll commands: skrei --help"),
    ("jobs list", 2, "Error: There is no command `skrei jobs`.\nDid you mean `skrei job`? All commands: skrei --help"),
    (
        "job lsit",
        2,
        "Error: There is no command `skrei job lsit`.\nDid you mean `skrei job list`? All commands: skrei job --help",
    ),
    (
        "node aprove n",
        2,
        "Error: There is no command `skrei node aprove`.\nDid you mean `skrei node approve`? All commands: skrei node --help",
    ),
    (
        "auth sso lgoin",
        2,
        "Error: There is no command `skrei auth sso lgoin`.\nDid you mean `skrei auth sso login`? All commands: skrei auth sso --help",
    ),
    ("ps", 2, "Error: There is no command `skrei ps`.\nDid you mean `skrei list`? All commands: skrei --help"),
    (
        "docker logs x",
        2,
        "Error: There is no command `skrei docker logs`.\nDid you mean `skrei logs`? All commands: skrei docker --help",
    ),
    (
        "docker ps",
        2,
        "Error: There is no command `skrei docker ps`.\nDid you mean `skrei list`? All commands: skrei docker --help",
    ),
    (
        "job cancel x",
        2,
        "Error: There is no command `skrei job cancel`.\nDid you mean `skrei job stop`? All commands: skrei job --help",
    ),
    (
        "validate job.yaml",
        2,
        "Error: There is no command `skrei validate`.\nDid you mean `skrei job validate`? All commands: skrei --help",
    ),
    (
        "node move x",
        2,
        "Error: There is no command `skrei node move`.\nAll commands: skrei node --help",
    ),
    ("list --sort name", 2, "Error: skrei list: there is no --sort.\nAll options: skrei list --help"),
    (
        "describe ''",
        2,
        "Error: skrei describe: JOB is empty: a job's id, a prefix of it, its name, or `-` for the last one.\n"
        "Usage: skrei describe [OPTIONS] [JOB]",
    ),
    (
        "job wait x ''",
        2,
        "Error: skrei job wait: JOB is empty: jobs, by id, prefix or name; none is the last one.\n"
        "Usage: skrei job wait [OPTIONS] [JOB...]",
    ),
    ("logs --tail -3", 2, "Error: skrei logs: --tail -3: at least 0.\nAll options: skrei logs --help"),
    (
        "docker run --timeout inf ubuntu ls",
        125,
        "Error: skrei docker run: --timeout inf: not a time like 90, 90s, 5m or 1h30m.\n"
        "All options: skrei docker run --help",
    ),
    (
        "docker run -p 8080:80 nginx",
        125,
        "Error: --publisher 8080:80: a run publishes no ports; -p is where its results go.\n"
        "A job file asks for ports: `skrei job init --service FILE` writes one.",
    ),
    (
        "job run -p ftp://x job.yaml",
        125,
        "Error: --publisher ftp://x: not known here.\nFor example s3://BUCKET/KEY,opt=region=eu-west-1",
    ),
    ("--bogus", 2, "Error: skrei: there is no --bogus.\nAll commands: skrei --help"),
    ("--api", 2, "Error: skrei: --api needs a value: --api URL.\nAll commands: skrei --help"),
    ("list extra", 2, "Error: skrei list: 'extra' is one argument too many.\nUsage: skrei list [OPTIONS]"),
    ("list --limit -1", 2, "Error: skrei list: --limit -1: at least 0.\nAll options: skrei list --help"),
    ("list --limit ten", 2, "Error: skrei list: --limit ten: not a whole number.\nAll options: skrei list --help"),
    (
        "list --order-by size",
        2,
        "Error: skrei list: --order-by size: allowed are created_at, modified_at.\nAll options: skrei list --help",
    ),
    (
        "list -o xml",
        2,
        "Error: skrei list: -o xml: allowed are table, csv, json, yaml.\nAll options: skrei list --help",
    ),
    (
        "list --wide=maybe",
        2,
        "Error: skrei list: --wide=maybe: a flag is true or false.\nAll options: skrei list --help",
    ),
    (
        "list --namespace",
        2,
        "Error: skrei list: --namespace needs a value: --namespace NAME.\nAll options: skrei list --help",
    ),
    ("describe a b", 2, "Error: skrei describe: 'b' is one argument too many.\nUsage: skrei describe [OPTIONS] [JOB]"),
    (
        "stop",
        2,
        "Error: skrei stop: JOB is missing: a job's id, a prefix of it, its name, or `-` for the last one.\nUsage: skrei stop [OPTIONS] JOB",
    ),
    (
        "job history --event-type foo x",
        2,
        "Error: skrei job history: --event-type foo: allowed are all, job, execution.\nAll options: skrei job history --help",
    ),
    (
        "job executions --limit 1.5 x",
        2,
        "Error: skrei job executions: --limit 1.5: not a whole number.\nAll options: skrei job executions --help",
    ),
    ("get --parallel 0 x", 2, "Error: skrei get: --parallel 0: at least 1.\nAll options: skrei get --help"),
    ("get --parallel 65 x", 2, "Error: skrei get: --parallel 65: at most 64.\nAll options: skrei get --help"),
    (
        "get --max-size lots x",
        2,
        "Error: skrei get: --max-size lots: not a size such as 200GB or 64Gi.\nAll options: skrei get --help",
    ),
    ("job cat x", 1, "Error: No file is named.\nskrei job cat x stdout; skrei job ls x lists what there is."),
    (
        "job scale x",
        2,
        "Error: skrei job scale: COUNT is missing: how many.\nUsage: skrei job scale [OPTIONS] JOB COUNT",
    ),
    ("job scale x many", 2, "Error: skrei job scale: many: not a whole number.\nUsage: skrei job scale JOB COUNT"),
    (
        "job rerun",
        125,
        "Error: skrei job rerun: JOB is missing: a job's id, a prefix of it, its name, or `-` for the last one.\nUsage: skrei job rerun [OPTIONS] JOB",
    ),
    (
        "job wait --for ever x",
        2,
        "Error: skrei job wait: --for ever: allowed are end, running, ready.\nAll options: skrei job wait --help",
    ),
    (
        "job wait --timeout soon x",
        2,
        "Error: skrei job wait: --timeout soon: not a time like 90, 90s, 5m or 1h30m.\nAll options: skrei job wait --help",
    ),
    (
        "job diff",
        2,
        "Error: skrei job diff: FILE|JOB is missing: a job file, or a job.\nUsage: skrei job diff [OPTIONS] FILE|JOB",
    ),
    (
        "job init --docker --ops",
        2,
        "Error: skrei job init: --docker and --ops do not go together.\nName one kind of job.",
    ),
    (
        "job init --name 'a b' x.yaml",
        2,
        "Error: skrei job init: --name a b: not a name.\nLetters, digits, `.`, `_` and `-`, at most 64.",
    ),
    ("job init there.yaml", 1, "Error: there.yaml is there already.\nName another file, or replace it with --force."),
    (
        "job init nowhere/job.yaml",
        1,
        "Error: nowhere/job.yaml cannot be written: No such file or directory.\nName another file.",
    ),
    (
        "node list --show colours",
        2,
        "Error: skrei node list: --show colours: allowed are labels, version, features, engines, data, services, cache, capacity.\nAll options: skrei node list --help",
    ),
    (
        "node list --filter-approval maybe",
        2,
        "Error: skrei node list: --filter-approval maybe: allowed are approved, pending, rejected.\nAll options: skrei node list --help",
    ),
    (
        "node describe",
        2,
        "Error: skrei node describe: NODE is missing: a node's id, a prefix of it, or its name.\nUsage: skrei node describe [OPTIONS] NODE",
    ),
    (
        "node data add books",
        2,
        "Error: skrei node data add: PATH is missing: where it lies; PATH:rw lets jobs write there too.\nUsage: skrei node data add [OPTIONS] NAME PATH",
    ),
    (
        "node data remove",
        2,
        "Error: skrei node data remove: NAME is missing: what jobs call it: data://NAME.\nUsage: skrei node data remove [OPTIONS] NAME",
    ),
    (
        "node data list --data-dir /nowhere-at-all",
        1,
        "Error: There is no node of this user in /nowhere-at-all.\nStart one first (skrei serve), or name the folder of another with --data-dir.",
    ),
    (
        "node service add mongodb",
        2,
        "Error: skrei node service add: ADDRESS is missing: HOST:PORT, or file:///PATH; file:///PATH:rw lets jobs write there too.\nUsage: skrei node service add [OPTIONS] NAME ADDRESS",
    ),
    (
        "node service remove",
        2,
        "Error: skrei node service remove: NAME is missing: what jobs call it: Uses: [NAME].\nUsage: skrei node service remove [OPTIONS] NAME",
    ),
    (
        "node service list --data-dir /nowhere-at-all",
        1,
        "Error: There is no node of this user in /nowhere-at-all.\nStart one first (skrei serve), or name the folder of another with --data-dir.",
    ),
    (
        "profile save 'a b' --endpoint x",
        1,
        "Error: 'a b' is no name for a profile.\nLetters, digits, `.`, `_` and `-`, at most 64.",
    ),
    ("profile save p", 1, "Error: A new profile needs an address.\nskrei profile save p --endpoint http://HOST:1234"),
    (
        "profile save p --endpoint http://",
        1,
        "Error: 'http://' is not the address of an API.\nAn address looks like http://127.0.0.1:1234 or host:1234.",
    ),
    ("profile save p --endpoint x --timeout soon", 1, "Error: --timeout soon: not a duration.\nFor example 30s or 2m."),
    ("profile select nope", 1, "Error: There is no profile 'nope'.\nskrei profile list shows what there is."),
    ("profile show", 1, "Error: No profile is the current one.\nName one; skrei profile list shows what there is."),
    ("profile delete nope", 1, "Error: There is no profile 'nope'.\nskrei profile list shows what there is."),
    ("config set log_level", 2, "Error: skrei config set: log_level: not KEY=VALUE.\nFor example log_level=debug"),
    (
        "config set log_levle=x",
        1,
        "Error: There is no setting 'log_levle'.\nDid you mean log_level? skrei config list shows every one.",
    ),
    (
        "config set api_port=x",
        1,
        "Error: api_port=x: Input should be a valid integer, unable to parse string as an integer.\nThe port that clients expect.",
    ),
    (
        "config list nope-nothing",
        1,
        "Error: No setting has 'nope-nothing' in its name.\nskrei config list shows every one.",
    ),
    ("completion tcsh", 2, "Error: skrei completion: tcsh: known are bash, zsh, fish.\nskrei completion --help"),
    *(
        (
            f"docker run --network {network} --domain a.example ubuntu",
            125,
            f"Error: --network {network} and --domain a.example contradict each other: domains are let through by http alone.\nLeave out one of the two; --domain alone means --network http.",
        )
        for network in ("none", "bridge", "default")
    ),
    (
        "docker run --network mesh ubuntu",
        125,
        "Error: skrei docker run: --network mesh: allowed are default, none, bridge, host, http, full.\nAll options: skrei docker run --help",
    ),
    (
        "docker run --target some ubuntu",
        125,
        "Error: skrei docker run: --target some: allowed are any, all.\nAll options: skrei docker run --help",
    ),
    (
        "docker run --pull often ubuntu",
        125,
        "Error: skrei docker run: --pull often: allowed are missing, always, never.\nAll options: skrei docker run --help",
    ),
    (
        "docker run -p ftp://x ubuntu",
        125,
        "Error: --publisher ftp://x: not known here.\nFor example s3://BUCKET/KEY,opt=region=eu-west-1",
    ),
    (
        "data copy data://books somewhere",
        125,
        "Error: somewhere is no place to copy to.\nWrite s3://BUCKET/KEY[,opt=endpoint=…,opt=region=…], ipfs://, or the "
        "absolute path of a folder that is to be made on a node.",
    ),
    (
        "data copy ftp://h/x ipfs://",
        125,
        "Error: SRC ftp://h/x: ftp:// is not known here.\nWrite a path, data://NAME[/PATH], https://…, "
        "s3://BUCKET/KEY[,opt=K=V] or ipfs://CID[/PATH].",
    ),
    (
        "data copy data://books",
        125,
        "Error: skrei data copy: DST is missing: s3://BUCKET/KEY[,opt=K=V], ipfs://, or a folder to be made on a node "
        "(/srv/copies/x).\nUsage: skrei data copy [OPTIONS] SRC DST",
    ),
    ("docker run -l nolabel ubuntu", 125, "Error: --labels nolabel: not KEY=VALUE.\nFor example --labels region=eu"),
    (
        "docker run -i s3:///x ubuntu",
        125,
        "Error: --input s3:///x: no bucket is named.\nWrite PATH:TARGET, file://PATH:TARGET, data://NAME:TARGET, s3://BUCKET/KEY:TARGET, ipfs://CID:TARGET, https://…:TARGET, or src=…,dst=…,opt=K=V.",
    ),
    (
        "docker run -i src=/a,foo=b ubuntu",
        125,
        "Error: --input src=/a,foo=b: 'foo' is not known; use src=, dst= and opt=.\nWrite PATH:TARGET, file://PATH:TARGET, data://NAME:TARGET, s3://BUCKET/KEY:TARGET, ipfs://CID:TARGET, https://…:TARGET, or src=…,dst=…,opt=K=V.",
    ),
    (
        "docker run --constraints 'a in (' ubuntu",
        125,
        "Error: --constraints: 'a in (' is not a label selector (at 'in ('): use conditions joined by commas: `key`, `!key`, `key=value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, `key>1`, `key<1`.\nFor example --constraints \"region=eu,!gpu\"",
    ),
    (
        "docker run --profile nope ubuntu",
        125,
        "Error: There is no profile 'nope'.\nskrei profile list shows what there is.",
    ),
    (
        "docker run --count 0 ubuntu",
        125,
        "Error: skrei docker run: --count 0: at least 1.\nAll options: skrei docker run --help",
    ),
    (
        "docker run --fail-on always ubuntu",
        125,
        "Error: skrei docker run: --fail-on always: allowed are exit-code.\nAll options: skrei docker run --help",
    ),
    (
        "wasm run",
        125,
        "Error: skrei wasm run: MODULE is missing: a .wasm file of this machine (FILE[:TARGET]), s3://…, https://…, or a place in an input.\nUsage: skrei wasm run [OPTIONS] MODULE [ARG...]",
    ),
    (
        "wasm run there.yaml",
        125,
        "Error: there.yaml is no WebAssembly module.\nCompile the program for WASI (wasm32-wasi), and name that file.",
    ),
    ("wasm run -I none.wasm there.wasm", 125, "Error: none.wasm is not a file.\nName a .wasm file of this machine."),
    (
        "run t.yaml",
        125,
        "Error: t.yaml, line 1: the template wants 'nmae', and nobody gave it.\nGive it: -V nmae=VALUE, or -E nmae for the variable of that name.",
    ),
    ("run -V novalue t.yaml", 125, "Error: -V novalue: not KEY=VALUE.\nFor example -V region=eu"),
    (
        "run -E '[' t.yaml",
        125,
        "Error: --template-envs [: not a regular expression: unterminated character set at position 0.\nFor example -E 'CI_.*'",
    ),
    (
        "run --token-file none t.yaml",
        125,
        "Error: The token's file none cannot be read: No such file or directory.\n--token-file and SKREI_API_KEY_FILE name a file with nothing but the token in it.",
    ),
    (
        "serve --join ftp://x",
        1,
        "Error: --join ftp://x: an address begins with http:// or https://.\nIt looks like http://10.0.0.1:1234.",
    ),
    (
        "serve --listen x --join http://y",
        1,
        "Error: --listen and --join do not go together: the control plane tells the addresses.\nLeave --listen out.",
    ),
    (
        "serve --database-url foo",
        1,
        "Error: --database-url foo…: not the address of a Postgres.\nIt has the form postgresql://USER:PASSWORD@HOST:5432/DATABASE.",
    ),
    ("serve --port 70000", 2, "Error: skrei serve: --port 70000: at most 65535.\nAll options: skrei serve --help"),
    (
        "serve --log-level loud",
        2,
        "Error: skrei serve: --log-level loud: allowed are debug, info, warning, error.\nAll options: skrei serve --help",
    ),
    (
        "serve -c nonsense.key=1",
        2,
        "Error: skrei serve: there is no setting nonsense.key.\nskrei config list shows every one.",
    ),
    (
        "devstack --computes 100",
        2,
        "Error: skrei devstack: --computes 100: at most 64.\nAll options: skrei devstack --help",
    ),
    (
        "devstack --bad-computes 1",
        2,
        "Error: skrei devstack: --bad-computes 1: at most 0.\nAll options: skrei devstack --help",
    ),
    ("list --api-port 0", 1, "Error: --api-port 0: not a port.\nA port is a number from 1 to 65535."),
    (
        "list -c none.yaml",
        1,
        "Error: none.yaml cannot be read: No such file or directory.\nName a YAML file with settings.",
    ),
    ("version --timeout 3", 2, "Error: skrei version: there is no --timeout.\nAll options: skrei version --help"),
    (
        "auth hash-password",
        1,
        "Error: Skrei has no accounts with passwords yet.\nCallers show a token: skrei auth info tells which; docs/SECURITY.md says who may do what.",
    ),
    ("list --profile nope", 1, "Error: There is no profile 'nope'.\nskrei profile list shows what there is."),
]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a template and a file, and nothing of whoever runs this."""
    for name in (
        "SKREI_API_URL",
        "SKREI_API_KEY",
        "SKREI_API_KEY_FILE",
        "SKREI_PROFILE",
        "BACALHAU_PROFILE",
        "SKREI_CONFIG",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "SKREI_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "own"))
    (tmp_path / "t.yaml").write_text("Name: {{.nmae}}\nType: batch\n")
    (tmp_path / "there.yaml").write_text("x\n")
    (tmp_path / "there.wasm").write_bytes(b"\0asm")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("typed", "code", "told"), WRONG, ids=[typed for typed, _, _ in WRONG])
def test_a_wrong_call_is_told_with_what_to_do(
    typed: str, code: int, told: str, skrei: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    left = skrei(*shlex.split(typed))
    printed = capsys.readouterr()
    assert (printed.out, printed.err.rstrip("\n"), left) == ("", told, code)


def test_seventy_wrong_calls_are_known() -> None:
    assert len({typed for typed, _, _ in WRONG}) >= 70
