"""Which nodes get the units of a task, of those that have room for them: what one batch has promised is taken.

The rank is that of `ranking`: bytes that lie there, what the job favours, spread or packed, the seed.
"""

from skrei_scheduling import locality, ranking
from skrei_scheduling.feasibility import ClassMask
from skrei_scheduling.held import Held, closed_to
from skrei_scheduling.labels import Mask
from skrei_scheduling.locality import Nearness
from skrei_scheduling.nodes import Trial
from skrei_scheduling.reconcile import Missing
from skrei_scheduling.rows import JobRow, TaskPlan
from skrei_scheduling.view import ClusterView

DEALT_OUT_A_LOOK = 250
"""Partitions of a task that one look gives each the node which has its own share: 50 µs each at 1,000 nodes."""


class Placing:
    """Chooses nodes for one batch, and reserves what it chooses in `trial`."""

    def __init__(self, view: ClusterView, seed: int, trial: Trial, *, pack: bool, kept_back: Held | None) -> None:
        self._view = view
        self._seed = seed
        self._trial = trial
        self._pack = pack
        self._kept_back = kept_back

    def choose(self, job: JobRow, task: TaskPlan, missing: list[Missing]) -> list[tuple[Missing, str]]:
        """Return the units of a task that have a node now, each with it."""
        pinned = job.kind.per_node or task.split
        return self._pinned(job, task, missing) if pinned else self._freely(job, task, missing)

    def _pinned(self, job: JobRow, task: TaskPlan, missing: list[Missing]) -> list[tuple[Missing, str]]:
        """Return those units whose own node has room for them; each node has one of a task."""
        mask = self._open(self._view.feasibility.of(task.requirement), closed_to(self._kept_back, job))
        chosen = [(each, each.node) for each in missing if mask[self._view.matrix.row_of[each.node]]]
        for _, node in chosen:
            self._trial.reserve(node, task.requirement, job.id)
        return chosen

    def _freely(self, job: JobRow, task: TaskPlan, missing: list[Missing]) -> list[tuple[Missing, str]]:
        """Choose nodes: first for units that have nothing to avoid, all at once, then for the others one by one.

        What a job that never ends is to avoid is only liked less.
        """
        closed, again = closed_to(self._kept_back, job), job.kind.endless
        work = self._view.feasibility.of(task.requirement)
        near = locality.nearness(job, task, self._view.matrix) if task.reads else None
        free = [each for each in missing if not each.avoid]
        chosen = self._by_share(job, task, work, free, closed) if task.inputs and task.count > 1 else []
        if chosen:
            taken = {each.unit for each, _ in chosen}
            free = [each for each in free if each.unit not in taken]
        while free:
            nodes = self._round(work, len(free), closed, near)
            if not nodes:
                break
            for each, node in zip(free, nodes, strict=False):
                self._trial.reserve(node, task.requirement, job.id)
                chosen.append((each, node))
            free = free[len(nodes) :]
        for each in missing:
            if each.avoid:
                found = self._apart(work, each.avoid, closed, near, again=again)
                if found is not None:
                    self._trial.reserve(found, task.requirement, job.id)
                    chosen.append((each, found))
        return chosen

    def _by_share(
        self, job: JobRow, task: TaskPlan, work: ClassMask, free: list[Missing], closed: Held | None
    ) -> list[tuple[Missing, str]]:
        """Choose for partitions whose own share of what is dealt out lies on some node, as far as that has room."""
        chosen: list[tuple[Missing, str]] = []
        if any(each.dealt_out for each in task.inputs):
            for each in free[:DEALT_OUT_A_LOOK]:
                near = locality.nearness(job, task, self._view.matrix, each.unit[1])
                nodes = self._round(work, 1, closed, near) if near is not None and near.moves else []
                for node in nodes:
                    self._trial.reserve(node, task.requirement, job.id)
                    chosen.append((each, node))
        return chosen

    def _open(self, work: ClassMask, closed: Held | None) -> Mask:
        """The nodes that have room for one more unit and are not held for another job."""
        mask = work.with_room(self._view.matrix)
        if closed is not None:
            mask[self._view.matrix.row_of[closed.node_id]] = False
        return mask

    def _round(self, work: ClassMask, count: int, closed: Held | None, near: Nearness | None) -> list[str]:
        """The best nodes that have room, each once: spreading goes round by round, packing node by node."""
        matrix = self._view.matrix
        mask = self._open(work, closed)
        share, close = (None, None) if near is None else (near.share, near.close)
        key = ranking.keys(matrix, self._seed, pack=self._pack, favours=work.bonus, bytes_there=share, close=close)
        if near is not None and near.moves:
            mask = ranking.nearest(mask, near.share)
        elif close is not None:
            mask = ranking.nearest(mask, close)
        if count == 1 or self._pack:
            row = ranking.best(mask, key)
            return [] if row is None else [matrix.ids[row]]
        return [matrix.ids[row] for row in ranking.best_of(mask, key, count)]

    def _apart(
        self,
        work: ClassMask,
        avoid: frozenset[str],
        closed: Held | None,
        near: Nearness | None,
        *,
        again: bool = False,
    ) -> str | None:
        """The best node that is not among `avoid`; one of those again only where no other could ever take the unit.

        With `again` also where no other has room now: what never ends would have failed everywhere one day.
        """
        matrix = self._view.matrix
        avoided = [row for row in (matrix.row_of.get(node) for node in avoid) if row is not None]
        others = work.candidates.copy()
        others[avoided] = False
        mask = self._open(work, closed)
        if (mask & others).any() if again else others.any():
            mask &= others
        share, close = (None, None) if near is None else (near.share, near.close)
        key = ranking.keys(
            matrix,
            self._seed,
            pack=self._pack,
            favours=work.bonus,
            failures=avoid,
            bytes_there=share,
            close=close,
        )
        row = ranking.best(mask, key)
        return None if row is None else matrix.ids[row]
