"""How single values read: ages, sizes, short ids, columns."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skrei.views import Execution

_LAYOUT = frozenset(b"\t\n\r")
_SHOWN = {code: f"^{chr(code ^ 64)}" for code in [*range(32), 127] if code not in _LAYOUT}
_SHOWN |= {code: f"\\x{code:02x}" for code in range(128, 160)}
_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""What turns the order of what follows around: a name could show as another."""
_SHOWN |= {code: f"\\u{code:04x}" for code in _BIDI}
"""Control characters as `cat -v` shows them."""
_CONTROL = {code: "\ufffd" for code in [*range(32), *range(127, 160), *_BIDI] if code not in {9, 10}}
_ESCAPED = {code: f"\\u{code:04x}" for code in [*range(127, 160), *_BIDI]}


NO_NODE = "available: 0, suitable: 0."
"""How a reason ends when no node was known: of a known one it would tell why not, in lines below."""
NO_DOCKER = "does not support docker"
"""How a node without Docker refuses."""


def with_next_step(reason: str) -> str:
    """Return why a job waits or waited and, when that is for want of any node or of Docker, what to do about it.

    A job that is asked about while it waits for a node brings the command that starts one with it.
    """
    todo = next_step_of(reason)
    return f"{reason}\n{todo}" if todo else reason


def next_step_of(reason: str) -> str:
    """Return what to do about a reason that a job waits or failed for; empty where it says so itself."""
    if reason.endswith(NO_NODE):
        return "No node had joined; `skrei node join-line` prints the command that makes another machine one."
    nodes = [line for line in reason.splitlines() if line.startswith("\N{BULLET}")]
    if nodes and all(NO_DOCKER in line for line in nodes):
        return "No node can run containers: `skrei doctor` tells how to get Docker here."
    return ""


def clean(text: str) -> str:
    """Return text in which no control character can speak to a terminal: names and messages come from others."""
    return text.translate(_CONTROL)


def harmless(text: str) -> str:
    """Return a program's output for a terminal: a control character that could speak to it is shown (`^[`) instead.

    Tabs, ends of lines and the return to a line's beginning stay: output is laid out with them.
    """
    return text.translate(_SHOWN)


def escaped(json_text: str) -> str:
    """Return JSON that means the same and in which nothing speaks to a terminal, or turns what is read around."""
    return json_text.translate(_ESCAPED)


def capital(text: str) -> str:
    """Return text as a sentence begins; the rest of it stays as it is."""
    return text[:1].upper() + text[1:]


def part_of(execution: "Execution", *, by_node: bool) -> str:
    """Return an execution's partition; of a job that runs on every node, its node."""
    return short(execution.node_id) if by_node else str(execution.partition)


def short(id_: str) -> str:
    """Return the first ten characters of an id made by Skrei (`j-1a2b3c4d`); other names stay whole."""
    return id_[:10] if len(id_) == 38 and id_[1] == "-" else id_


def ago(at: datetime) -> str:
    """Return how long ago that was; an absent time is empty."""
    if at.timestamp() <= 0:
        return ""
    seconds = max((datetime.now(UTC) - at).total_seconds(), 0)
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "m"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f}{unit} ago"
    return f"{seconds / 86400:.0f}d ago"


def moment(at: datetime) -> str:
    """Return a time in UTC, to the second, as programs read it; an absent time is empty."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if at.timestamp() > 0 else ""


def instant(at: datetime) -> str:
    """Return a time in UTC, to the millisecond, as programs read it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def clock(at: datetime) -> str:
    """Return the local time of day with milliseconds."""
    return f"{at.astimezone():%H:%M:%S}.{at.microsecond // 1000:03d}"


def indented(text: str, by: int = 12) -> str:
    """Return text whose further lines stand under its first."""
    return ("\n" + " " * by).join(text.splitlines()) if text else ""


def quantity(size_bytes: float) -> str:
    """Return bytes in the largest binary unit that keeps them above one."""
    size, unit = size_bytes, "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


def separated(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield lines of CSV (RFC 4180, ended by a line feed), the headings first."""
    for row in [headers, *rows]:
        yield ",".join(_csv_cell(clean(cell)) for cell in row)


def _csv_cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text


def columns(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield aligned lines; a cell's line breaks become spaces, and a column that is empty throughout is left out."""
    cells = [[clean(" ".join(cell.split())) for cell in row] for row in rows]
    shown = [n for n in range(len(headers)) if not cells or any(row[n] for row in cells)]
    widths = [max(len(headers[n]), *(len(row[n]) for row in cells), 0) for n in range(len(headers))]
    for row in [list(headers), *cells]:
        yield "  ".join(f"{row[n]:<{widths[n]}}" for n in shown).rstrip()
