"""The examples' own programs, run by themselves: a module, its words, its folders and nothing of Skrei."""

import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import wasmtime

from scripts.environment import ROOT

EXAMPLES = ROOT / "examples"
STREAMS = ("said.txt", "said-error.txt")


@cache
def _compiled(name: str) -> tuple[wasmtime.Engine, wasmtime.Module]:
    engine = wasmtime.Engine()
    return engine, wasmtime.Module.from_file(engine, str(EXAMPLES / f"{name}.wasm"))


def run(name: str, *words: str, folder: Path, **env: str) -> tuple[int, str]:
    """Run examples/NAME.wasm with `folder` as its `/`; return its exit code, and what it said on both streams."""
    engine, module = _compiled(name)
    config = wasmtime.WasiConfig()
    config.argv = ["", *words]
    config.env = list(env.items())
    config.preopen_dir(str(folder), "/")
    config.stdout_file, config.stderr_file = (str(folder / name) for name in STREAMS)
    store = wasmtime.Store(engine)
    store.set_wasi(config)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    code = 0
    try:
        start = linker.instantiate(store, module).exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        start(store)
    except wasmtime.ExitTrap as ended:
        code = ended.code
    text = told(folder)
    for stream in STREAMS:
        (folder / stream).unlink()
    return code, text


def told(folder: Path) -> str:
    """Return what a program that runs in `folder` has said so far."""
    return "".join(path.read_text() for path in (folder / name for name in STREAMS) if path.exists())


def run_parts(name: str, *words: str, count: int, into: str, folder: Path) -> list[str]:
    """Run each of so many parts, OUTPUT in `words` being its folder `<into>/<number>`; return what they said."""
    all_said = []
    for number in range(count):
        output = f"{into}/{number}"
        (folder / output).mkdir(parents=True)
        own = [f"/{output}" if word == "OUTPUT" else word for word in words]
        code, said = run(
            name, *own, folder=folder, BACALHAU_PARTITION_INDEX=str(number), BACALHAU_PARTITION_COUNT=str(count)
        )
        assert code == 0, said
        all_said.append(said)
    return all_said


def made(script: str, folder: Path, *words: str) -> Path:
    """Have an example's own script write its data into `folder`; return it."""
    subprocess.run([sys.executable, EXAMPLES / script, folder, *words], check=True, timeout=60)
    return folder


def counted(path: Path) -> Mapping[str, int]:
    """Read a file of lines `count name`."""
    pairs = (line.split(" ", 1) for line in path.read_text().splitlines())
    return {name: int(count) for count, name in pairs}
