"""The envelope of every message: CloudEvents 1.0, structured mode, with `traceparent` (W3C Trace Context)."""

from json.encoder import encode_basestring as _quote
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T", bound=BaseModel)


class Envelope(BaseModel, Generic[T]):
    """A CloudEvent whose data is one message."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    traceparent: str | None = None
    data: T


def wrap(message: BaseModel, *, type_: str, source: str, id_: str, traceparent: str = "") -> bytes:
    """Return `message` as a CloudEvent in JSON.

    Hand-assembled around the message's own JSON: on the hot path a second model would cost as much as the message.
    """
    trace = f',"traceparent":{_quote(traceparent)}' if traceparent else ""
    head = (
        f'{{"specversion":"1.0","id":{_quote(id_)},"source":{_quote(source)},"type":{_quote(type_)}'
        f'{trace},"datacontenttype":"application/json","data":'
    )
    return head.encode() + message.__pydantic_serializer__.to_json(message, exclude_none=True) + b"}"


def unwrap(model: type[T], payload: bytes) -> T:
    """Return the message inside a CloudEvent. Raises pydantic.ValidationError for anything else."""
    envelope = _ENVELOPES.get(model)
    if envelope is None:
        envelope = _ENVELOPES[model] = Envelope[model]  # type: ignore[valid-type]
    data: T = envelope.model_validate_json(payload).data
    return data


_ENVELOPES: dict[type[BaseModel], Any] = {}
"""Envelopes by what they hold: pydantic forgets a model that nobody keeps, and makes it again for every message."""
