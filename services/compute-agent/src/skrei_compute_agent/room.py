"""Who has what of the node: the executions that this process looks after, with their resources and devices. Pure."""

from skrei_compute_agent.gpu_ledger import GpuLedger
from skrei_compute_agent.held import Held
from skrei_compute_agent.task import why_not
from skrei_domain.node import NodeInfo
from skrei_domain.resources import Resources
from skrei_domain.spec import TaskSpec


class Room:
    """The node's room. What an execution reserves it gives back with the end of its program, once."""

    def __init__(self, info: NodeInfo) -> None:
        self.info = info
        self.gpus = GpuLedger(info.gpus)
        self.held: dict[str, Held] = {}
        self.reserved = Resources()

    def refit(self, info: NodeInfo) -> None:
        """Take in what the node is now."""
        self.info = info
        self.gpus.update(info.gpus)

    def refusal(self, task: TaskSpec, needs: Resources) -> str:
        """Return why there is no room for a task now; empty when there is."""
        free = self.info.capacity - self.reserved
        return why_not(task, needs, self.info, free.model_copy(update={"gpu": len(self.gpus.free)}))

    def add(self, held: Held) -> None:
        """Look after an execution, and reserve what it needs; its devices are given by name."""
        self.held[held.execution_id] = held
        self.reserved += held.needs

    def vacate(self, held: Held) -> None:
        """Take back what an execution reserved, devices included; it stays looked after."""
        self.reserved -= held.needs
        self.gpus.give(held.execution_id)

    def check(self, needs: Resources) -> None:
        """Raise AssertionError unless exactly `needs` is reserved, devices and all, and the node has it."""
        assert needs == self.reserved, f"{self.reserved} are reserved, {needs} are held"
        assert needs.gpu == sum(map(len, self.gpus.held.values())), "GPUs are reserved and not held, or held for nobody"
        self.gpus.check()
        countable = needs.model_copy(update={"gpu": 0})  # a device that went while it was held is still held
        assert countable.fits(self.info.capacity), f"{needs} are reserved of {self.info.capacity}"
