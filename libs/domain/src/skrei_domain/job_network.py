"""What a task says of its network: kinds, domains and ports, each rule of them checked."""

import ipaddress
import re
from typing import Any

from skrei_domain.job_reading import Keys, Reading
from skrei_domain.spec import MAX_PORTS

_NETWORK = Keys("Type", "Domains", "Ports")
_PORT = Keys("Name", "Static", "Target", "HostNetwork")
_NETWORKS = {word.lower(): word for word in ("Default", "None", "Host", "Full", "HTTP", "Bridge")}
_PORT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,236}")
_DOMAIN = re.compile(r"(?:\*?\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+(?:[a-z]{2,}|xn--[a-z0-9-]*[a-z0-9])")


def read_network(reading: Reading, raw: object, path: str, engine: str) -> dict[str, Any]:
    """Return the network part with its defaults; `path` is where it stands."""
    found = reading.record(raw, path, _NETWORK)
    kind = found["Type"] = reading.choice(found.get("Type"), f"{path}.Type", _NETWORKS, "Default")
    domains = [
        reading.text(item, f"{path}.Domains[{index}]").strip().lower()
        for index, item in enumerate(reading.items(found.get("Domains"), f"{path}.Domains"))
    ]
    found["Domains"] = domains
    if domains and kind != "HTTP":
        reading.wrong(f"{path}.Domains", domains, "none unless Network.Type is HTTP")
    for index, domain in enumerate(domains):
        if not (_DOMAIN.fullmatch(domain) or _is_ip(domain)):
            reading.wrong(
                f"{path}.Domains[{index}]", domain, "a domain such as `example.com` or `.example.com`, or an IP"
            )
    ports = reading.items(found.get("Ports"), f"{path}.Ports")
    if ports and kind not in ("Host", "Full", "Bridge"):
        reading.missing(f"{path}.Ports", "none unless Network.Type is Host or Bridge", f"{len(ports)} ports")
    elif ports and engine.casefold() == "wasm":
        reading.missing(f"{path}.Ports", "none for wasm: its programs cannot listen", f"{len(ports)} ports")
    elif len(ports) > MAX_PORTS:
        reading.missing(f"{path}.Ports", f"at most {MAX_PORTS} ports", f"{len(ports)} ports")
    found["Ports"] = [_port(reading, port, f"{path}.Ports[{i}]", kind) for i, port in enumerate(ports[:MAX_PORTS])]
    for key in ("Name", "Static", "Target"):
        values = [(f"{path}.Ports[{i}].{key}", str(port[key] or "")) for i, port in enumerate(found["Ports"])]
        reading.unique(values, key.lower())
    if kind == "HTTP" and not domains:
        reading.missing(f"{path}.Domains", "at least one domain where Network.Type is HTTP", "none")
    return found


def _port(reading: Reading, raw: object, path: str, kind: str) -> dict[str, Any]:
    port = reading.record(raw, path, _PORT)
    name = port["Name"] = reading.text(port.get("Name"), f"{path}.Name")
    if not _PORT_NAME.fullmatch(name):
        reading.wrong(f"{path}.Name", name, "letters, digits and `_`, not starting with a digit, at most 237")
    static = port["Static"] = reading.integer(port.get("Static"), f"{path}.Static", 0, 65_535)
    if 0 < static < 1024:
        reading.wrong(f"{path}.Static", static, "0 (any free port) or 1024 to 65535")
    target = port["Target"] = reading.integer(port.get("Target"), f"{path}.Target", 0, 65_535)
    if target and kind in ("Host", "Full"):
        reading.wrong(f"{path}.Target", target, "0 with Network.Type Host")
    host = port["HostNetwork"] = reading.text(port.get("HostNetwork"), f"{path}.HostNetwork").strip()
    if host and not _is_ip(host):
        reading.wrong(f"{path}.HostNetwork", host, "an IP address")
    return port


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
