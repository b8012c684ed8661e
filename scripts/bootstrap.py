"""Sets up `.venv`: `python3 -m scripts.bootstrap runtime|dev` from the root of the checkout.

This file alone must be readable by older Pythons, so that they can say which one is needed; it needs the standard
library only, and neither pip nor venv (Debian and Ubuntu ship neither with python3).
"""

import sys

OLDEST = (3, 11)


def main() -> int:
    """Check the interpreter, then hand over to `scripts.environment`."""
    if sys.version_info < OLDEST:
        sys.stderr.write(
            "Skrei needs Python {}.{} or newer, and {} is {}.{}. Install one and name it, for example: "
            "make demo PYTHON=python3.12\n".format(*OLDEST, sys.executable, *sys.version_info[:2])
        )
        return 1
    from scripts import environment

    return environment.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
