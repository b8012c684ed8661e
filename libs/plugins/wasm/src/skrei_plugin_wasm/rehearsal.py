"""What the zygote does once so that each of its children need not: it runs a program that does nothing, some times.

A process that runs its first program finds much undone: functions that Python has not specialised yet, types that are
made when they are first used, headers that are not cached. And where it counts a reference to what it shares with the
zygote, the page is copied for it: each function that it calls costs it up to two. So what is called is moved together.
"""

import ctypes
import gc
import os
import shutil
import sys
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

from skrei_plugin_wasm.sandbox import Sandbox

TIMES = 12
"""Python specialises a function at its eighth call."""
_MADV_DONTNEED = 4
PROGRAM = bytes.fromhex(
    "0061736d01000000010401600000030201000503010001071302066d656d6f72790200065f737461727400000a040102000b"
)
"""`(module (memory (export "memory") 1) (func (export "_start")))`: what asks for nothing of WASI starts no thread."""


def rehearse(sandbox: Sandbox, folder: Path) -> None:
    """Run the program, and move together what that takes; `folder` is where files of programs may lie."""
    place = folder / "rehearsal"
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700, parents=True)
        (place / "program.wasm").write_bytes(PROGRAM)
        if _compiled(sandbox):
            with sandbox.rehearsing():
                _move_together(_called(sandbox, place))
                for number in range(TIMES):
                    _run(sandbox, place, number)
    except OSError:
        return  # the disk is full, or broken: the runs of this node will tell it, and children begin unrehearsed
    finally:
        shutil.rmtree(place, ignore_errors=True)


def let_go_of_code() -> None:
    """Drop what this process has mapped of wasmtime's code: some 7 MB, most of it for what is done once. Children map
    by themselves what they use."""
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "_libwasmtime" in line and " r-xp " in line:
            start, end = (int(address, 16) for address in line.split()[0].split("-"))
            if madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))


def _compiled(sandbox: Sandbox) -> bool:
    """Whether the program is compiled, in a process of its own where it has to be: compiling starts threads."""
    if sandbox.modules.find(PROGRAM) is not None:
        return True
    process = os.fork()
    if process == 0:
        try:
            sandbox.modules.get(PROGRAM)
        finally:
            os._exit(0)
    os.waitpid(process, 0)
    return sandbox.modules.find(PROGRAM) is not None


def _called(sandbox: Sandbox, place: Path) -> set[CodeType]:
    """Return what is called in one run."""
    found: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            found.add(frame.f_code)

    sys.setprofile(note)
    try:
        _run(sandbox, place, TIMES)
    finally:
        sys.setprofile(None)
    return found


def _move_together(called: set[CodeType]) -> None:
    """Give functions copies of their code, made one after the other."""
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__ in called:
            one.__code__ = one.__code__.replace()


def _run(sandbox: Sandbox, place: Path, number: int) -> None:
    workdir = place / str(number)
    workdir.mkdir()
    order: dict[str, Any] = {
        "workdir": str(workdir),
        "module": "program.wasm",
        "entrypoint": "_start",
        "args": ["x"],
        "imports": [],
        "env": [["x", "x"]],
        "mounts": [[str(place / "program.wasm"), "program.wasm", False]],
        "outputs": [],
        "memory": 1024**2,
        "timeout": None,
        "network": "None",
        "domains": [],
        "private": [],
        "services": [],
        "stops": False,
        "max_output": 1024**2,
        "max_stream": 1024**2,
        "inline_limit": 1024**2,
    }
    sandbox.run(order)
    sandbox.tidy()
