"""The shapes that docs/schemas/output.json promises to programs."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs

PAGE: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "schemas" / "output.json").read_text("utf-8")
)


def fits(name: str, document: Any) -> bool:
    """Whether a command's output has its shape."""
    schema = {"$ref": f"#/definitions/{name.replace(' ', '%20')}", "definitions": PAGE["definitions"]}
    return jsonschema_rs.Draft7Validator(schema).is_valid(document)
