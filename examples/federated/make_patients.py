"""Write patients that never were, of one hospital: `python3 make_patients.py FOLDER [ROWS] [SEED]`.

Four measurements and whether one fell ill. Every hospital sees other patients: one has old ones, another one young
ones, so that none of them can learn from its own alone what holds for all.
"""

import math
import random
import sys
from pathlib import Path

WEIGHTS = (1.5, -2.0, 1.0, 0.0)


def main() -> None:
    """Write one file."""
    folder, rows = Path(sys.argv[1]), int((sys.argv[2:3] or ["1000"])[0])
    chance = random.Random((sys.argv[3:4] or ["federated"])[0])
    folder.mkdir(parents=True, exist_ok=True)
    usual = [chance.uniform(-1, 1) for _ in WEIGHTS]
    with (folder / "patients.csv").open("w") as file:
        for _ in range(rows):
            values = [chance.gauss(mean, 0.8) for mean in usual]
            odds = sum(weight * value for weight, value in zip(WEIGHTS, values, strict=True))
            ill = chance.random() < 1 / (1 + math.exp(-2 * odds))
            file.write(",".join(f"{value:.3f}" for value in values) + f",{ill:d}\n")


if __name__ == "__main__":
    main()
