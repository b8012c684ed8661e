"""Whether anybody uses this server: what a supervisor asks that stops a stack which nobody needs."""

QUIET_PATHS = frozenset({"/api/v1/agent/alive", "/livez", "/healthz", "/readyz", "/metrics"})
"""Asked by machines that only look whether it lives."""
QUIET_PREFIX = "/internal/"


class Activity:
    """Counts what people and nodes ask for; the count starts at 0 with each process."""

    def __init__(self) -> None:
        self.requests = 0

    def note(self, path: str) -> None:
        """Count a request, unless it is one that means nothing."""
        if path not in QUIET_PATHS and not path.startswith(QUIET_PREFIX):
            self.requests += 1
