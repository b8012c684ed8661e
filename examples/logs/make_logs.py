"""Write access logs of a web server that never was: `python3 make_logs.py FOLDER [LINES] [SEED]`."""

import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

PATHS = ["/", "/fish", "/fish/cod", "/fish/saithe", "/harbours", "/harbours/svolvaer", "/search?q=cod", "/login"]
WEIGHTS = [30, 20, 14, 9, 8, 4, 10, 5]


def line(chance: random.Random, when: datetime) -> str:
    """Return a request: searches take long, and fail when they take very long."""
    path = chance.choices(PATHS, WEIGHTS)[0]
    seconds = chance.lognormvariate(-4.5, 0.6) * (12 if path.startswith("/search") else 1)
    status = 503 if seconds > 0.35 else 404 if chance.random() < 0.01 else 200
    sender = f"192.0.2.{chance.randrange(1, 255)}"
    return (
        f'{sender} - - [{when:%d/%b/%Y:%H:%M:%S %z}] "GET {path} HTTP/1.1" '
        f"{status} {chance.randrange(200, 40_000)} {seconds:.3f}\n"
    )


def main() -> None:
    """Write two files of as many lines each."""
    folder, lines = Path(sys.argv[1]), int((sys.argv[2:3] or ["5000"])[0])
    chance = random.Random((sys.argv[3:4] or ["logs"])[0])
    folder.mkdir(parents=True, exist_ok=True)
    for day in (1, 2):
        when = datetime(2026, 3, day, tzinfo=UTC)
        with (folder / f"access-{when:%Y-%m-%d}.log").open("w") as file:
            for _ in range(lines):
                when += timedelta(seconds=chance.expovariate(0.5))
                file.write(line(chance, when))
            file.write("\x16\x03\x01 somebody spoke TLS to the wrong port\n")


if __name__ == "__main__":
    main()
