"""`client.nodes`: the nodes that jobs run on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from skrei import calls
from skrei.views import Node

if TYPE_CHECKING:
    from skrei.client import AsyncClient


class AsyncNodes:
    """The nodes of one API."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def list(self, *, labels: Sequence[str] | str = (), approval: str = "", status: str = "") -> tuple[Node, ...]:
        """Return the nodes: by label selectors, `approval` (approved, pending, rejected), `status` (connected, …)."""
        chosen = (labels,) if isinstance(labels, str) and labels else tuple(labels)
        return await self._client.every(calls.nodes(labels=chosen, approval=approval, status=status))

    async def get(self, node: str) -> Node:
        """Return the node that an id or a beginning of one names. Raises NotFound or Conflict."""
        return await self._client.send(calls.node(node))

    async def approve(self, node: str, *, message: str = "") -> None:
        """Let a node work."""
        await self._client.send(calls.change_node(node, "approve", message))

    async def reject(self, node: str, *, message: str = "") -> None:
        """Let a node work no more."""
        await self._client.send(calls.change_node(node, "reject", message))

    async def cordon(self, node: str, *, message: str = "") -> None:
        """Let nothing new be placed on a node; what runs stays."""
        await self._client.send(calls.change_node(node, "cordon", message))

    async def uncordon(self, node: str, *, message: str = "") -> None:
        """Let work be placed on a node again; ends a drain too."""
        await self._client.send(calls.change_node(node, "uncordon", message))

    async def drain(self, node: str, *, deadline: str | float | None = None, message: str = "") -> None:
        """Empty a node: batch jobs may end until `deadline` ("30m", seconds; None: however long), services move."""
        await self._client.send(calls.change_node(node, "drain", message, deadline=deadline))

    async def label(self, node: str, labels: Mapping[str, str | None], *, message: str = "") -> None:
        """Give a node labels, or take those back whose value is None; they win over its own, and stay."""
        await self._client.send(calls.change_node(node, "label", message, labels=labels))

    async def delete(self, node: str, *, message: str = "") -> None:
        """Forget a node."""
        await self._client.send(calls.change_node(node, "delete", message))
