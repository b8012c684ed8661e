"""Watching a job through the programs' client, as the demo does."""

from skrei.cli.render_progress import progress_view
from skrei.client import AsyncClient
from skrei.follow import follow
from skrei.progress import Progress


async def watch(client: AsyncClient, job_id: str) -> Progress:
    """Show a job's progress until it is terminal; returns the last look."""
    last: Progress | None = None
    with progress_view() as view:
        async for last in follow(client, job_id):
            view.show(last)
    assert last is not None, "a follow yields at least once"
    return last
