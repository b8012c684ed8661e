"""Output of several partitions on one screen: whole lines, each with its partition in front. Pure."""


class Lines:
    """Cuts what one stream of one partition says into whole lines; the last one waits for its end."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._begun = b""

    def take(self, data: bytes) -> bytes:
        """Return what can be shown now."""
        *whole, self._begun = (self._begun + data).split(b"\n")
        return b"".join(self._prefix + line + b"\n" for line in whole)

    def rest(self) -> bytes:
        """Return the last line, which had no end; it gets one, since others follow it."""
        begun, self._begun = self._begun, b""
        return self._prefix + begun + b"\n" if begun else b""
