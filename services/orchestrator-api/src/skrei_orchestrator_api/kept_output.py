"""What an execution said, once its node need not be asked: from its result, else from what was sent while it ran."""

from collections.abc import AsyncIterator

from skrei_domain.errors import NotFound, Unavailable
from skrei_kit.observability import get_logger
from skrei_orchestrator_api import outputs
from skrei_orchestrator_api.deps import Deps
from skrei_orchestrator_api.pieces import pieces, said
from skrei_orchestrator_api.routes.results import download_url, log_url
from skrei_orchestrator_api.views import ExecutionView

log = get_logger()


class NotAll(Unavailable):
    """What was shown is not all that was said."""

    code = "output-incomplete"


async def ended(deps: Deps, execution: ExecutionView) -> AsyncIterator[tuple[int, str]]:
    """Yield what an ended execution said: from its result, else what was sent while it ran, else its beginning.

    Raises NotAll at the end where that is not all.
    """
    said = execution.output
    whole = said is not None and not (said.stdout_truncated or said.stderr_truncated)
    for source in (_of_result, sent):
        if source is sent and whole:
            continue
        try:
            async for piece in source(deps, execution):
                yield piece
        except NotFound as error:
            log.debug("output_elsewhere", execution_id=execution.id, reason=error.message)
        else:
            return
    if said is not None:
        yield 1, said.stdout
        yield 2, said.stderr
        if not whole:
            raise NotAll("only the beginning of its output is kept: it left no result that is stored")
    elif execution.left is not None and not execution.left.kept:
        raise NotAll(
            "what it said is not kept any more",
            hint="`Retention: {Logs: …}` in a job keeps it longer, as far as the server's SKREI_RETENTION allows",
        )


async def _of_result(deps: Deps, execution: ExecutionView) -> AsyncIterator[tuple[int, str]]:
    """Yield the output that lies in its result. Raises NotFound where there is none, Unavailable."""
    archive = await deps.record.inline_result(execution.id)
    if archive is None and not execution.stored:
        raise NotFound(f"{execution.id} left no result")
    source = outputs.stored(_url(deps, execution)) if archive is None else outputs.unpacked(archive)
    async for piece in source:
        yield piece


def _url(deps: Deps, execution: ExecutionView) -> str:
    if (left := execution.left) is None:
        return download_url(deps, execution.id)
    if (piece := said(pieces(execution.id, left.elsewhere, left.digest, left.size, own=left.own))) is None:
        raise NotFound(f"what {execution.id} said is not kept any more")
    return download_url(deps, execution.id, at=piece.at)


async def sent(deps: Deps, execution: ExecutionView) -> AsyncIterator[tuple[int, str]]:
    """Yield what the node had sent while the execution ran.

    Raises NotFound where nothing was, Unavailable where that cannot be asked, and at the end NotAll, saying until
    when, where that is not all of it.
    """
    found: list[outputs.Shipped] = []
    async for piece in outputs.shipped(lambda stream: log_url(deps, execution.id, stream)):
        if isinstance(piece, outputs.Shipped):
            found.append(piece)
        else:
            yield piece
    if not found:
        raise NotFound(f"nothing that {execution.id} said was sent")
    if any(stream.cut for stream in found):
        raise NotAll("only the beginning of so long an output is kept of what left no result yet")
    if not all(stream.complete for stream in found):
        raise NotAll(
            f"node {execution.node_id} does not answer: this is what it had sent until "
            f"{max(stream.until for stream in found)}",
            hint="more may be there once the node is back",
        )
