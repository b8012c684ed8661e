"""`python -m skrei_embedded.guard COMMAND…`: runs a command and ends it when the parent's pipe closes.

For programs that know nothing of the pipe, on systems whose kernel does not tell a child that its parent died.
"""

import os
import signal
import subprocess
import sys
import threading

from skrei_kit.supervisor import PARENT_PIPE


def main() -> None:
    """Run the command in our arguments; pass signals on; end with its exit code."""
    pipe = int(os.environ.pop(PARENT_PIPE))
    child = subprocess.Popen(sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: child.send_signal(number))

    def watch() -> None:
        while os.read(pipe, 64):
            pass
        child.send_signal(signal.SIGINT)  # Postgres: a fast stop; nats-server: a stop

    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
