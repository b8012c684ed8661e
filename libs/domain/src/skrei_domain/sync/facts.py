"""What one fact may hold, so that every fact fits into one message and travels."""

from skrei_domain.messages import ExecutionObserved, Fact, Problem

CODE_CHARACTERS = 200  # of a problem's code, which is a word
PROBLEM_CHARACTERS = 4_096  # of a problem's text; a character takes at most six bytes in JSON
HEAD_CHARACTERS = 4_096  # of an output's head, which is 2 KiB where it is read
IMAGE_CHARACTERS = 512  # of what ran: a repository has at most 255, a digest about 70
NOTE_CHARACTERS = 256  # of how far a preparation is: a line
KEPT_STEPS = 100  # of one execution: the first, and the last ones; a service may start again for years


def weight(fact: Fact) -> int:
    """How many bytes a fact takes on the wire: characters say nothing, a NUL alone takes six of them."""
    return len(fact.__pydantic_serializer__.to_json(fact, exclude_none=True)) + 1


def storable(fact: ExecutionObserved) -> ExecutionObserved:
    """Return a fact whose texts fit into one message, and travel: paths and programs may hold what is no character."""
    changes: dict[str, object] = {}
    if fact.problem is not None:
        problem = Problem(
            code=_text(fact.problem.code, CODE_CHARACTERS), message=_text(fact.problem.message, PROBLEM_CHARACTERS)
        )
        if problem != fact.problem:
            changes["problem"] = problem
    if fact.output is not None:
        output = fact.output.model_copy(
            update={
                "stdout": _text(fact.output.stdout, HEAD_CHARACTERS),
                "stderr": _text(fact.output.stderr, HEAD_CHARACTERS),
            }
        )
        if output != fact.output:
            changes["output"] = output
    if fact.image_digest is not None and fact.image_digest != (image := _text(fact.image_digest, IMAGE_CHARACTERS)):
        changes["image_digest"] = image
    if fact.note is not None and fact.note != (note := _text(fact.note, NOTE_CHARACTERS)):
        changes["note"] = note
    if len(fact.steps) > KEPT_STEPS:
        changes["steps"] = (fact.steps[0], *fact.steps[1 - KEPT_STEPS :])
    return fact.model_copy(update=changes) if changes else fact


def _text(text: str, most: int) -> str:
    return text[:most].encode("utf-8", "replace").decode("utf-8")
