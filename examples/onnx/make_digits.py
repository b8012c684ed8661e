"""Write pictures of digits: `python3 make_digits.py FOLDER [DIGITS] [SEED]`, one file to learn from, four to read."""

import random
import sys
from pathlib import Path

SIZE, WIDTH, HEIGHT = 8, 5, 7
SHAPES = (
    "01110 10001 10011 10101 11001 10001 01110, 00100 01100 00100 00100 00100 00100 01110, "
    "01110 10001 00001 00010 00100 01000 11111, 11111 00010 00100 00010 00001 10001 01110, "
    "00010 00110 01010 10010 11111 00010 00010, 11111 10000 11110 00001 00001 10001 01110, "
    "00110 01000 10000 11110 10001 10001 01110, 11111 00001 00010 00100 01000 01000 01000, "
    "01110 10001 10001 01110 10001 10001 01110, 01110 10001 10001 01111 00001 00010 01100"
)


def picture(chance: random.Random, shape: list[str]) -> str:
    """Return a digit somewhere in its square, in ink of some strength, on paper with spots."""
    left, top = chance.randrange(SIZE - WIDTH + 1), chance.randrange(SIZE - HEIGHT + 1)
    ink, points = chance.randint(5, 9), [0] * (SIZE * SIZE)
    for row, line in enumerate(shape):
        for column, point in enumerate(line):
            points[(top + row) * SIZE + left + column] = ink if point == "1" else 0
    return "".join(str(min(9, max(0, point + round(chance.gauss(0, 1.5))))) for point in points)


def main() -> None:
    """Write them."""
    folder, digits = Path(sys.argv[1]), int((sys.argv[2:3] or ["2000"])[0])
    chance = random.Random((sys.argv[3:4] or ["onnx"])[0])
    shapes = [shape.split() for shape in SHAPES.split(",")]
    (folder / "unread").mkdir(parents=True, exist_ok=True)
    for name, count in {"learn.txt": digits, **{f"unread/{number}.txt": digits // 10 for number in range(4)}}.items():
        with (folder / name).open("w") as file:
            for _ in range(count):
                kind = chance.randrange(len(shapes))
                file.write(f"{kind} {picture(chance, shapes[kind])}\n")


if __name__ == "__main__":
    main()
