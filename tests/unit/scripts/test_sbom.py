"""The list of an image's parts: complete, in order, and the same each time."""

import json
from email.message import Message
from importlib.metadata import Distribution

import pytest

from scripts import sbom

STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


class Installed(Distribution):
    """A package that is there."""

    def __init__(self, name: str, version: str, **told: str) -> None:
        self.told = Message()
        for key, value in {"Name": name, "Version": version, **told}.items():
            self.told[key.replace("_", "-")] = value

    @property
    def metadata(self) -> Message:  # type: ignore[override]
        return self.told

    def read_text(self, filename: str) -> None:
        return None

    def locate_file(self, path: object) -> None:  # type: ignore[override]
        return None


def test_what_the_lock_pins_and_what_is_ours_is_listed() -> None:
    found = [Installed("Skrei_Kit", "0.5.0"), Installed("PyYAML", "6.0", License_Expression="MIT")]
    parts = sbom.packages(found, {"pyyaml": "6.0"})
    assert [part["purl"] for part in parts] == ["pkg:pypi/skrei-kit@0.5.0", "pkg:pypi/pyyaml@6.0"]
    assert parts[1]["licenses"] == [{"license": {"name": "MIT"}}]


@pytest.mark.parametrize("pinned", [{}, {"pyyaml": "5.0"}])
def test_what_the_lock_does_not_say_fails_the_build(pinned: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"pyyaml 6\.0 is installed, and the lock says"):
        sbom.packages([Installed("PyYAML", "6.0")], pinned)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"License": "BSD"}, "BSD"),
        ({"License": "a text\nof many lines", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT License"),
        ({}, ""),
    ],
)
def test_a_licence_is_told_in_the_packages_own_words(told: dict[str, str], name: str) -> None:
    assert sbom.licence(Installed("x", "1", **told)) == name


def test_debian_packages_are_those_that_are_installed() -> None:
    assert [part["purl"] for part in sbom.debian(STATUS)] == ["pkg:deb/debian/libc6@2.36-9?arch=amd64"]


def test_the_same_parts_give_the_same_bytes_in_any_order() -> None:
    parts = [sbom.component("library", name, "1", f"pkg:pypi/{name}@1") for name in ("b", "a")]
    first, second = (sbom.document("tools", "d", each) for each in (parts, parts[::-1]))
    assert first == second
    told = json.loads(first)
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.5")
    assert told["serialNumber"].startswith("urn:uuid:")
    assert [each["name"] for each in told["components"]] == ["a", "b"]


def test_pins_are_read_with_extras_and_markers() -> None:
    text = "nats-py[nkeys]==2.1 ; x \\\n    --hash=sha256:0\nPyYAML==6.0 \\\n"
    assert sbom.pins(text) == {"nats-py": "2.1", "pyyaml": "6.0"}
