"""What runs before a script, in its interpreter: the script is to end with its agent, even with one that was killed."""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run the script that the first argument names with the others, as the interpreter itself would."""
    agent, script = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != agent:  # it ended before we could say so
        os._exit(1)
    sys.argv[:] = sys.argv[2:]
    sys.path[0] = os.path.dirname(script)  # noqa: PTH120 - pathlib is not imported for every script
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
