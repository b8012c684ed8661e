"""Try the GPU of this machine with Skrei, without Docker: `python3 examples/gpu/try_it.py [ENVIRONMENT]`.

It starts a stack of its own in a temporary folder, submits `matrix.yaml` twice, each time for a whole GPU, says which
device each run had and when, and stops everything again. ENVIRONMENT is the folder of the Python environment that has
PyTorch or CuPy; else that of the `python3` on PATH. Exit code 77: there is nothing to try here, and why.

The program wants `skrei` with the engine `python` (`pip install ./examples/plugins/python`) in the Python that runs it.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

from skrei import Client, JobHandle, SkreiError

JOB = Path(__file__).with_name("matrix.yaml")
START_SECONDS, RUN_SECONDS, STOP_SECONDS = 90.0, 180.0, 30.0
LOOK_SECONDS = 0.2
NOTHING_TO_TRY = 77
"""What test runners take for a test that was skipped."""
DEVICE, HELD = r"^assigned: CUDA_VISIBLE_DEVICES=(.+)$", r"^held from ([\d.]+) to ([\d.]+)$"
"""What matrix.py says of the device that it was given, and for how long."""


def main() -> int:
    """Try it; return the exit code."""
    environment = Path(sys.argv[1]) if sys.argv[1:] else _environment()
    if (missing := _missing(environment)) is not None:
        print(f"nothing to try here: {missing}")
        return NOTHING_TO_TRY
    folder = Path(tempfile.mkdtemp(prefix="skrei-gpu-"))
    folder.chmod(0o711)  # as root, Postgres runs under an account of its own, which has to pass
    port = _free_port()
    serve = _serve(folder, environment, port)
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            _wait_for_the_gpu(client, serve)
            return _two_jobs(client)
    except SkreiError as error:
        print(f"failed: {error.message}\n{(folder / 'log').read_text()[-4000:]}")
        return 1
    finally:
        serve.send_signal(signal.SIGTERM)
        serve.wait(STOP_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _environment() -> Path:
    """Return the environment of the `python3` on PATH."""
    told = subprocess.run(
        ["python3", "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True, timeout=60
    )
    return Path(told.stdout.strip())


def _missing(environment: Path) -> str | None:
    """Return what keeps this machine from trying it."""
    if shutil.which("nvidia-smi") is None:
        return "no `nvidia-smi` on PATH, so there is no NVIDIA GPU that could be found"
    if "python" not in entry_points(group="skrei.engines").names:
        return f"{sys.prefix} has no engine `python`: pip install ./examples/plugins/python"
    look = "import importlib.util as u, sys; sys.exit(not (u.find_spec('torch') or u.find_spec('cupy')))"
    if subprocess.run([environment / "bin/python", "-c", look], check=False, timeout=60).returncode:
        return f"{environment} has neither PyTorch nor CuPy; name an environment that has"
    return None


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _named(environment: Path, folder: Path) -> Path:
    """Return the environment as the node's owner names it: scripts get their job's variables and no others.

    Where a driver is found by LD_LIBRARY_PATH alone, that is the owner's to say, in front of the interpreter.
    """
    libraries = os.environ.get("LD_LIBRARY_PATH")
    if not libraries:
        return environment
    front = folder / "gpu/bin/python"
    front.parent.mkdir(parents=True)
    python = shlex.quote(str(environment / "bin/python"))
    front.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={shlex.quote(libraries)} exec {python} "$@"\n')
    front.chmod(0o755)
    return folder / "gpu"


def _serve(folder: Path, environment: Path, port: int) -> "subprocess.Popen[bytes]":
    """Start a stack with this environment as `gpu`; what it says goes to a file."""
    skrei = shutil.which("skrei", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert skrei is not None, "the package that was imported brings it"
    ports = ["--port", str(port), "--publisher-port", "0", "--nats-port", "0"]
    options = f"python_environments=gpu={_named(environment, folder)}"
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [skrei, "serve", "--data-dir", folder / "data", *ports],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"SKREI_PLUGIN_OPTIONS": options},
        )


def _wait_for_the_gpu(client: Client, serve: "subprocess.Popen[bytes]") -> None:
    """Return when the node has said that it has a GPU and the engine. Raises SkreiError where it does not."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            node = client.nodes.list()[0]
            found = [f"{key}={node.labels[key]}" for key in sorted(node.labels) if key.startswith("GPU-")]
            if "python" in node.engines and found:
                print("node:", " ".join(found))
                return
            seen = f"the node has the engines {', '.join(node.engines)} and these GPUs: {' '.join(found) or 'none'}"
        except (SkreiError, IndexError) as error:
            seen = f"the stack is not up: {error}"
        if serve.poll() is not None or time.monotonic() > until:
            raise SkreiError(seen)
        time.sleep(LOOK_SECONDS)


class Held(NamedTuple):
    """Which device a job had, and from when to when."""

    device: str
    began: float
    ended: float


def _two_jobs(client: Client) -> int:
    """Submit two jobs at once, each of which wants a GPU; return the exit code."""
    jobs = [client.jobs.run(JOB, name=name) for name in ("first", "second")]
    one, other = (_ended(job) for job in jobs)
    if one.device != other.device:
        print("\nboth had a GPU of their own")
    elif one.ended <= other.began or other.ended <= one.began:
        print("\nboth had the same GPU, one after the other")
    else:
        print("\nFAILED: both had the same GPU at the same time")
        return 1
    return 0


def _ended(job: JobHandle) -> Held:
    """Wait for a job, tell what it said, and return what it held. Raises SkreiError."""
    job.wait(timeout=RUN_SECONDS)
    said = "".join(one.stdout for one in job.executions())
    print(f"\n{job.name}: {job.state}\n{said}", end="")
    held, device = (re.search(pattern, said, re.MULTILINE) for pattern in (HELD, DEVICE))
    if job.exit_code() != 0 or held is None or device is None:
        raise SkreiError(job.message + "".join(one.stderr for one in job.executions()))
    return Held(device[1], float(held[1]), float(held[2]))


if __name__ == "__main__":
    sys.exit(main())
