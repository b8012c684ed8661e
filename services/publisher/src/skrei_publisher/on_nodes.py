"""Results that stay on the nodes that made them: their nodes show them once they have won, as they are told to here."""

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any

from skrei_domain.job_reading import FieldProblem
from skrei_domain.node_results import NAME, node_place
from skrei_domain.uploads import Parcel, UploadPlan
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginContext, PluginInfo
from skrei_plugin_api.publisher import (
    NOTHING,
    DestinationAway,
    Opened,
    PublishDenied,
    Published,
    Publisher,
    StagedGone,
)
from skrei_publisher.source import NodeAway, NodeGone

NOT_UPLOADED = "results of 'localdirectory' stay on their node; nothing of them is uploaded"

Show = Callable[[str, str], Awaitable[dict[str, Any]]]
"""Has a node show what an execution left there under a name of its own, and returns where that is.
Raises NodeAway, NodeGone, SourceAway."""


class OnNodes(Publisher):
    """`localDirectory`, as the publisher's process knows it: nothing of such a result ever comes here.

    The id of a parcel is the name by which its node knows it: that of its execution, or of a part of what that left.
    """

    plugin_api = PLUGIN_API
    name = NAME
    version = version("skrei-publisher")

    def __init__(self, context: PluginContext, show: Show) -> None:
        super().__init__(context)
        self._show = show

    async def describe(self) -> PluginInfo:
        """It always works."""
        return PluginInfo(available=True, version=self.version)

    def validate(self, params: Params) -> list[FieldProblem]:
        """The control plane has worked the place out, and its node looks whether that may be."""
        return []

    def at(self, params: Params) -> str:
        """The node."""
        return node_place(str(params.get("NodeID", "")))

    async def plan(
        self, parcel: Parcel, headers: Mapping[str, str], *, node_id: str = "", params: Params = NOTHING
    ) -> UploadPlan:
        """Raise PublishDenied."""
        raise PublishDenied(NOT_UPLOADED)

    async def stage(self, parcel: Parcel) -> str:
        """Raise PublishDenied."""
        raise PublishDenied(NOT_UPLOADED)

    async def finalise(self, parcel: Parcel, place: str) -> Published:
        """Have its node show what has won; return where it lies. `place` tells nothing that its node does not know."""
        return await self.show(parcel.execution_id, parcel.execution_id)

    async def show(self, execution_id: str, left: str) -> Published:
        """Have a node show what an execution left there, under the name `left`.

        Raises StagedGone, and DestinationAway for a node that is away; SourceAway.
        """
        try:
            return Published(await self._show(execution_id, left))
        except NodeGone as error:
            raise StagedGone(error.message, execution_id=execution_id) from error
        except NodeAway as error:
            raise DestinationAway(error.message) from error

    async def abort(self, execution_id: str) -> None:
        """Its node hears by itself that it does not count."""

    async def open(self, execution_id: str, params: Params = NOTHING) -> Opened | None:
        """It is read where it lies, or sent by its node (`relay`)."""
        return None
