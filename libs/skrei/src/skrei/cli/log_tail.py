"""The end of a service's log for a person: one line an event, repeats counted, of a traceback what matters."""

import itertools
import json
from collections.abc import Iterable
from pathlib import Path

LINES = 25
READ_BYTES = 256 * 1024
"""Read from the end: enough for LINES events with their tracebacks."""
TRACE_LINES = 4
_KNOWN = frozenset({"timestamp", "service", "level", "event", "exception"})


def tail(path: Path, lines: int = LINES) -> str:
    """Return the last events of a log file; empty for one that cannot be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - READ_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    told = [_told(line) for line in text.splitlines() if line.strip()]
    return "\n".join(_counted(told)[-lines:])


def _told(line: str) -> tuple[str, str]:
    """Return when something happened, and what; a line that is no event is all what."""
    try:
        event = json.loads(line)
    except ValueError:
        return "", line
    if not isinstance(event, dict) or "event" not in event:
        return "", line
    at = str(event.get("timestamp", ""))[11:23]
    fields = " ".join(f"{key}={value}" for key, value in event.items() if key not in _KNOWN)
    what = f"{event.get('service', ''):<17} {event.get('level', ''):<7} {event['event']} {fields}".rstrip()
    trace = str(event.get("exception", "")).splitlines()[-TRACE_LINES:]
    return at, "\n".join([what, *(f"    {text}" for text in trace)])


def _counted(told: Iterable[tuple[str, str]]) -> list[str]:
    lines = []
    for what, group in itertools.groupby(told, key=lambda pair: pair[1]):
        times = [at for at, _ in group]
        first = f"{times[0]} {what}" if times[0] else what
        lines.append(first + (f"\n    ({len(times)} times)" if len(times) > 1 else ""))
    return lines
