"""Values that fit a JSON schema, as far as ours use the language: for properties about what a schema accepts."""

from typing import Any

import jsonschema_rs
from hypothesis import strategies as st

Schema = dict[str, Any]


def fitting(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that the whole schema accepts."""
    validator = jsonschema_rs.Draft7Validator(schema)
    return _of(schema, schema).filter(validator.is_valid)


def _of(schema: Schema, root: Schema) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return _of(root["definitions"][schema["$ref"].rpartition("/")[2]], root)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of([_of({**_without(schema, "anyOf"), **one}, root) for one in schema["anyOf"]])
    if "allOf" in schema and "properties" not in schema:
        return _of(schema["allOf"][0], root)
    kind = schema.get("type") or ("integer" if {"const", "minimum"} & set(schema) else "string")
    return {
        "object": _object,
        "array": _array,
        "integer": _integer,
        "number": lambda one, _: st.integers(0, 4) | st.sampled_from([0.5, 1.25]),
        "boolean": lambda one, _: st.booleans(),
        "string": _string,
    }[kind](schema, root)


def _object(schema: Schema, root: Schema) -> st.SearchStrategy[Any]:
    known = schema.get("properties", {})
    if not known:
        key = _of({"type": "string", **schema.get("propertyNames", {})}, root)
        more = schema.get("additionalProperties")
        return st.dictionaries(key, _of(more, root), max_size=3) if isinstance(more, dict) else st.just({})
    plain = {name: _of(one, root) for name, one in known.items()}
    needed = {name: plain[name] for name in schema.get("required", ())}
    others = {name: one for name, one in plain.items() if name not in needed}
    choices = [st.fixed_dictionaries(needed, optional=others)]
    for rule in schema.get("allOf", ()):  # if a word stands in one place, then others have a shape
        (key, test), then = next(iter(rule["if"]["properties"].items())), rule["then"]
        shapes = {name: _of({**known[name], **one}, root) for name, one in then.get("properties", {}).items()}
        choices.append(st.fixed_dictionaries({**needed, key: _of(test, root), **shapes}))
    return st.one_of(choices)


def _array(schema: Schema, root: Schema) -> st.SearchStrategy[Any]:
    low = schema.get("minItems", 0)
    high = min(schema.get("maxItems", 2), max(low, 2))
    return st.lists(_of(schema.get("items", {}), root), min_size=low, max_size=high)


def _integer(schema: Schema, root: Schema) -> st.SearchStrategy[Any]:
    if "const" in schema:
        return st.just(schema["const"])
    low = schema.get("minimum", 0)
    return st.integers(low, schema.get("maximum", low + 10**6))


def _string(schema: Schema, root: Schema) -> st.SearchStrategy[Any]:
    if "pattern" in schema:
        letters = st.characters(min_codepoint=32, max_codepoint=126)
        return st.from_regex(schema["pattern"], fullmatch=False, alphabet=letters).map(lambda text: text.rstrip("\n"))
    return st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=min(schema.get("maxLength", 12), 12))


def _without(schema: Schema, key: str) -> Schema:
    return {name: value for name, value in schema.items() if name != key}
