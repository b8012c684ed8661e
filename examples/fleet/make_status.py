"""Write the package list of a Debian machine that never was: `python3 make_status.py FILE [SEED]`."""

import random
import sys
from pathlib import Path

VERSIONS = {
    "fishd": ["2.4.1-2", "2.4.1-3", "2.4.1-3+b1"],
    "libsonar4": ["4.0~rc1-1", "4.0~rc2-1", "4.0-1"],
    "nettools": ["9.20-1", "1:1.9-4", "1:1.10-1"],
    "hello": ["2.10-3"],
}


def main() -> None:
    """Write each package in one of its versions, and one that was removed."""
    file, chance = Path(sys.argv[1]), random.Random((sys.argv[2:3] or ["fleet"])[0])
    file.parent.mkdir(parents=True, exist_ok=True)
    found = [(name, "install ok installed", chance.choice(versions)) for name, versions in VERSIONS.items()]
    found.append(("oldfish", "deinstall ok config-files", "1.0-1"))
    file.write_text(
        "\n".join(
            f"Package: {name}\nStatus: {status}\nVersion: {version}\nDescription: {name}\n of many words\n"
            for name, status, version in found
        )
    )


if __name__ == "__main__":
    main()
