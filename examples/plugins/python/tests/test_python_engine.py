"""The engine by the contract of all engines, and what it alone promises."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from skrei_domain.node import Gpu
from skrei_engine_python.devices import visible
from skrei_engine_python.engine import PythonEngine
from skrei_plugin_api.aside import apart
from skrei_plugin_api.engine import FailureCode, Mount, Output, RunOutcome, RunRequest
from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.testing import Behaviour, EngineContract, Program, Running, eventually

BEHAVE = """
import json, os, sys, time
does = json.loads(sys.argv[1])
sys.stdout.write(does["say"]); sys.stderr.write(does["say_error"]); sys.stdout.flush()
if does["print_env"]:
    sys.stdout.write("".join(f"{name}={value}\\0" for name, value in os.environ.items()))
if does["print_file"]:
    sys.stdout.write(open(does["print_file"].lstrip("/")).read())
for name, text in does["write"].items():
    open(name, "w").write(text)
sys.stdout.flush()
while does["forever"]:
    time.sleep(60)
if does["trap"]:
    os.abort()
sys.exit(does["exit_code"])
"""


@pytest.fixture
def engine(tmp_path: Path) -> PythonEngine:
    return PythonEngine(PluginContext(tmp_path / "state", options={"python_environments": f"own={sys.prefix}"}))


class TestPython(EngineContract):
    """What every engine does."""

    invalid: ClassVar[Mapping[str, Params]] = {
        "Script": {"Environment": "own"},
        "Environment": {"Script": "/main.py", "Environment": 3},
        "Parameters": {"Script": "/main.py", "Environment": "own", "Parameters": "no list"},
    }
    surroundings = frozenset({"LC_CTYPE"})  # Python's own, where no language is set

    def program(self, behaviour: Behaviour, folder: Path) -> Program:
        (folder / "main.py").write_text(BEHAVE)
        params = {
            "Script": "/main.py",
            "Environment": "own",
            "Parameters": [json.dumps(asdict(behaviour))],
        }
        return Program(params, (Mount(folder / "main.py", "/main.py"),))


def request(
    folder: Path, script: str, *, environment: str = "own", mounts: tuple[Mount, ...] = (), **given: Any
) -> RunRequest:
    (folder / "script.py").write_text(script)
    (folder / "work").mkdir()
    params = {"Script": "/script.py", "Environment": environment, "Parameters": []}
    every = (Mount(folder / "script.py", "/script.py"), *mounts)
    return RunRequest("e-1", 1, params, folder / "work", mounts=every, **given)


def ran(engine: PythonEngine, asked: RunRequest) -> RunOutcome:
    return asyncio.run(engine.run(asked, Running()))


def refused(outcome: RunOutcome) -> tuple[FailureCode, str]:
    assert outcome.failure is not None
    return outcome.failure.code, outcome.failure.message


def alive(pid: int) -> bool:
    """Whether it runs: what is dead and was not asked for yet does not."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_script_has_the_libraries_of_its_environment_and_modules_beside_it(
    engine: PythonEngine, tmp_path: Path
) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job/main.py").write_text("import sys, beside, pydantic; print(beside.WORD, *sys.argv[1:])")
    (tmp_path / "job/beside.py").write_text("WORD = 'hello'")
    params = {"Script": "/job/main.py", "Environment": "own", "Parameters": ["you", "there"]}
    asked = replace(request(tmp_path, ""), params=params, mounts=(Mount(tmp_path / "job", "/job"),))
    outcome = ran(engine, asked)
    assert (outcome.exit_code, outcome.stdout_head.data) == (0, b"hello you there\n"), outcome.stderr_head


def test_an_environment_that_the_owner_did_not_name_is_refused(tmp_path: Path) -> None:
    options = {"python_environments": f"own={sys.prefix} gone=/nowhere"}
    named = PythonEngine(PluginContext(tmp_path, options=options))
    for name in ("other", "gone", "../own", sys.prefix):
        asked = request(tmp_path, "", environment=name)
        assert refused(ran(named, asked)) == (
            FailureCode.EXECUTABLE_INVALID,
            f"this node has no Python environment {name!r}; it has gone, own",
        )
        asked.workdir.rmdir()


def test_a_node_says_which_environments_it_has(tmp_path: Path) -> None:
    options = {"python_environments": f"own={sys.prefix} gone=/nowhere"}
    info = asyncio.run(apart(PythonEngine(PluginContext(tmp_path, options=options)).describe))
    assert (info.available, info.version, info.missing_paths) == (True, "0.5.0: gone, own", ("/nowhere/bin/python",))
    none = asyncio.run(apart(PythonEngine(PluginContext(tmp_path)).describe))
    told = "its owner names no Python environments (SKREI_PLUGIN_OPTIONS=python_environments=NAME=FOLDER)"
    assert (none.available, none.reason) == (False, told)


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (["/in", "/in"], "'/in' lies where another input or output is"),
        (["/../in"], "'/../in' is no place below the folder that a script runs in"),
        (["/"], "'/' is no place below the folder that a script runs in"),
        (["/folder", "/folder/in"], "'/folder/in' lies inside of another input or output"),
        (["/script.py/in"], "'/script.py/in' lies inside of another input or output"),
        (["/folder/in", "/folder"], "'/folder' lies where another input or output is"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    engine: PythonEngine, tmp_path: Path, targets: list[str], told: str
) -> None:
    (tmp_path / "data").mkdir()
    mounts = tuple(Mount(tmp_path / "data", target) for target in targets)
    asked = request(tmp_path, "print('never')", mounts=mounts)
    assert refused(ran(engine, asked)) == (FailureCode.INPUT_INVALID, told)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_network_that_it_cannot_keep_to_is_refused(engine: PythonEngine, tmp_path: Path) -> None:
    code, told = refused(ran(engine, request(tmp_path, "", network="HTTP", domains=("example.org",))))
    assert (code, "nothing filters it" in told) == (FailureCode.NETWORK_UNSUPPORTED, True)


def test_a_script_is_told_which_gpus_are_its_own(engine: PythonEngine, tmp_path: Path) -> None:
    nvidia = (Gpu(index=1, vendor="NVIDIA", uuid="GPU-1b"), Gpu(index=3, vendor="NVIDIA", uuid="GPU-3d"))
    script = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['NVIDIA_VISIBLE_DEVICES'])"
    asked = request(tmp_path, script, gpus=nvidia, env={"CUDA_VISIBLE_DEVICES": "0,1,2,3"})
    assert ran(engine, asked).stdout_head.data == b"GPU-1b,GPU-3d GPU-1b,GPU-3d\n"
    assert visible([Gpu(index=2, vendor="AMD/ATI", uuid="0x1")]) == {"ROCR_VISIBLE_DEVICES": "2"}
    assert visible([Gpu(index=0, vendor="Intel")]) == {"ZE_AFFINITY_MASK": "0"}
    assert visible([Gpu(index=4, vendor="NVIDIA")])["CUDA_VISIBLE_DEVICES"] == "4"
    assert visible([]) == {}


async def test_a_script_that_is_stopped_is_asked_first(engine: PythonEngine, tmp_path: Path) -> None:
    script = """
import signal, sys, time
def leave(*_):
    open("out/kept.txt", "w").write("all that I know")
    sys.exit("good bye")
signal.signal(signal.SIGTERM, leave)
print("on")
time.sleep(60)
"""
    asked = request(tmp_path, script, outputs=(Output("out", "/out"),))
    run = asyncio.ensure_future(engine.run(asked, Running()))
    stdout = asked.workdir / "stdout"
    await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"on\n")
    run.cancel()
    await asyncio.wait([run])
    assert (asked.workdir / "outputs/out/kept.txt").read_text() == "all that I know"
    assert (asked.workdir / "stderr").read_text() == "good bye\n"


def test_what_a_script_started_ends_with_it(engine: PythonEngine, tmp_path: Path) -> None:
    script = (
        "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"
    )
    outcome = ran(engine, request(tmp_path, script))
    assert outcome.exit_code == 0
    asyncio.run(eventually(lambda: not alive(int(outcome.stdout_head.data))))  # killed is not yet gone


def test_what_left_the_session_of_a_script_does_not_hold_its_end_up(engine: PythonEngine, tmp_path: Path) -> None:
    script = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True).pid)"
    )
    outcome = ran(engine, request(tmp_path, script))
    assert outcome.exit_code == 0
    os.kill(int(outcome.stdout_head.data), signal.SIGKILL)


AGENT = """
import asyncio, sys
from pathlib import Path
from skrei_engine_python.engine import PythonEngine
from skrei_plugin_api.engine import Mount, RunRequest
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.testing import Running

folder = Path(sys.argv[1])
engine = PythonEngine(PluginContext(folder, options={"python_environments": f"own={sys.prefix}"}))
params = {"Script": "/script.py", "Environment": "own"}
mounts = (Mount(folder / "script.py", "/script.py"),)
asyncio.run(engine.run(RunRequest("e-1", 1, params, folder / "work", mounts=mounts), Running()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
async def test_a_script_ends_with_an_agent_that_is_killed(tmp_path: Path) -> None:
    stdout = request(tmp_path, "import os, time; print(os.getpid()); time.sleep(60)").workdir / "stdout"
    path = os.pathsep.join(sys.path)
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AGENT, str(tmp_path), env=os.environ | {"PYTHONPATH": path}
    )
    try:
        await eventually(lambda: stdout.exists() and stdout.read_bytes().endswith(b"\n"))
    finally:
        agent.kill()
        await agent.wait()
    pid = int(stdout.read_text())
    await eventually(lambda: not alive(pid))
