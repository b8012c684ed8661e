"""Write PNG pictures of a sea at night: `python3 make_pictures.py FOLDER [PICTURES] [SEED]`."""

import random
import struct
import sys
import zlib
from pathlib import Path

WIDTH, HEIGHT = 480, 320


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a part of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: list[bytes]) -> bytes:
    """Return a picture of rows of red, green and blue, each as its difference to the one above (a filter of PNG)."""
    filtered, above = bytearray(), bytes(len(rows[0]))
    for row in rows:
        filtered.append(2)
        filtered += bytes((now - before) & 255 for now, before in zip(row, above, strict=True))
        above = row
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(filtered), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def sea(chance: random.Random) -> list[bytes]:
    """Return a sky with a moon above waves."""
    moon_x, moon_y, moon = chance.randrange(60, WIDTH - 60), chance.randrange(50, 120), chance.randrange(15, 40)
    rows = []
    for y in range(HEIGHT):
        night = 40 + y // 4
        row = bytearray(bytes((night // 3, night // 2, min(255, night + 60))) * WIDTH)
        if y > HEIGHT // 2:
            for x in range(0, WIDTH, chance.randrange(7, 40)):
                row[3 * x : 3 * x + 9] = b"\x90\xa0\xc0" * min(3, WIDTH - x)
        for x in range(moon_x - moon, moon_x + moon):
            if (x - moon_x) ** 2 + (y - moon_y) ** 2 < moon * moon:
                row[3 * x : 3 * x + 3] = b"\xff\xf4\xd0"
        rows.append(bytes(row))
    return rows


def main() -> None:
    """Write them."""
    folder, pictures = Path(sys.argv[1]), int((sys.argv[2:3] or ["6"])[0])
    chance = random.Random((sys.argv[3:4] or ["thumbnails"])[0])
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(pictures):
        (folder / f"sea-{number}.png").write_bytes(png(sea(chance)))


if __name__ == "__main__":
    main()
