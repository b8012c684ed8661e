"""Small words that shapes are made of: JSON Schemas (2020-12) as plain values."""

from collections.abc import Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "array", "items": TEXT}
MAP: Schema = {"type": "object", "additionalProperties": TEXT}
TIME: Schema = {"type": "string", "format": "date-time"}
NANOSECONDS: Schema = {"type": "integer", "minimum": 0, "description": "Nanoseconds since 1970."}
TOKEN: Schema = {"type": "string", "description": "For `next_token`; empty after the last page."}


def ref(name: str) -> Schema:
    """Return a reference to a shape of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def thing(
    text: str, always: Mapping[str, Schema], sometimes: Mapping[str, Schema] | None = None, **more: Any
) -> Schema:
    """Return an object with keys that are always there and keys that may be; others may come with later versions."""
    schema: Schema = {"type": "object", "description": text, "properties": {**always, **(sometimes or {})}}
    if always:
        schema["required"] = list(always)
    return schema | more


def several(item: Schema, **more: Any) -> Schema:
    """Return a list."""
    return {"type": "array", "items": item, **more}


def page(text: str, item: str, key: str = "Items", **more: Any) -> Schema:
    """Return a page of a list."""
    return thing(text, {"NextToken": TOKEN, key: several(ref(item))}, **more)


def word(*words: str, text: str = "") -> Schema:
    """Return one of a few words."""
    return {"enum": list(words)} | ({"description": text} if text else {})


def said(schema: Schema, text: str) -> Schema:
    """Return a schema with a description."""
    return schema | {"description": text}


def or_null(schema: Schema) -> Schema:
    """Return a schema that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}
