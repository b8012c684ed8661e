"""What runs leave at the daemon, and when it goes: by our labels alone, so that nothing else is ever touched."""

from collections.abc import Callable

from skrei_plugin_docker.create import EXECUTION, NODE
from skrei_plugin_docker.daemon import Daemon
from skrei_plugin_docker.failures import DaemonAway, Refusal


class Reaper:
    """Removes containers and volumes of one node."""

    def __init__(self, daemon: Daemon, node: str) -> None:
        self._daemon = daemon
        self._node = node

    async def release(self, execution_id: str) -> None:
        """Remove all that is left of an execution, running or not. Raises DaemonAway."""
        await self._remove({NODE: self._node, EXECUTION: execution_id}, lambda _: False)

    async def sweep(self, owned: Callable[[str], bool]) -> int:
        """Remove what belongs to executions that nobody owns, and what looks for files left. Raises DaemonAway."""
        return await self._remove({NODE: self._node}, owned)

    async def _remove(self, labels: dict[str, str], owned: Callable[[str], bool]) -> int:
        try:
            return await self._remove_all(labels, owned)
        except Refusal as refusal:
            raise DaemonAway(f"the Docker daemon does not remove what it is asked to: {refusal.message}") from refusal

    async def _remove_all(self, labels: dict[str, str], owned: Callable[[str], bool]) -> int:
        removed = 0
        for one in await self._daemon.containers(labels):
            if not owned(one["Labels"].get(EXECUTION, "")):
                await self._daemon.remove(str(one["Id"]))
                removed += 1
        for volume in await self._daemon.volumes(labels):
            if not owned((volume.get("Labels") or {}).get(EXECUTION, "")):
                await self._daemon.remove_volume(str(volume["Name"]))
                removed += 1
        return removed
