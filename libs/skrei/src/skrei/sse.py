"""Server-sent events, read from pieces of bytes as they come. Pure."""

from dataclasses import dataclass, field

MOST_BYTES = 4 * 1024 * 1024
"""Of one event: far above an item of history; what has more is no feed of Skrei."""


class TooMuch(ValueError):
    """An event that does not end."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One event; `id` is the last one that the server named, which a reader that was cut off asks for the rest with."""

    kind: str
    data: str
    id: str


@dataclass
class Reader:
    """Takes what arrives and gives out what is whole."""

    last_id: str = ""
    _rest: bytes = b""
    _kind: str = ""
    _data: list[str] = field(default_factory=list)
    _bytes: int = 0

    def take(self, piece: bytes) -> list[Sent]:
        """Return the events that are whole with this piece. Raises TooMuch."""
        *lines, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n")
        found = []
        for line in lines:
            self._bytes += len(line)
            if sent := self._line(line.decode("utf-8", "replace")):
                found.append(sent)
            if self._bytes + len(self._rest) > MOST_BYTES:
                raise TooMuch
        if self._bytes + len(self._rest) > MOST_BYTES:
            raise TooMuch
        return found

    def _line(self, line: str) -> Sent | None:
        if not line:
            whole = Sent(self._kind or "message", "\n".join(self._data), self.last_id) if self._data else None
            self._kind, self._data, self._bytes = "", [], 0
            return whole
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._kind = value
            case "data":
                self._data.append(value)
            case "id":
                self.last_id = value
        return None
