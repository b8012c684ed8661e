"""A container's output as the daemon tells it: frames on the wire, and the bytes that the program wrote. Pure.

While a run is attended its output comes by `attach`, byte for byte. After the agent was away it is read from the
daemon's log, which is kept by the driver `local`: it holds any bytes (`json-file` would replace what is not UTF-8),
but forgets the newline after a line of 16 KiB or more; `Restored` puts that back. The one case that cannot be told is
a line of exactly a multiple of 16 KiB.
"""

import struct
from collections.abc import Iterator

_HEADER = struct.Struct(">BxxxL")
_STREAMS = (1, 2)
PIECE_BYTES = 16 * 1024
"""Where the daemon's log cuts long lines."""


class Demultiplexer:
    """Cuts the daemon's stream into (stream, data): 1 is stdout, 2 stderr."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Return the frames that are complete now."""
        held = self._left + data
        at = 0
        while len(held) - at >= _HEADER.size:
            stream, size = _HEADER.unpack_from(held, at)
            end = at + _HEADER.size + size
            if len(held) < end:
                break
            if stream in _STREAMS and size:
                yield stream, held[at + _HEADER.size : end]
            at = end
        self._left = held[at:]


class Restored:
    """The frames of a log as what was written, without the first bytes of each stream that are here already."""

    def __init__(self, skip: dict[int, int]) -> None:
        self._skip = dict(skip)
        self._cut: dict[int, bool] = {}

    def take(self, stream: int, data: bytes) -> bytes:
        """Return what is new of a frame."""
        lost = self._cut.get(stream, False)
        self._cut[stream] = not data.endswith(b"\n") and len(data) != PIECE_BYTES
        if lost:
            data = b"\n" + data
        skipped = min(self._skip.get(stream, 0), len(data))
        self._skip[stream] = self._skip.get(stream, 0) - skipped
        return data[skipped:]
