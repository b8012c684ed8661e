"""The document as a page for people: plain HTML made here, with nothing that is fetched from anywhere."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
}
"""The page may load nothing, run nothing and send nothing."""

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8884; border-radius: .4rem; }
summary { cursor: pointer; padding: .35rem 0; }
summary code { font-weight: 600; }
details { border-top: 1px solid #8884; }
details > div { padding: 0 0 1rem 1rem; }
table { border-collapse: collapse; margin: .5rem 0; }
td, th { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0; }
.verb { display: inline-block; min-width: 4.5rem; font-weight: 700; }
nav a { margin-right: 1rem; }
"""


def page(document: Mapping[str, Any]) -> str:
    """Return the page: every operation with what it takes and answers, then every shape."""
    return "".join(_page(document))


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{escape(info['title'])} API <small>{escape(info['version'])}</small></h1>"
    yield f"<p>{escape(info['description'])}</p>"
    yield '<p>For programs: <a href="/openapi.json"><code>/openapi.json</code></a> (OpenAPI 3.1).</p><nav>'
    for tag in document["tags"]:
        yield f'<a href="#{escape(tag["name"])}">{escape(tag["name"])}</a>'
    yield '<a href="#shapes">Shapes</a></nav>'
    for tag in document["tags"]:
        yield f'<h2 id="{escape(tag["name"])}">{escape(tag["name"])}</h2><p>{escape(tag["description"])}</p>'
        for path, operations in document["paths"].items():
            for verb, operation in operations.items():
                if operation["tags"] == [tag["name"]]:
                    yield from _operation(path, verb, operation, document)
    yield '<h2 id="shapes">Shapes</h2>'
    for name, schema in document["components"]["schemas"].items():
        yield f'<details id="shape-{escape(name)}"><summary><code>{escape(name)}</code> '
        yield f"{escape(schema.get('description', ''))}</summary><div>{_code(schema)}</div></details>"
    yield "</body></html>"


def _operation(path: str, verb: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    yield f'<details><summary><span class="verb">{verb.upper()}</span> <code>{escape(path)}</code> '
    yield f"{escape(operation['summary'])}</summary><div>"
    if text := operation.get("description"):
        yield f"<p>{escape(text)}</p>"
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>Parameter</th><th>In</th><th>Type</th><th></th></tr>"
        for each in parameters:
            yield f"<tr><td><code>{escape(each['name'])}</code></td><td>{each['in']}</td>"
            yield f"<td><code>{escape(_kind(each['schema']))}</code></td><td>{escape(each['description'])}</td></tr>"
        yield "</table>"
    if body := operation.get("requestBody"):
        schema = body["content"]["application/json"]["schema"]
        yield f"<p>Body: {_link(schema)}{'' if body['required'] else ', or none'}</p>"
        if (example := _example(schema, document)) is not None:
            yield _code(example)
    yield "<table><tr><th>Answer</th><th></th><th></th></tr>"
    for status, response in operation["responses"].items():
        shapes = ", ".join(_link(content["schema"]) for content in response.get("content", {}).values())
        yield f"<tr><td>{status}</td><td>{escape(response['description'])}</td><td>{shapes}</td></tr>"
    yield "</table></div></details>"


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"{_kind(schema['items'])}, repeatable"
    return str(schema.get("type", ""))


def _link(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_link(each) for each in schema["anyOf"])
    name = schema.get("$ref", "").rpartition("/")[2]
    return f'<a href="#shape-{escape(name)}"><code>{escape(name)}</code></a>' if name else escape(_kind(schema))


def _example(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    name = schema.get("$ref", "").rpartition("/")[2]
    examples = document["components"]["schemas"].get(name, {}).get("examples", [])
    return examples[0] if examples else None


def _code(value: Any) -> str:
    return f"<pre><code>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</code></pre>"
