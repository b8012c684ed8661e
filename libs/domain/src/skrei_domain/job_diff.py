"""What differs between two specs of a job: whether one is a new version of the other, and how that reads."""

import difflib
import hashlib
import json
from typing import Any

from skrei_domain.spec import JobSpec

RESERVED_META = "bacalhau.org/"
"""Meta keys that servers write themselves begin so: what stands there makes no version."""


SHOWN = 200
"""Characters of a text that a difference shows whole; of a longer one its beginning, its length and its digest."""


def same(old: JobSpec, new: JobSpec) -> bool:
    """Whether the two ask for the same: the order of keys, the letters of amounts, and what servers write into
    `Meta`, do not count.
    """
    return _text(old) == _text(new)


def what_runs(spec: JobSpec) -> str:
    """Return a digest of all that says what an execution is and where it may be: all but how many there are, and how a
    service goes to its next version.

    What nobody said does not count: a release that knows more of a spec does not start again what runs.
    """
    values = _values(spec, exclude_defaults=True)
    for name in ("Update", "Count"):
        values.pop(name, None)
    for task in values.get("Tasks", ()):
        task.pop("Count", None)
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))  # with `indent` it would take five times as long
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def difference(old: JobSpec, new: JobSpec) -> str:
    """Return what differs as lines that begin with `-` (old), `+` (new) or a space; empty where nothing does."""
    before, after = (json.dumps(_short(_values(spec)), **_LINES).splitlines() for spec in (old, new))
    lines = list(difflib.unified_diff(before, after, n=3, lineterm=""))[2:]  # without the names of two files
    return "\n".join(line for line in lines if not line.startswith("@@"))


_LINES: dict[str, Any] = {"indent": 1, "sort_keys": True, "ensure_ascii": False}


def _text(spec: JobSpec) -> str:
    return json.dumps(_values(spec), **_LINES)


def _values(spec: JobSpec, *, exclude_defaults: bool = False) -> dict[str, Any]:
    values: dict[str, Any] = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=exclude_defaults)
    values["Meta"] = {key: value for key, value in spec.meta.items() if not key.startswith(RESERVED_META)}
    for task in values.get("Tasks", ()):
        amounts = task.get("Resources", {})
        task["Resources"] = {name: text.lower() if isinstance(text, str) else text for name, text in amounts.items()}
    return values


def _short(value: Any) -> Any:
    match value:
        case dict():
            return {key: _short(item) for key, item in value.items()}
        case list():
            return [_short(item) for item in value]
        case str() if len(value) > SHOWN:
            digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:12]
            return f"{value[:60]}… ({len(value):,} characters, sha256 {digest})"
    return value
