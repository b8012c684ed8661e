"""Durations as people read them."""

from datetime import timedelta


def duration(value: timedelta) -> str:
    """Return a duration as people write it: `1h2m3s`, `90s` as `1m30s`, `1.5s`."""
    seconds = value.total_seconds()
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [
        f"{int(hours)}h" if hours else "",
        f"{int(minutes)}m" if minutes else "",
        f"{seconds:g}s" if seconds else "",
    ]
    return "".join(parts) or "0s"
