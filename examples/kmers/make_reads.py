"""Write FASTA files with reads of a genome that never was: `python3 make_reads.py FOLDER [BASES] [SEED]`."""

import random
import sys
from pathlib import Path

COVERAGE = 20
"""How often each base is read, on average."""
READ = 100
WRONG = 0.002
"""Of the bases that are read."""
FILES = 8
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def read(chance: random.Random, genome: str) -> str:
    """Return some bases of either strand as a machine reads them."""
    start = chance.randrange(len(genome) - READ)
    bases = genome[start : start + READ]
    if chance.random() < 0.5:
        bases = bases.translate(COMPLEMENT)[::-1]
    return "".join(chance.choice("ACGT") if chance.random() < WRONG else base for base in bases)


def main() -> None:
    """Write as many reads into each file."""
    folder, size = Path(sys.argv[1]), int((sys.argv[2:3] or ["20000"])[0])
    chance = random.Random((sys.argv[3:4] or ["kmers"])[0])
    folder.mkdir(parents=True, exist_ok=True)
    genome = "".join(chance.choices("ACGT", k=size))
    reads = size * COVERAGE // READ // FILES
    for number in range(FILES):
        with (folder / f"reads-{number}.fa").open("w") as file:
            for each in range(reads):
                file.write(f">read-{number}-{each}\n{read(chance, genome)}\n")


if __name__ == "__main__":
    main()
