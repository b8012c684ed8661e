"""Settings that a client is told by file or as `key=value`: the file of `skrei config set`, and what `-c` says.

A file is YAML, its keys flat (`api_url`) or nested (`API: {Host: …}`), in any case; here: `api_url` and `api.host`.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from skrei.errors import Rejected

MOST_FILE_BYTES = 1024 * 1024
"""Settings are a few hundred lines."""


def client_settings(said: Iterable[str]) -> dict[str, str]:
    """Return what each `-c` says, a later one over an earlier. Raises Rejected for a file that cannot be read."""
    found: dict[str, str] = {}
    for text in said:
        found |= _said(text)
    return found


def _said(text: str) -> dict[str, str]:
    """Return what one `-c` says: a file, `KEY=VALUE`, or a KEY alone, which is true."""
    if names_a_file(text):
        return flat(read(Path(text)))
    key, separator, value = text.partition("=")
    if not key or key.startswith("="):
        raise Rejected(f"--config {text}: not FILE or KEY=VALUE.", hint="For example --config api.host=10.0.0.1")
    return {key.strip().lower(): value.strip() if separator else "true"}


def names_a_file(text: str) -> bool:
    """Return whether a `-c` names a file, not a setting."""
    return text.endswith((".yaml", ".yml", ".json")) or os.sep in text.partition("=")[0] or Path(text).is_file()


def read(path: Path) -> dict[str, Any]:
    """Return what a file of settings holds. Raises Rejected for one that cannot be read or holds something else."""
    import yaml

    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise Rejected(f"{path} is no file of settings: it has more than {MOST_FILE_BYTES} bytes.")
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise Rejected(f"{path} cannot be read: {error.strerror}.", hint="Name a YAML file with settings.") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise Rejected(f"{path} is not YAML: {told}.", hint="It needs lines such as `log_level: debug`.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise Rejected(f"{path} holds no settings.", hint="It needs lines such as `log_level: debug`.")
    return content


def flat(content: Mapping[Any, Any], before: str = "") -> dict[str, str]:
    """Return nested settings as `a.b` by text, lists joined by commas."""
    found: dict[str, str] = {}
    for key, value in content.items():
        name = f"{before}{key}".lower()
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif isinstance(value, list):
            found[name] = ",".join(map(str, value))
        elif value is not None:
            found[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return found
