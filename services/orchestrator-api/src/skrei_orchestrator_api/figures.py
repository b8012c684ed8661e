"""What the API tells of itself in figures: requests, and the commits that take submissions in."""

from collections.abc import Callable, Iterator

from skrei_kit.metrics import Figure, Figures, gauge

METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"})
"""Others are told as one: whoever asks may call a method what he likes."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Upper ends of how many submissions share a commit."""


class ApiFigures:
    """Counts what is asked and stored. Label values are ours, never the caller's."""

    def __init__(self, figures: Figures | None = None) -> None:
        self.all = figures or Figures()
        self.requests = self.all.counter(
            "skrei_api_requests_total", "Requests that were answered, by method and status.", ("method", "code")
        )
        self.seconds = self.all.histogram("skrei_api_request_seconds", "From a request to the beginning of its answer.")
        self.commits = self.all.histogram("skrei_submit_commit_seconds", "How long a commit of submissions took.")
        self.sizes = self.all.histogram("skrei_submit_commit_jobs", "How many submissions a commit had.", SIZES)
        self.failed = self.all.counter("skrei_submit_failed_total", "Submissions that a commit did not take.")

    def answered(self, method: str, code: int, seconds: float) -> None:
        """Count an answer that has begun."""
        self.requests.add(1, method if method in METHODS else "other", str(code))
        self.seconds.add(seconds)

    def committed(self, jobs: int, failed: int, seconds: float) -> None:
        """Count a commit of submissions."""
        self.commits.add(seconds)
        self.sizes.add(jobs)
        self.failed.add(failed)


def door_figures(
    *,
    waiting_bytes: Callable[[], int],
    log_readers: Callable[[], int],
    listeners: Callable[[], int],
    connected: Callable[[], bool],
) -> Iterator[Figure]:
    """Yield what the door holds now."""
    yield gauge("skrei_api_waiting_bytes", "Bytes of submissions that wait for their commit.", waiting_bytes())
    yield gauge("skrei_api_log_readers", "Readers of logs.", log_readers())
    yield gauge("skrei_api_event_listeners", "Readers of events.", listeners())
    yield gauge("skrei_api_transport_connected", "Whether the transport is there.", connected())
