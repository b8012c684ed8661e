"""Jobs and nodes for the blocking client; each method does what its asynchronous twin promises."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from skrei.errors import ApiError, Unreachable
from skrei.jobs import AsyncJobs
from skrei.loop import Loop
from skrei.model import JobLike
from skrei.nodes import AsyncNodes
from skrei.sync_handle import JobHandle
from skrei.views import Node, Submitted


class Jobs:
    """The jobs of one API."""

    def __init__(self, loop: Loop, jobs: AsyncJobs) -> None:
        self._loop = loop
        self._jobs = jobs

    def run(
        self,
        job: JobLike,
        *,
        name: str = "",
        namespace: str = "",
        count: int | None = None,
        force: bool = False,
        idempotency_token: str = "",
    ) -> JobHandle:
        """Submit a job and return it at once; `client.jobs.run(job).wait()` waits for its end.

        `name`, `namespace` and `count` replace what the job says. A job whose name is in use becomes the next version
        of that one. The same `idempotency_token` (made here when none is given) never makes a second job or version.
        """
        return JobHandle(
            self._loop,
            self._loop.do(
                self._jobs.run,
                job,
                name=name,
                namespace=namespace,
                count=count,
                force=force,
                idempotency_token=idempotency_token,
            ),
        )

    def submit_many(
        self, jobs: Iterable[JobLike], *, namespace: str = "", idempotency_token: str = ""
    ) -> tuple[Submitted | ApiError | Unreachable, ...]:
        """Submit many jobs in few requests; what became of each, in order: accepted, or why it was refused.

        `namespace` replaces what the jobs say. A repeat with the same `idempotency_token` and the same jobs in the same
        order makes none a second time. Raises Unreachable or ApiError where the first request is not answered or is
        refused; where a later one is, that error stands in the place of each of its jobs, beside what became of the
        others. Of jobs that stand as Unreachable, a repeat tells what became.
        """
        return self._loop.do(self._jobs.submit_many, jobs, namespace=namespace, idempotency_token=idempotency_token)

    def get(self, job: str, *, namespace: str = "", version: int = 0) -> JobHandle:
        """Return the job that an id, a name, or a beginning of an id names. Raises NotFound or Conflict."""
        return JobHandle(self._loop, self._loop.do(self._jobs.get, job, namespace=namespace, version=version))

    def list(
        self,
        *,
        namespace: str = "",
        labels: Sequence[str] | str = (),
        limit: int = 0,
        newest_first: bool = True,
        order_by: str = "created_at",
    ) -> Iterator[JobHandle]:
        """Yield jobs page by page, as far as you go: `for job in client.jobs.list(): ...`.

        `labels` are selectors (`team=fish`, `stage in (test,prod)`), all of which must hold; `limit` 0 is all.
        """
        found = self._jobs.list(
            namespace=namespace, labels=labels, limit=limit, newest_first=newest_first, order_by=order_by
        )
        for job in self._loop.each(found):
            yield JobHandle(self._loop, job)

    def diff(self, job: JobLike) -> str:
        """Return what would change if this were submitted over the job that has its name; empty for nothing."""
        return self._loop.do(self._jobs.diff, job)


class Nodes:
    """The nodes of one API."""

    def __init__(self, loop: Loop, nodes: AsyncNodes) -> None:
        self._loop = loop
        self._nodes = nodes

    def list(self, *, labels: Sequence[str] | str = (), approval: str = "", status: str = "") -> tuple[Node, ...]:
        """Return the nodes: by label selectors, `approval` (approved, pending, rejected), `status` (connected, …)."""
        return self._loop.do(self._nodes.list, labels=labels, approval=approval, status=status)

    def get(self, node: str) -> Node:
        """Return the node that an id or a beginning of one names. Raises NotFound or Conflict."""
        return self._loop.do(self._nodes.get, node)

    def approve(self, node: str, *, message: str = "") -> None:
        """Let a node work."""
        self._loop.do(self._nodes.approve, node, message=message)

    def reject(self, node: str, *, message: str = "") -> None:
        """Let a node work no more."""
        self._loop.do(self._nodes.reject, node, message=message)

    def cordon(self, node: str, *, message: str = "") -> None:
        """Let nothing new be placed on a node; what runs stays."""
        self._loop.do(self._nodes.cordon, node, message=message)

    def uncordon(self, node: str, *, message: str = "") -> None:
        """Let work be placed on a node again; ends a drain too."""
        self._loop.do(self._nodes.uncordon, node, message=message)

    def drain(self, node: str, *, deadline: str | float | None = None, message: str = "") -> None:
        """Empty a node; see `AsyncNodes.drain`."""
        self._loop.do(self._nodes.drain, node, deadline=deadline, message=message)

    def label(self, node: str, labels: Mapping[str, str | None], *, message: str = "") -> None:
        """Give a node labels, or take those back whose value is None; they win over its own, and stay."""
        self._loop.do(self._nodes.label, node, labels, message=message)

    def delete(self, node: str, *, message: str = "") -> None:
        """Forget a node."""
        self._loop.do(self._nodes.delete, node, message=message)
