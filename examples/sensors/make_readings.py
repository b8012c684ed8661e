"""Write readings of pumps that never were: `python3 make_readings.py FOLDER [READINGS] [SEED]`.

READINGS of 0 appends one a second to each, until it is stopped. Every 400th begins a fault of twenty readings.
"""

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PUMPS = {"pump-1": 4.0, "pump-2": 7.5}
FAULT_EVERY, FAULT = 400, 20


def readings(chance: random.Random, usual: float) -> Iterator[str]:
    """Yield lines without end."""
    second = 0
    while True:
        second += 1
        fault = usual * 0.8 if second >= FAULT_EVERY and second % FAULT_EVERY < FAULT else 0.0
        yield f"{second} {chance.gauss(usual, 0.1) + fault:.3f}\n"


def main() -> None:
    """Append to a file for each pump, side by side."""
    folder, count = Path(sys.argv[1]), int((sys.argv[2:3] or ["1000"])[0])
    folder.mkdir(parents=True, exist_ok=True)
    seed = (sys.argv[3:4] or ["sensors"])[0]
    pumps = {name: readings(random.Random(seed + name), usual) for name, usual in PUMPS.items()}
    while True:
        for name, lines in pumps.items():
            with (folder / name).open("a") as file:
                file.writelines(next(lines) for _ in range(count or 1))
        if count:
            return
        time.sleep(1)


if __name__ == "__main__":
    main()
