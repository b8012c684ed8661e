"""Evaluations on their way to a plan, and who is looked at without one: jobs that wait, when something has changed."""

import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta

from skrei_scheduler.lead import Lead
from skrei_scheduler.listings import Listings
from skrei_scheduler.work import FORESEEN_ROWS, Commit, Outgoing, ReadSoon
from skrei_scheduling.changes import Changes, Locked
from skrei_scheduling.hope import HopelessRound
from skrei_scheduling.rows import Evaluation
from skrei_scheduling.schedule import schedule

EVALUATIONS_A_PLAN = 256
"""As many jobs are locked by one commit."""

PLACEMENTS_A_PLAN = 1_000
"""A plan holds the event loop for as long as it computes: 1,000 take about 10 ms."""

HOPELESS_A_LOOK = 1_000
"""Waiting jobs that are found hopeless and woken at once; more with the next tick."""

LOOK_AGAIN_SECONDS = 0.0
"""When a job is looked for again that was hinted and is not there: its commit may be a moment behind its hint. It comes
to 10 ms, which `ReadSoon` adds."""

SWEEP_SECONDS = 10.0
"""How long a waiting job may stay unseen after a wake-up was missed."""


class Planning:
    """What is to be planned, and the next plan of it."""

    def __init__(self, lead: Lead, listings: Listings, now: float, hold_after: timedelta) -> None:
        self._lead = lead
        self._listings = listings
        self._hold_after = hold_after
        self._evaluations: dict[str, Evaluation] = {}  # by id, or by job for a wake-up
        self._planned: frozenset[str] = frozenset()  # those in the plan under way
        self._swept = now
        self._hopeless: HopelessRound | None = None
        self._look_for_hopeless = False
        self._seeds = itertools.count(1)

    def __len__(self) -> int:
        return len(self._evaluations)

    def at_hand(self, most: int) -> list[str]:
        """Return the ids of what is in the plan under way and of the first `most` that wait for one."""
        waiting = (each.id for each in itertools.islice(self._evaluations.values(), most) if each.id)
        return [*self._planned, *self._listings.at_hand(), *waiting]

    def take(self, evaluations: Iterable[Evaluation]) -> None:
        """Evaluations that are due; a repeat replaces the older one."""
        for evaluation in evaluations:
            if not self._listings.hold(evaluation):
                self._evaluations[evaluation.id or evaluation.job_id] = evaluation

    def wake(self, job_id: str, trigger: str = "capacity") -> None:
        """Look at a job though nothing in the record asks for it."""
        evaluation = Evaluation("", job_id, trigger)
        if job_id not in self._evaluations and not self._listings.hold(evaluation):
            self._evaluations[job_id] = evaluation

    def tick(self, now: float) -> None:
        """Wake the heads of the line now and then: a wake-up that was missed must not keep a job waiting for ever."""
        if now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            self._hopeless = self._hopeless or HopelessRound(self._lead.view)
            self._sweep()
        self._look_for_hopeless = bool(self._hopeless)

    def next(self, wall: datetime) -> Commit | None:
        """Return the next plan's commit, if there is anything to plan."""
        self._wake_hopeless(wall)
        for evaluation in self._listings.freed():
            self._evaluations[evaluation.id or evaluation.job_id] = evaluation
        return self._plan(wall) if self._evaluations else None

    def _sweep(self) -> None:
        for job_id in (*self._lead.view.sweep(), *self._lead.view.per_node()):
            self.wake(job_id)

    def _wake_hopeless(self, wall: datetime) -> None:
        """Let waiting jobs fail that nothing can come for any more; nothing else looks at them again."""
        if self._look_for_hopeless and self._hopeless:
            for job_id in self._hopeless.look(wall, most=HOPELESS_A_LOOK, keep=self._lead.keep):
                self.wake(job_id)
        self._look_for_hopeless = False  # the rest with the next tick

    def _choose(self) -> list[Evaluation]:
        chosen: list[Evaluation] = []
        units = 0
        for key in list(self._evaluations):
            evaluation = self._evaluations[key]
            job = evaluation.job or self._lead.view.jobs.get(evaluation.job_id)
            units += min(job.units, PLACEMENTS_A_PLAN) if job else 1
            if chosen and (len(chosen) >= EVALUATIONS_A_PLAN or units > PLACEMENTS_A_PLAN):
                break
            chosen.append(self._evaluations.pop(key))
        return chosen

    def _plan(self, wall: datetime) -> Commit:
        lead = self._lead
        chosen = self._choose()
        seed = next(self._seeds)
        plan = schedule(lead.view, chosen, wall, seed, lead.ids, keep=lead.keep, hold_after=self._hold_after)
        ids = frozenset(evaluation.id for evaluation in chosen if evaluation.id)
        rows: list[Locked] = []
        self._planned = ids

        def decide(locked: Locked) -> Changes:
            rows.append(locked)
            return plan.decide(locked)

        def after(changes: Changes, now: float) -> list[Outgoing]:
            self._planned = frozenset()
            out = lead.advance(changes, now)
            lead.view.heed(rows[-1], plan.jobs)
            if any(job_id not in rows[-1].jobs for job_id in plan.jobs):
                out.append(ReadSoon(LOOK_AGAIN_SECONDS))
            if plan.held_for and plan.held_for not in lead.view.waiting:
                self._sweep()  # what is left of its node is for all now
            return out

        foreseen = plan.moves <= FORESEEN_ROWS
        return Commit("plan", frozenset(plan.jobs), ids, decide, after, foreseen=foreseen)
