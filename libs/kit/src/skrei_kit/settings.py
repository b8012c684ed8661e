"""Settings: one frozen, typed model a service, from the environment and an optional config file.

Names in the environment are the field's with the prefix `SKREI_`. A config file (YAML, named by `SKREI_CONFIG` or
a flag) holds the same names in lower case; a key that no model knows is refused with the nearest known one.
"""

import difflib
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from skrei_domain.errors import Invalid

T = TypeVar("T", bound="Settings")

PREFIX = "SKREI_"
_HIGHEST_PORT = 65_535


def _level(text: str) -> str:
    if text.upper() not in logging.getLevelNamesMapping():
        raise ValueError(f"{text!r} is not a log level: use debug, info, warning or error")
    return text


LogLevel = Annotated[str, AfterValidator(_level)]
"""How much a service logs, in any case: what `configure_logs` takes."""


def host_and_port(text: str) -> tuple[str, int]:
    """Return both of `host:port`, `[::1]:port`. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > _HIGHEST_PORT or (":" in host and not host.startswith("[")):
        raise ValueError(f"{text!r} is no address to listen on: use host:port, 127.0.0.1:1236 or [::1]:1236")
    return host.strip("[]"), int(port)


def _listen(text: str) -> str:
    if text:
        host_and_port(text)
    return text


class Settings(BaseModel):
    """The base of every service's settings. Every field says what it does, its unit, and why its default."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    health_listen: Annotated[str, AfterValidator(_listen)] = ""
    """Where this service answers `/healthz`, `/readyz` and `/metrics`, as `host:port`; empty: nowhere. A stack that
    `skrei serve` runs gives each of its services a port of its own, from this one upwards."""


def items(value: object) -> object:
    """Return the items of `a, b`; what is no text is returned as it is."""
    return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value


def pairs(value: object) -> object:
    """Return the pairs of `results=7d,team:history=30d`; what is no text is returned as it is."""
    if not isinstance(value, str):
        return value
    told = (item.partition("=") for item in value.split(",") if item.strip())
    return {key.strip(): text.strip() for key, _, text in told}


def load(model: type[T], *, config: Path | None = None, known: Iterable[str] = (), **given: Any) -> T:
    """Return settings: what is `given` wins over the environment, which wins over the config file.

    An empty variable is one that is not set. `known` are keys of other models that the file may also hold. Raises
    Invalid, one line for each wrong setting.
    """
    path = config or (Path(os.environ[f"{PREFIX}CONFIG"]) if os.environ.get(f"{PREFIX}CONFIG") else None)
    from_file = read_config(path, {*model.model_fields, *known}) if path else {}
    told = {name: os.environ.get(f"{PREFIX}{name.upper()}") or from_file.get(name) for name in model.model_fields}
    try:
        return model(**{**{name: value for name, value in told.items() if value is not None}, **given})
    except ValidationError as error:
        lines = [
            f"{PREFIX}{'.'.join(map(str, item['loc'])).upper()}: {item['msg'].removeprefix('Value error, ')}"
            + ("" if item["type"] == "missing" else f" (it is {item['input']!r})")
            for item in error.errors()
        ]
        raise Invalid("\n".join(lines), hint="set them in the environment or in the config file") from error


def read_config(path: Path, known: Iterable[str]) -> dict[str, Any]:
    """Return a config file's settings. Raises Invalid for a file that cannot be read, and for unknown keys."""
    import yaml  # few have a file, and who has none need not pay for reading one

    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise Invalid(f"the config file {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise Invalid(f"the config file {path} does not hold settings: it needs `name: value` lines")
    names = sorted(known)
    problems = []
    for key in content:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            problems.append(f"{path}: unknown setting {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if problems:
        raise Invalid("\n".join(problems))
    return {str(key): value for key, value in content.items()}
