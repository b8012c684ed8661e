"""Amounts of bytes as people read them. Pure."""


def amount(size_bytes: int) -> str:
    """Return bytes as links and disks are sold, with two digits that count: `61 MB`, `1.3 KB`."""
    size, unit = float(size_bytes), "B"
    for larger in ("KB", "MB", "GB", "TB", "PB"):
        if round(size) < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 9.95 else f"{size:.1f} {unit}"
