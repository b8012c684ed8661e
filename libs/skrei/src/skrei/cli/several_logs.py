"""The output of several executions side by side: each line with the partition or task that it is from."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from skrei.cli import render
from skrei.cli.ask import Ask
from skrei.cli.live_logs import LiveLogs
from skrei.cli.log_frames import frames
from skrei.cli.looks import executions_of, looks
from skrei.cli.screen import Screen, Told
from skrei.cli.texts import part_of
from skrei.errors import LogsFailed
from skrei.log_query import LogQuery
from skrei.log_units import chosen, speaks
from skrei.progress import WIDEST
from skrei.views import Execution

MOST_FOLLOWED = 32
"""Executions whose output is shown live at once, each through a connection of its own; others have their turn later."""
JOIN_SECONDS = 5.0
"""How long the last words of those that ended may take once the job has."""


def show(ask: Ask, executions: tuple[Execution, ...], query: LogQuery, *, by_node: bool = False) -> bool:
    """Show what they say, one after the other; with `follow` as it comes, until the job has ended.

    Returns whether anything was said. `by_node`: their job runs on every node, so that nodes are told in place of
    partitions.
    """
    labels = labels_of(executions, by_node=by_node)
    several = _Several(ask, query, labels, by_node, Screen(many=True, before=lambda: None))
    try:
        if query.follow:
            several.follow()
        else:
            for one in executions:
                several.print_kept(one, query)
    finally:
        several.screen.close()
    if several.screen.broken is not None:
        raise several.screen.broken
    if several.failed and not several.shown:
        raise several.failed
    return several.shown > 0


def labels_of(executions: Iterable[Execution], *, by_node: bool = False) -> dict[tuple[str, int], str]:
    """Return what stands before the lines of each unit: what tells it from the others, and no more."""
    units = {(one.task, one.partition): part_of(one, by_node=by_node) for one in executions}
    tasks = {task for task, _ in units}
    wide = {task for task, partition in units if partition > 0}
    return {
        (task, partition): part if len(tasks) == 1 else f"{task} {part}" if task in wide else task
        for (task, partition), part in units.items()
    }


@dataclass
class _Several:
    """One call of the command."""

    ask: Ask
    query: LogQuery
    labels: dict[tuple[str, int], str]
    by_node: bool
    screen: Screen
    failed: LogsFailed | None = None
    shown: int = 0
    _live: dict[str, LiveLogs] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _old: frozenset[str] | None = None
    """Executions that had begun to speak before the first look: `tail` and `lines` are meant of these."""

    def follow(self) -> None:
        """Show what comes until the job has ended, and what came before as far as that was asked for."""
        if self.query.tail and self.query.lines is None:
            self.query = replace(self.query, lines=0)  # of one that ends before it is asked, the API tells all without
        for look in looks(self.ask, self.query.job):
            executions = look.executions
            if not executions and look.job.is_terminal:
                executions = executions_of(self.ask, look.job.id)
            if self._old is None:
                self._old = frozenset(one.id for one in executions if one.is_terminal or speaks(one))
                if look.job.count > WIDEST:
                    render.note(f"More than {WIDEST} partitions: name one (--partition), or wait for the end.")
            for one in chosen(executions, self.query):
                self._attend(one)
            if self.screen.broken is not None:
                return
            if look.job.is_terminal:
                self._end(chosen(executions, self.query))

    def _attend(self, one: Execution) -> None:
        if one.id in self._live or one.id in self._done:
            return
        old = self._old is not None and one.id in self._old
        # An execution that began later has said nothing before that was not asked for.
        query = self.query if old else replace(self.query, tail=False, lines=None)
        if one.is_terminal:
            self._done.add(one.id)
            if not query.tail:
                self.print_kept(one, query)
        elif speaks(one) and sum(thread.is_alive() for thread in self._live.values()) < MOST_FOLLOWED:
            label = self._label(one)
            self._live[one.id] = thread = LiveLogs(
                self.ask.endpoint,
                replace(query, execution=one.id),
                self._told(one),
                lambda problem: render.note(f"[{label}] {problem}"),
            )
            thread.start()

    def _end(self, executions: tuple[Execution, ...]) -> None:
        until = time.monotonic() + JOIN_SECONDS
        for thread in self._live.values():
            thread.finish(max(0.1, until - time.monotonic()))
            thread.told.end()
            self.shown += 1
        for one in executions:
            self._attend(one)

    def print_kept(self, one: Execution, query: LogQuery) -> None:
        """Print what one execution has said so far; where that cannot be had, say so and go on with the others."""
        told, position = self._told(one), {1: 0, 2: 0}
        try:
            for said in frames(self.ask.endpoint, replace(query, execution=one.id, follow=False)):
                if said is not None:
                    position[said.stream] = told.live(said.stream, position[said.stream], said.text)
                    self.shown += 1
        except LogsFailed as error:
            self.failed = error
            render.note(f"[{self._label(one)}] {error.message}")
        told.end()

    def _told(self, one: Execution) -> Told:
        return Told(self.screen, self._label(one))

    def _label(self, one: Execution) -> str:
        return self.labels.get((one.task, one.partition)) or part_of(one, by_node=self.by_node)
