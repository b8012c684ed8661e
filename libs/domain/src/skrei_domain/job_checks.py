"""When a task is ready: `Check`, how it is asked and how often, each rule of it. Without one it is once it runs."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from skrei_domain.job_reading import Keys, Reading

DEFAULT_INTERVAL_SECONDS = 10
DEFAULT_TIMEOUT_SECONDS = 5
DEFAULT_HEALTHY = 1
DEFAULT_UNHEALTHY = 3
MAX_CHECK_SECONDS = 3_600
"""Between two questions: a service that is asked once an hour is not looked after."""
MAX_IN_A_ROW = 100
"""Answers in a row: with the longest interval that is four days."""
MAX_PATH_BYTES = 1_024
MAX_COMMAND_BYTES = 4_096
"""Of a command that says whether a task is ready: more is a script, which belongs into the image."""

_CHECK = Keys("HTTP", "TCP", "Exec", "Interval", "Timeout", "Healthy", "Unhealthy")
_HTTP = Keys("Port", "Path")
_TCP = Keys("Port")
_EXEC = Keys("Command")
_PATH = re.compile(r"/[!-~]*")
_WAYS = ("HTTP", "TCP", "Exec")
_NO_COMMANDS = frozenset({"wasm"})


def read_check(
    reading: Reading, raw: object, path: str, network: Mapping[str, Any], engine: str
) -> dict[str, Any] | None:
    """Return a task's check with its defaults, None where it has none; its port is one of `network`."""
    if raw is None:
        return None
    found = reading.record(raw, path, _CHECK)
    ways = [way for way in _WAYS if found.get(way) is not None]
    if len(ways) != 1:
        reading.missing(path, "one of HTTP, TCP and Exec", " and ".join(ways) or "none of them")
    for way in _WAYS:
        if found.get(way) is None:
            found.pop(way, None)
    if "Exec" in found:
        found["Exec"] = reading.record(found["Exec"], f"{path}.Exec", _EXEC)
        found["Exec"]["Command"] = _command(reading, found["Exec"].get("Command"), f"{path}.Exec.Command")
        if engine.casefold() in _NO_COMMANDS:
            reading.wrong(f"{path}.Exec", engine, "an engine that runs commands beside the program (docker)")
    if "HTTP" in found:
        http = found["HTTP"] = reading.record(found["HTTP"], f"{path}.HTTP", _HTTP)
        http["Path"] = reading.text(http.get("Path"), f"{path}.HTTP.Path", limit=MAX_PATH_BYTES) or "/"
        if not _PATH.fullmatch(http["Path"]):
            reading.wrong(f"{path}.HTTP.Path", http["Path"], "a path that starts with `/`, as in a URL (no spaces)")
        http["Port"] = _port(reading, http.get("Port"), f"{path}.HTTP.Port", network)
    if "TCP" in found:
        tcp = found["TCP"] = reading.record(found["TCP"], f"{path}.TCP", _TCP)
        tcp["Port"] = _port(reading, tcp.get("Port"), f"{path}.TCP.Port", network)
    for name, default in (("Interval", DEFAULT_INTERVAL_SECONDS), ("Timeout", DEFAULT_TIMEOUT_SECONDS)):
        before = len(reading.problems)
        found[name] = reading.seconds(found.get(name), f"{path}.{name}", MAX_CHECK_SECONDS, default=default)
        if not found[name] and len(reading.problems) == before:
            reading.wrong(f"{path}.{name}", 0, "at least 1 second")
    for name, default in (("Healthy", DEFAULT_HEALTHY), ("Unhealthy", DEFAULT_UNHEALTHY)):
        found[name] = reading.integer(found.get(name), f"{path}.{name}", 1, MAX_IN_A_ROW, default=default)
    return found


def _command(reading: Reading, raw: object, path: str) -> list[str]:
    """Return a command's words."""
    words = raw if isinstance(raw, list) else []
    if not words or not all(isinstance(word, str) for word in words) or not words[0].strip():
        allowed = "a list of texts, the program first: [pg_isready, -q]; for a shell [sh, -c, 'test -e /ready']"
        if raw is None:
            reading.missing(path, allowed)
        else:
            reading.wrong(path, raw, allowed)
        return []
    if sum(len(word.encode()) for word in words) > MAX_COMMAND_BYTES:
        reading.missing(path, f"a command of at most {MAX_COMMAND_BYTES:,} bytes", "a longer one")
    return [str(word) for word in words]


def _port(reading: Reading, raw: object, path: str, network: Mapping[str, Any]) -> str:
    """Return the name of the port; where the task has only one it need not be named."""
    ports: Sequence[Mapping[str, Any]] = network.get("Ports") or ()
    names = [str(port.get("Name")) for port in ports]
    name = reading.text(raw, path) or (names[0] if len(names) == 1 else "")
    if name not in names:
        allowed = f"the name of one of Network.Ports ({', '.join(names)})" if names else "a task with Network.Ports"
        if name:
            reading.wrong(path, name, allowed)
        else:
            reading.missing(path, allowed)
    return name
