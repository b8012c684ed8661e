"""What the scheduler makes of a view, asked as the leader asks it: each job by an evaluation of its own."""

from datetime import datetime

from skrei_scheduling.plan import Plan
from skrei_scheduling.rows import JobRow
from skrei_scheduling.schedule import schedule
from skrei_scheduling.view import ClusterView
from tests.support.builders import NOW, an_evaluation, counting_ids


def plan_for(view: ClusterView, *jobs: JobRow, now: datetime = NOW, seed: int = 0, pack: bool = False) -> Plan:
    """Return the plan for these jobs."""
    evaluations = [an_evaluation(job, id=f"v-{job.id}") for job in jobs]
    return schedule(view, evaluations, now, seed, counting_ids(), pack=pack)


def nodes_of(plan: Plan) -> list[str]:
    """Return the node of each placement, in order."""
    return sorted(row.node_id for row in plan.placements)
