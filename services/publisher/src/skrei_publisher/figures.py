"""What the publisher tells of itself in figures."""

from collections.abc import Callable, Iterator

from skrei_kit.metrics import Figure, Figures, Sample, gauge


class PublisherFigures:
    """Counts what goes through the door."""

    def __init__(self, figures: Figures | None = None) -> None:
        figures = figures or Figures()
        self.uploads = figures.counter("skrei_uploads_total", "Receipts that were given for uploaded results.")
        self.upload_bytes = figures.counter("skrei_upload_bytes_total", "Bytes of these results.")
        self.downloads = figures.counter("skrei_downloads_total", "Results that were handed out.", ("source",))

    def uploaded(self, size: int) -> None:
        """Count an upload that came whole."""
        self.uploads.add()
        self.upload_bytes.add(size)


def store_figures(
    *,
    used: Callable[[], int],
    quota: int,
    pending: Callable[[], int],
    left_out: Callable[[], int],
    uploads: Callable[[], int],
) -> Iterator[Figure]:
    """Yield what the store holds, and what waits for the publisher."""
    yield gauge("skrei_store_bytes", "What the result store holds, uploads under way left out.", used())
    yield gauge("skrei_store_quota_bytes", "What it may hold.", quota)
    yield gauge("skrei_publisher_pending", "Results that wait to be taken over, made final or dropped.", pending())
    yield gauge("skrei_uploads_open", "Uploads that are under way.", uploads())
    yield Figure(
        "skrei_publisher_left_out_total",
        "counter",
        "Results that were left to the leader's next word, since too many waited.",
        (Sample(left_out()),),
    )
