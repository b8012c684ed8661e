"""How a run ended, with what it left in its folder."""

from skrei_plugin_api.engine import EngineFailure, FailureCode, RunOutcome, RunRequest
from skrei_plugin_api.packing import OutputTooLarge, PackedResult, pack_result, stream_head


def outcome_of(
    request: RunRequest, code: int | None, failure: EngineFailure | None, *, started_at: float, ended_at: float
) -> RunOutcome:
    """Pack what a run has left, and return how it ended. Blocks.

    Outputs that hold more than they may are its failure, unless it has one already.
    """
    result, failure = packed_outputs(request, code, failure)
    if result is None:
        code = None
    return RunOutcome(
        exit_code=code,
        failure=failure,
        started_at=started_at,
        ended_at=ended_at,
        stdout_head=stream_head(request.workdir / "stdout"),
        stderr_head=stream_head(request.workdir / "stderr"),
        result=result,
    )


def packed_outputs(
    request: RunRequest, code: int | None, failure: EngineFailure | None
) -> tuple[PackedResult | None, EngineFailure | None]:
    """Pack what a run has left, and return that with how it failed. Blocks.

    None, and a failure, where outputs hold more than they may; a failure that there was already stays.
    """
    try:
        result = pack_result(
            request.workdir,
            [output.name for output in request.outputs],
            code,
            inline_limit=request.inline_result_limit,
            max_bytes=request.max_output_bytes,
        )
    except OutputTooLarge as error:
        return None, failure or EngineFailure(FailureCode.OUTPUT_TOO_LARGE, str(error))
    return result, failure
