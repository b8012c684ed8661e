"""Winner before visible: what an uploaded result does to its execution between its upload and its end.

An execution whose uploaded result may win has its unit at once (`stage_into`), so that nobody else gets it; it is
Completed with the commit that learns that the publisher has made the result final (`finish_into`): whoever sees
Completed can read the result. A publisher that cannot (`refuse_into`) withdraws the winner.
"""

from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import Problem, PublishWaits, ResultRef
from skrei_scheduling import texts
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Observed, Place
from skrei_scheduling.rows import ExecutionRow


def stage_into(builder: ChangesBuilder, row: ExecutionRow, result: ResultRef, place: Place) -> None:
    """Let an execution that may win have its unit. `row` is as its node's last fact leaves it, without room."""
    publishing = row.evolve(state=ExecutionState.PUBLISHING, staged=True, digest=result.digest)
    builder.claim(publishing, result, place)
    builder.put(publishing)
    told = texts.PUBLISHING.format(size=result.size)
    if result.left_unseen:
        told = texts.SHOWING.format(size=result.left_bytes)
    builder.history(row.job_id, texts.EXECUTION, told, row=publishing)


def finish_into(builder: ChangesBuilder, execution_id: str, digest: str) -> None:
    """A staged result is final: its execution is Completed, if it still counts. Twice is once."""
    builder.finalised(execution_id, digest)
    row = builder.row(execution_id)
    if row is None or not row.staged:
        return
    if builder.counts(row):
        completed = row.evolve(state=ExecutionState.COMPLETED, staged=False, message="")
        builder.put(completed)
        builder.finish(completed)
        builder.history(row.job_id, texts.EXECUTION, texts.COMPLETED_SUCCESSFULLY, row=completed)
        builder.complete(row.job_id)
    else:
        builder.stop(row, texts.NOT_COUNTED)


def wait_into(builder: ChangesBuilder, waits: PublishWaits) -> None:
    """A staged result could not be made final this time: its execution says what is waited for."""
    row = builder.row(waits.execution_id)
    message = texts.PUBLISH_WAITS.format(reason=waits.reason)
    if row is None or not row.staged or row.digest != waits.digest or row.message == message:
        return
    new = row.evolve(message=message)
    builder.put(new)
    if begins_to_wait(row, message):
        builder.history(row.job_id, texts.EXECUTION, message, row=new)


def begins_to_wait(row: ExecutionRow, message: str) -> bool:
    """Whether `message` is the first that says what a result waits for, which is history; what its execution says of it
    later is told with that alone: a server may be away for days, in many words."""
    begin = texts.PUBLISH_WAITS_BEGIN
    return message.startswith(begin) and not row.message.startswith(begin)


def refuse_into(builder: ChangesBuilder, execution_id: str, digest: str, problem: Problem) -> ExecutionRow | None:
    """A staged result will never be final: the winner is withdrawn, and its attempt has failed.

    Returns the failed execution where that calls for something (see `settle.follow_up`). Twice is once.
    """
    builder.refused(execution_id, digest)
    row = builder.row(execution_id)
    if row is None or not row.staged:
        return None
    counts = builder.counts(row)
    message = texts.PUBLISH_FAILED.format(reason=problem.message)
    failed = row.evolve(state=ExecutionState.FAILED, staged=False, message=message)
    builder.put(failed, Observed(problem=problem))
    details = {texts.IS_ERROR: "true", texts.ERROR_CODE: problem.code}
    builder.history(row.job_id, texts.EXECUTION, message, row=failed, details=details)
    return failed if counts else None
