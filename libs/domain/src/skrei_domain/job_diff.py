"""What differs between two specs of a job: whether one is a new version of the other, and how that reads."""

import difflib
import json
from typing import Any

from skrei_domain.spec import JobSpec

RESERVED_META = "bacalhau.org/"
"""Meta keys that servers write themselves begin so: what stands there makes no version."""


def same(old: JobSpec, new: JobSpec) -> bool:
    """Whether the two ask for the same: the order of keys, the letters of amounts, and what servers write into
    `Meta`, do not count.
    """
    return _text(old) == _text(new)


def difference(old: JobSpec, new: JobSpec) -> str:
    """Return what differs as lines that begin with `-` (old), `+` (new) or a space; empty where nothing does."""
    before, after = _text(old).splitlines(), _text(new).splitlines()
    lines = list(difflib.unified_diff(before, after, n=3, lineterm=""))[2:]  # without the names of two files
    return "\n".join(line for line in lines if not line.startswith("@@"))


def _text(spec: JobSpec) -> str:
    values: dict[str, Any] = spec.model_dump(mode="json", exclude_none=True)
    values["Meta"] = {key: value for key, value in spec.meta.items() if not key.startswith(RESERVED_META)}
    for task in values["Tasks"]:
        amounts = task["Resources"]
        task["Resources"] = {name: text.lower() if isinstance(text, str) else text for name, text in amounts.items()}
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False)
