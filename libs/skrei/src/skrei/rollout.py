"""How a service goes from one version to the next, as its history tells it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from skrei.views import HistoryItem

READY_VERSION = "ReadyVersion"
"""The detail of a job's history item that says which version is ready as a whole."""
GONE_BACK_FROM = "GoneBackFrom"
"""The detail that says which version the service has given up, because it was not ready in time."""


@dataclass
class Rollout:
    """What has become of one version of a service."""

    version: int
    ready: bool = False
    given_up: str = ""
    """Why the service has gone back to an earlier version; empty while it has not."""
    replaced_by: int = 0
    """A later version that somebody submitted before this one was ready."""

    def take(self, items: Iterable[HistoryItem]) -> None:
        """Note what these items tell."""
        for item in items:
            if item.details.get(READY_VERSION) == str(self.version):
                self.ready = True
            elif item.details.get(GONE_BACK_FROM) == str(self.version):
                self.given_up = item.message

    def look(self, version: int) -> None:
        """Note the job's version as it is now."""
        if version > self.version and not (self.ready or self.given_up):
            self.replaced_by = version

    @property
    def settled(self) -> bool:
        """Whether nothing more will be learnt of this version."""
        return self.ready or bool(self.given_up) or bool(self.replaced_by)

    @property
    def problem(self) -> str:
        """Why the version will not be ready; empty where it is, or may be."""
        if self.ready:
            return ""
        if self.given_up:
            return self.given_up
        return f"Version {self.version} was replaced by version {self.replaced_by} first." if self.replaced_by else ""
