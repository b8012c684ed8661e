"""What the control plane says to this node, read: what cannot be read is told of, and stops nothing."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from skrei_domain.envelope import unwrap
from skrei_kit.observability import get_logger

log = get_logger()

T = TypeVar("T", bound=BaseModel)


def heard(model: type[T], payload: bytes) -> T | None:
    """Return the message in an envelope; None, and a line in the log, where it cannot be read."""
    try:
        return unwrap(model, payload)
    except ValidationError as error:
        log.warning("message_unreadable", wanted=model.__name__, problem=str(error))
        return None
