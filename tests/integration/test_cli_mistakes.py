# ruff: noqa: E501 - messages stand here as they are read
"""The mistakes that people make every day, and the exact words with which each is answered.

One line what, one line what to do, and an exit code that a script can act on. Ids, addresses and folders of the run are
written as `j-ID`, `n-ID`, `API` and `DIR`.
"""

import os
import re
import shlex
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.live_stack import LiveStack, live_stack
from tests.support.wasm_steps import Say, program

pytestmark = pytest.mark.timeout(120)
SKREI = str(Path(sys.executable).with_name("skrei"))


class Mistake(NamedTuple):
    """What is typed (without `skrei`), the exit code, and standard error; and what is set around it."""

    typed: str
    code: int
    told: str
    env: str = ""


WITHOUT_AN_API = [
    Mistake(
        "lits", 2, "Error: There is no command `skrei lits`.\nDid you mean `skrei list`? All commands: skrei --help"
    ),
    Mistake(
        "job lst",
        2,
        "Error: There is no command `skrei job lst`.\nDid you mean `skrei job list`? All commands: skrei job --help",
    ),
    Mistake(
        "docker run --memroy 1Gi ubuntu",
        125,
        "Error: skrei docker run: there is no --memroy.\nDid you mean --memory? All options: skrei docker run --help",
    ),
    Mistake(
        "docker run",
        125,
        "Error: skrei docker run: IMAGE is missing: the image to run.\nUsage: skrei docker run [OPTIONS] IMAGE [COMMAND...]",
    ),
    Mistake(
        "docker run --memory",
        125,
        "Error: skrei docker run: --memory needs a value: --memory SIZE.\nAll options: skrei docker run --help",
    ),
    Mistake(
        "wasm run --count zero x.wasm",
        125,
        "Error: skrei wasm run: --count zero: not a whole number.\nAll options: skrei wasm run --help",
    ),
    Mistake(
        "docker run -it ubuntu",
        125,
        "Error: skrei docker run: a job has no terminal and no standard input (-it).\n"
        "Leave -it out and name a command: skrei docker run ubuntu ls /",
    ),
    Mistake(
        "docker run -e TOKEN ubuntu",
        125,
        "Error: --env TOKEN: no TOKEN is set here.\nGive it a value: --env TOKEN=VALUE",
    ),
    Mistake(
        "docker run -i ./data:data ubuntu",
        125,
        "Error: --input ./data:data: what stands behind the colon is no absolute path.\n"
        "Write PATH:TARGET, file://PATH:TARGET, data://NAME:TARGET, s3://BUCKET/KEY:TARGET, ipfs://CID:TARGET, https://…:TARGET, or src=…,dst=…,opt=K=V.",
    ),
    Mistake(
        "docker run -o results ubuntu",
        125,
        "Error: --output results: not NAME:PATH with an absolute path.\nFor example --output results:/outputs",
    ),
    Mistake("wasm run nope.wasm", 125, "Error: nope.wasm is not a file.\nName a .wasm file of this machine."),
    Mistake(
        "run nope.yaml", 125, "Error: nope.yaml cannot be read: No such file or directory.\nName a YAML or JSON file."
    ),
    Mistake("run ubuntu", 125, "Error: ubuntu is no file here.\nName a job file; a container: skrei docker run ubuntu"),
    Mistake(
        "run bad.yaml",
        125,
        "Error: bad.yaml is not YAML, line 4, column 4: while parsing a block collection, expected <block end>, but found "
        "'<block mapping start>'.\nLook at the indentation and the quotes there and above.",
    ),
    Mistake(
        "run key.yaml",
        125,
        "Error: key.yaml is not a job:\n  unknown field: 'Typ' in 'Job' (did you mean Type?)\n"
        "Correct the file; `skrei job validate FILE` reads it without an API.",
    ),
    Mistake(
        "list --api http://",
        1,
        "Error: 'http://' is not the address of an API.\nAn address looks like http://127.0.0.1:1234 or host:1234.",
    ),
    Mistake(
        "list --api 127.0.0.1:9",
        1,
        "Error: No Skrei API answers at http://127.0.0.1:9.\n"
        "Start one with `skrei serve`, or name another with --api URL (or SKREI_API_URL).",
    ),
    Mistake(
        "list --api WEBSITE",
        1,
        "Error: What answers at WEBSITE is no Skrei API: 404 Not Found from shop/1.0.\n"
        "Check the address (--api URL, or SKREI_API_URL); `skrei doctor` looks too.",
    ),
    Mistake(
        "list --api MAIL",
        1,
        "Error: What answers at MAIL is no Skrei API: it does not speak HTTP.\n"
        "Check the address (--api URL, or SKREI_API_URL); `skrei doctor` looks too.",
    ),
    Mistake(
        "describe - --api 127.0.0.1:9",
        1,
        "Error: `-` is the last job, and none was submitted to http://127.0.0.1:9 from here.\nskrei list shows every job.",
    ),
    Mistake(
        "serve --prot 3",
        2,
        "Error: skrei serve: there is no --prot.\nDid you mean --port? All options: skrei serve --help",
    ),
    Mistake(
        "list --order-by size",
        2,
        "Error: skrei list: --order-by size: allowed are created_at, modified_at.\nAll options: skrei list --help",
    ),
]
WITH_AN_API = [
    Mistake("describe nope", 1, "Error: job not found: nope\n`skrei job list` shows what there is"),
    Mistake(
        "describe j-",
        1,
        "Error: multiple jobs found for id j-: j-ID, j-ID\nUse the full id",
    ),
    Mistake("node describe n-nope", 1, "Error: node not found: n-nope\nskrei node list shows what there is."),
    Mistake(
        "logs taken -e e-nope",
        1,
        "Error: execution not found: e-nope (job j-ID)\nskrei describe taken tells how it stands, and its executions.",
    ),
    Mistake(
        "stop taken", 1, "Error: cannot stop job in state Completed (job j-ID)\nIt has ended: skrei describe taken"
    ),
    Mistake(
        "list",
        1,
        "Error: the token is not the owner token of this server\nSet SKREI_API_KEY to what stands in keys/owner.token of "
        "the server's data folder, or unset it on that machine",
        env="SKREI_API_KEY=expired",
    ),
    Mistake(
        "list --api TLS",
        1,
        "Error: TLS speaks no TLS.\nTry --api API",
    ),
    Mistake(
        "wasm run --name taken hello.wasm",
        125,
        "Error: no changes detected for new job spec. Job Name: 'taken'; its job j-ID is at version 1\n"
        "Use the --force flag to override this warning; `skrei job rerun` runs it again as it is, `--name "
        "OTHER` under another name",
    ),
    Mistake(
        "wasm run -q --memory lots hello.wasm",
        125,
        'Error: Tasks[0].Resources.Memory: "lots"; allowed: bytes such as `512Mb`, `1Gi` or plain digits\n'
        "--memory says it. All options: skrei wasm run --help",
    ),
    Mistake(
        "wasm run -q -e path=x hello.wasm",
        125,
        'Error: Tasks[0].Env.path: "path"; allowed: a name of upper case letters, digits and `_` that begins with a '
        "letter, and not with `BACALHAU_`\n--env says it. All options: skrei wasm run --help",
    ),
    Mistake(
        "wasm run -q --cpu 9000 hello.wasm",
        125,
        "Error: job j-ID failed: not enough nodes to run job. requested: 1, available: 1, suitable: 0.\n"
        "• Node n-ID: job requires more CPU (9000) than the maximum available (CORES)\nMore: skrei describe j-ID",
    ),
    Mistake(
        "wasm run -q -s region=mars hello.wasm",
        125,
        "Error: job j-ID failed: not enough nodes to run job. requested: 1, available: 1, suitable: 0.\n"
        "• Node n-ID: labels do not match region=mars\nMore: skrei describe j-ID",
    ),
    Mistake(
        "wasm run -q --entry-point main hello.wasm",
        125,
        "Error: job j-ID failed: unable to find the entrypoint 'main' in the WASM module; it exports _start\n"
        "More: skrei describe j-ID",
    ),
    Mistake(
        "wasm run -q not.wasm",
        125,
        "Error: not.wasm is no WebAssembly module.\nCompile the program for WASI (wasm32-wasi), and name that file.",
    ),
    Mistake(
        "serve --data-dir DIR/other --port PORT --publisher-port 0 --nats-port 0",
        1,
        "Error: 127.0.0.1:PORT cannot be listened on: Address already in use\n"
        "Stop what listens there, or choose another port with --port",
    ),
    Mistake("get nope", 1, "Error: job not found: nope\n`skrei job list` shows what there is"),
    Mistake(
        "get --outptu-dir x taken",
        2,
        "Error: skrei get: there is no --outptu-dir.\nDid you mean --output-dir? All options: skrei get --help",
    ),
]


class _Website(BaseHTTPRequestHandler):
    server_version, sys_version = "shop/1.0", ""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        return


class _Mail(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"220 mail.example ESMTP\r\n")
        self.request.recv(4096)


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    with live_stack() as running:
        yield running


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="skrei-test-") as made:
        place = Path(made)
        place.chmod(0o711)
        (place / "hello.wasm").write_bytes(program(Say(b"hello\n")))
        (place / "not.wasm").write_bytes(b"x")
        (place / "bad.yaml").write_text("Type: batch\nTasks:\n  - Name: main\n   Engine: {Type: wasm}\n")
        (place / "key.yaml").write_text("Typ: batch\nTasks: []\n")
        yield place


@pytest.fixture(scope="module")
def places(folder: Path) -> Iterator[dict[str, str]]:
    """Addresses of servers that are not Skrei, by the words that stand for them."""
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), _Website) as website,
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Mail) as mail,
    ):
        for server in (website, mail):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield {
            "DIR": str(folder),
            "WEBSITE": f"http://127.0.0.1:{website.server_address[1]}",
            "MAIL": f"http://127.0.0.1:{mail.server_address[1]}",
        }
        website.shutdown()
        mail.shutdown()


def make(mistake: Mistake, places: dict[str, str]) -> tuple[int, str]:
    """Type it; return the exit code and what was told, with the run's own names written as in the table."""
    typed = mistake.typed
    for word, value in places.items():
        typed = typed.replace(word, value)
    folder = Path(places["DIR"])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SKREI_", "BACALHAU_"))}
    environment |= {"XDG_STATE_HOME": str(folder / "state"), "SKREI_DATA_DIR": str(folder / "nowhere")}
    environment |= {"SKREI_API_URL": places["API"]} if "API" in places else {}
    environment |= dict([mistake.env.split("=")]) if mistake.env else {}
    done = subprocess.run(
        [SKREI, *shlex.split(typed)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert done.stdout == ""
    told = done.stderr.rstrip("\n")
    for word, value in places.items():
        told = told.replace(value, word)
    told = re.sub(r"\b([jne])-[0-9a-f]{8}(-[0-9a-f-]{27})?", r"\1-ID", told)
    return done.returncode, re.sub(r"than the maximum available \(\d+\)", "than the maximum available (CORES)", told)


def named(mistake: Mistake) -> str:
    return f"{mistake.env} {mistake.typed}".strip()


@pytest.mark.parametrize("mistake", WITHOUT_AN_API, ids=named)
def test_a_mistake_that_needs_no_api_is_told_with_what_to_do(mistake: Mistake, places: dict[str, str]) -> None:
    assert make(mistake, places) == (mistake.code, mistake.told)


@pytest.fixture(scope="module")
def running(stack: LiveStack, places: dict[str, str]) -> dict[str, str]:
    """The words of an API with two jobs, one of them called `taken`."""
    api = stack.state()["api_url"]
    words = places | {"API": api, "TLS": api.replace("http:", "https:"), "PORT": api.rsplit(":", 1)[1]}
    for name in ("taken", "other"):
        environment = os.environ | {"SKREI_API_URL": api, "XDG_STATE_HOME": f"{places['DIR']}/state"}
        command = [SKREI, "wasm", "run", "--name", name, f"{places['DIR']}/hello.wasm"]
        subprocess.run(command, capture_output=True, check=True, env=environment)
    return words


@pytest.mark.parametrize("mistake", WITH_AN_API, ids=named)
@pytest.mark.row("7.3/job-stop-ended")
def test_a_mistake_at_an_api_is_told_with_what_to_do(mistake: Mistake, running: dict[str, str]) -> None:
    assert make(mistake, running) == (mistake.code, mistake.told)


def test_a_path_that_is_not_handed_out_is_told_with_the_setting_and_the_command(running: dict[str, str]) -> None:
    mistake = Mistake("wasm run -q -i /etc:/etc hello.wasm", 125, "")
    code, told = make(mistake, running)
    assert code == 125
    assert "SKREI_ALLOW_LOCAL=/etc or `skrei serve --allow-local '/etc'`" in told


def test_thirty_mistakes_are_known() -> None:
    assert len({mistake.typed for mistake in [*WITHOUT_AN_API, *WITH_AN_API]}) >= 30
