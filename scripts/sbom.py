"""Write what an image is made of, as CycloneDX: `python -m scripts.sbom TARGET LOCK FILE`, run by the image's Python.

Named are our packages, those that the lock pins, the Python and the Debian packages below them. The same image gives
the same bytes: there is no time and no chance in them.
"""

import hashlib
import json
import platform
import re
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path

PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[.*\])?==([^ ;\\]+)", re.MULTILINE)
DPKG = Path("/var/lib/dpkg/status")
Component = dict[str, object]


def main(arguments: Sequence[str]) -> int:
    """Write the file. Raises ValueError where what is installed is not what the lock says."""
    target, lock, out = arguments
    pinned = Path(lock).read_bytes()
    parts = packages(distributions(), pins(pinned.decode()))
    dpkg = DPKG.read_text("utf-8") if DPKG.exists() else ""
    below: list[Component] = [
        component(
            "application", "python", platform.python_version(), f"pkg:generic/python@{platform.python_version()}"
        ),
        *debian(dpkg),
    ]
    Path(out).write_text(document(target, hashlib.sha256(pinned).hexdigest(), [*parts, *below]))
    return 0


def document(target: str, lock_digest: str, components: Iterable[Component]) -> str:
    """Return the list of parts of one image."""
    body: dict[str, object] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "container", "bom-ref": f"skrei-{target}", "name": f"skrei-{target}"},
            "properties": [{"name": "skrei:lock:sha256", "value": lock_digest}],
        },
        "components": sorted(components, key=lambda each: str(each["purl"])),
    }
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    return json.dumps({**body, "serialNumber": number.urn}, indent=1) + "\n"


def packages(found: Iterable[Distribution], pinned: Mapping[str, str]) -> list[Component]:
    """Return the Python packages that are there. Raises ValueError for one that is neither ours nor pinned so."""
    parts = []
    for one in found:
        name, version = normalised(one.metadata["Name"]), one.version
        ours = name == "skrei" or name.startswith("skrei-")
        if not ours and pinned.get(name) != version:
            raise ValueError(f"{name} {version} is installed, and the lock says {pinned.get(name, 'nothing of it')}")
        parts.append(component("library", name, version, f"pkg:pypi/{name}@{version}", licence(one)))
    return parts


def licence(one: Distribution) -> str:
    """Return what a package says of its licence, in its own words; empty where it says nothing."""
    for told in one.metadata.get_all("License-Expression") or one.metadata.get_all("License") or []:
        if told and "\n" not in told:
            return str(told)
    classes = one.metadata.get_all("Classifier") or []
    return next((each.rpartition(" :: ")[2] for each in classes if each.startswith("License ::")), "")


def debian(status: str) -> list[Component]:
    """Return the packages that a text of dpkg's status lists as installed."""
    found = []
    for block in status.split("\n\n"):
        told = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", block, re.MULTILINE))
        if told.get("Status", "").endswith(" installed"):
            name, version, machine = told["Package"], told["Version"], told["Architecture"]
            found.append(component("library", name, version, f"pkg:deb/debian/{name}@{version}?arch={machine}"))
    return found


def component(kind: str, name: str, version: str, purl: str, licence_name: str = "") -> Component:
    """Return one part."""
    told: Component = {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}
    return told | ({"licenses": [{"license": {"name": licence_name}}]} if licence_name else {})


def pins(lock: str) -> dict[str, str]:
    """Return the versions that a file of requirements pins; of several for several Pythons, the last."""
    return {normalised(name): version for name, version in PIN.findall(lock)}


def normalised(name: str) -> str:
    """Return a package's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
