"""What ties a child process to its parent's life, and offers it first when memory runs out."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_KILL = int(signal.SIGKILL)
_LOOK_SECONDS = 0.5
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None  # once, for all children


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the process `parent` ends; where it cannot, a thread looks."""
    if _prctl is not None:
        if _prctl(_PR_SET_PDEATHSIG, _KILL, 0, 0, 0):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)
    else:
        import threading

        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def prefer_for_the_oom_killer() -> None:
    """Let the kernel end this process and its children before the agent, where it has such a preference."""
    try:
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    except (FileNotFoundError, PermissionError):
        return  # not Linux, or a container that forbids it: the kernel chooses by itself


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
