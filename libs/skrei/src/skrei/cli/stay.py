"""Staying with a job as `docker run` stays with a container: its output on our streams, its exit code as ours.

Nothing here knows the engine. What belongs to the job goes to standard output and standard error as it comes; what
this program has to say of it goes to standard error only.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from skrei.cli import render, render_run
from skrei.cli.ask import Ask
from skrei.cli.exit_codes import INTERRUPTED, TIMED_OUT, UNREAD, Ends
from skrei.cli.jobs import stop_job
from skrei.cli.looks import executions_of, looks
from skrei.cli.screen import Screen, Told
from skrei.cli.texts import capital, part_of, short
from skrei.errors import CommandFailed, DownloadFailed
from skrei.progress import Progress, best_attempts, unit_name
from skrei.views import Execution, Job

if TYPE_CHECKING:
    from skrei.cli.live_logs import LiveLogs

MOST_FOLLOWED = 32
"""Partitions whose output is shown live at once, each through a connection of its own; the others' comes at their
end."""
GRACE_SECONDS = 2.0
"""After Ctrl+C: how long a second one stops the job instead of only leaving it."""


@dataclass
class Stay:
    """One stay with one job."""

    ask: Ask
    job_id: str
    many: bool
    quiet: bool = False
    timeout_seconds: float = 0.0
    tells_nodes: bool = False
    ends: Ends = field(default_factory=Ends)
    _live: dict[str, "LiveLogs"] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _placed: set[str] = field(default_factory=set)
    _partitions: dict[tuple[str, int], str] = field(default_factory=dict)
    _job: Job | None = None
    """As the last look found it."""

    def until_end(self) -> int:
        """Show everything until the job has ended; return the exit code.

        Ctrl+C leaves the job, a second one stops it.
        """
        status = render_run.Status(short(self.job_id), quiet=self.quiet)
        self._screen = Screen(many=self.many, before=status.clear)
        try:
            last = self._watch(status)
            status.clear()
            return self._finish(last)
        except KeyboardInterrupt:
            status.clear()
            return leave(self.ask, self.job_id)
        except BrokenPipeError:  # whoever read the output has gone (`| head`)
            status.clear()
            return self._unread()
        finally:
            self._screen.close()

    def _unread(self) -> int:
        render.unread()
        job = short(self.job_id)
        if not (self._job is not None and self._job.is_terminal) and not self.quiet:
            render.note(f"Nobody reads the output any more; the job goes on: skrei logs -f {job}, skrei stop {job}")
        return UNREAD

    def _watch(self, status: "render_run.Status") -> Progress:
        until = time.monotonic() + self.timeout_seconds if self.timeout_seconds else None
        for look in looks(self.ask, self.job_id):
            self.ends.take(look.events)
            status.show(look)
            self._job = look.job
            for execution in look.executions:
                self._attend(execution)
            if self._screen.broken is not None:
                raise self._screen.broken
            if look.job.is_terminal:
                return look
            if until is not None and time.monotonic() > until:
                raise CommandFailed(
                    f"The job is not done after {self.timeout_seconds:g} s; it goes on without this program.",
                    hint=f"Come back: skrei logs -f {short(self.job_id)}",
                    exit_code=TIMED_OUT,
                )
        raise AssertionError("unreachable: looks end with a terminal one")

    def _attend(self, execution: Execution) -> None:
        """Follow an execution that runs; show the rest of one that has ended when it is the only one of its job."""
        if self.tells_nodes and execution.node_id and execution.id not in self._placed:
            self._placed.add(execution.id)
            render.note(f"{self._name(execution)} is on {execution.node_id}.")
        if execution.is_terminal or execution.state != "Running" or execution.id in self._live:
            return
        if sum(thread.is_alive() for thread in self._live.values()) >= MOST_FOLLOWED:
            return
        from skrei.cli.live_logs import LiveLogs
        from skrei.log_query import LogQuery

        unit = (execution.task, execution.partition)
        before = self._partitions.get(unit)
        if before is not None and any(self._live[before].told.shown.values()):
            render.note(f"{self._name(execution)} runs again on {short(execution.node_id)}: its output restarts.")
        self._partitions[unit] = execution.id
        told = Told(self._screen, self._label(execution))
        thread = self._live[execution.id] = LiveLogs(self.ask.endpoint, LogQuery(self.job_id, execution.id), told)
        thread.start()

    def _name(self, execution: Execution) -> str:
        return capital(unit_name(execution, named=self._named, by_node=self._by_node))

    def _label(self, execution: Execution) -> str:
        """What stands before its lines where several share the screen."""
        unit = part_of(execution, by_node=self._by_node)
        return f"{execution.task} {unit}" if self._named else unit

    @property
    def _named(self) -> bool:
        """Whether its task is told with a partition: there are several."""
        return self._job is not None and len(self._job.tasks) > 1

    @property
    def _by_node(self) -> bool:
        return self._job is not None and self._job.per_node

    def _finish(self, last: Progress) -> int:
        executions = last.executions or executions_of(self.ask, self.job_id)
        self._show_rest(best_attempts(executions))
        if self._screen.broken is not None:
            raise self._screen.broken
        job = last.job
        if job.state != "Completed":
            render_run.failure(job, executions)
        if not self.quiet:
            render_run.data_read(executions)
            if job.state == "Completed":
                render.next_step(
                    f"skrei describe {short(job.id)}", "everything about it; skrei get fetches what it left"
                )
        return self.ends.exit_code(job, executions)

    def _show_rest(self, executions: Iterable[Execution]) -> None:
        from skrei.cli.whole_output import addresses, needs_result, show_rest

        known: dict[str, str] | None = None
        for execution in executions:
            if not execution.is_terminal:
                continue
            thread = self._live.get(execution.id)
            if thread is not None:
                thread.finish()
            told = thread.told if thread is not None else Told(self._screen, self._label(execution))
            try:
                if needs_result(execution) and known is None:
                    known = addresses(self.ask, self.job_id)
                show_rest(self.ask, execution, told, known or {})
            except DownloadFailed as error:
                render.problem(error.message, error.hint)


def leave(ask: Ask, job_id: str) -> int:
    """Ctrl+C: the job goes on, unless it is pressed again while the way back stands on the screen."""
    job = short(job_id)
    try:  # a second one may come while the words are still being written
        render.note(f"\nLeft the job; it goes on. Come back: skrei logs -f {job}. Ctrl+C again stops it.")
        time.sleep(GRACE_SECONDS)
    except KeyboardInterrupt:
        with Ask(ask.endpoint) as fresh:
            stop_job(fresh, job_id, "Stopped by Ctrl+C")
        render.note(f"\nStopped {job}.")
    return INTERRUPTED
