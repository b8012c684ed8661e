"""The way to the publisher, built when the first result is too large for a fact: most nodes never need it."""

from pathlib import Path
from typing import TYPE_CHECKING

from skrei_compute_agent.pace import FREE, Pace
from skrei_domain.uploads import Parcel
from skrei_plugin_api.engine import Tell
from skrei_plugin_api.outbound import Outbound

if TYPE_CHECKING:
    from skrei_compute_agent.uploader import Uploader


class Delivery:
    """An `Uploader` that is imported (8 MB with its client) and made with the first upload.

    `own` is the way that this node has to the publisher's door; empty: the one that it is told.
    """

    def __init__(
        self, *, full_seconds: float = 600.0, rules: Outbound | None = None, pace: Pace = FREE, own: str = ""
    ) -> None:
        self._own = own
        self._full_seconds = full_seconds
        self._rules = rules
        self._pace = pace
        self._door: str | None = None
        self._uploader: Uploader | None = None

    def door(self, url: str) -> None:
        """Say where the publisher's door is; empty: there is none, whichever way this node would have to it."""
        self._door = url and (self._own or url)
        if self._uploader is not None:
            self._uploader.door(self._door)

    @property
    def url(self) -> str:
        """Where the door is, as it was said last; empty where nobody has, or there is none."""
        return self._door or ""

    async def upload(self, path: Path, parcel: Parcel, token: str, tell: Tell = lambda _: None) -> str:
        """Return the publisher's receipt for a file; see `Uploader.upload`."""
        if self._uploader is None:
            from skrei_compute_agent.uploader import Uploader

            self._uploader = Uploader(full_seconds=self._full_seconds, rules=self._rules, pace=self._pace)
            if self._door is not None:
                self._uploader.door(self._door)
        return await self._uploader.upload(path, parcel, token, tell)

    def drop(self, execution_id: str) -> None:
        """Nothing more of an execution comes."""
        if self._uploader is not None:
            self._uploader.drop(execution_id)

    async def close(self) -> None:
        """Wait for what is being told to the publisher."""
        if self._uploader is not None:
            await self._uploader.close()
