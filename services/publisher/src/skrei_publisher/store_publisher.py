"""The default publisher: Skrei's own result store, a directory with one writer. Parts come to the publisher's door."""

from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from skrei_domain.job_reading import FieldProblem
from skrei_domain.uploads import Parcel
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo
from skrei_plugin_api.publisher import NOTHING, Opened, StagedGone
from skrei_plugin_api.staged import DEFAULTS, StagedPublisher
from skrei_plugin_api.upload_staging import StagingLimits
from skrei_publisher.store import ResultStore

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter while another waits for it. Digest and writes give it up for each piece,
and wait for it again: with the usual 5 ms they stand still while the loop takes in what comes, and a core idles."""


class StorePublisher(StagedPublisher):
    """Results in a folder."""

    plugin_api = PLUGIN_API
    name = "store"
    version = version("skrei-publisher")
    keeps: ClassVar[bool] = True

    def __init__(self, context: PluginContext, limits: StagingLimits = DEFAULTS) -> None:
        self.store = ResultStore(context.state_dir)
        super().__init__(context, limits, used_bytes=lambda: self.store.used_bytes)

    async def start(self) -> None:
        """Take the folder, and find what uploads an earlier process had. Raises StoreBusy."""
        await self.do(self.store.open)
        await super().start()

    async def describe(self) -> PluginInfo:
        """It always works."""
        return PluginInfo(available=True, version=self.version)

    def validate(self, params: Params) -> list[FieldProblem]:
        """It takes no params."""
        return []

    async def close(self) -> None:
        """End what still computes, and give the folder back."""
        await super().close()
        self.store.close()

    async def finalise(self, parcel: Parcel, place: str) -> None:
        """Move what is staged to where it is served from."""
        async with self.lock(parcel.execution_id):
            await self.do(self._adopt, parcel)

    async def open(self, execution_id: str, params: Params = NOTHING) -> Opened | None:
        """Return the file, or what is too small to be one."""
        found = self.store.find(execution_id)
        if isinstance(found, bytes):
            return Opened(data=found)
        return None if found is None else Opened(found)

    def takes(self, execution_id: str) -> bool:
        """Whether an upload of an execution is under way here."""
        return self.staging.takes(execution_id)

    async def keep(self, execution_id: str) -> None:
        """What is staged of an execution waits for a destination, however long that takes."""
        await self.do(self.staging.keep, execution_id)

    async def staged(self, parcel: Parcel) -> Path:
        """Return the file of a parcel that is staged. Raises StagedGone."""
        async with self.lock(parcel.execution_id):
            if (content := self.staging.content(parcel)) is None:
                raise _gone(parcel)
            return content

    async def take_in(self, execution_id: str, digest: str, content: Path) -> None:
        """Make a verified, durable file of the store's file system the result of an execution."""
        async with self.lock(execution_id):
            await self.do(self.store.adopt, execution_id, digest, content)

    def _adopt(self, parcel: Parcel) -> None:
        if (content := self.staging.content(parcel)) is not None:
            self.store.adopt(parcel.execution_id, parcel.digest, content)
            self.staging.release(parcel.execution_id)
        elif not self.store.holds(parcel.execution_id, parcel.digest):
            raise _gone(parcel)


def _gone(parcel: Parcel) -> StagedGone:
    return StagedGone(
        f"What execution {parcel.execution_id} had uploaded is not there any more.",
        execution_id=parcel.execution_id,
    )
