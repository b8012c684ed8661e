"""The bucket of `s3managed`, as the control plane's owner names it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from skrei_plugin_s3.params import read
from skrei_plugin_s3.targets import Encoding, Target, key_of

PREFIX = "s3managed_"


@dataclass(frozen=True, slots=True)
class Managed:
    """Read from the plugin's options, `s3managed_<name>`."""

    bucket: str
    key: str = ""
    """What the keys of all results begin with."""
    region: str = ""
    endpoint: str = ""

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "Managed | None":
        """Return what the options name; None where they name no bucket. Raises ValueError for what cannot be."""
        given = {key.removeprefix(PREFIX): text.strip() for key, text in options.items() if key.startswith(PREFIX)}
        if unknown := sorted(set(given) - set(cls.__slots__)):
            raise ValueError(
                f"{PREFIX}{unknown[0]} is no option; known are " + ", ".join(PREFIX + s for s in cls.__slots__)
            )
        if not given.get("bucket"):
            return None
        made = cls(**given)
        _, problems = read(
            {"Bucket": made.bucket, "Key": made.key.strip("/"), "Region": made.region, "Endpoint": made.endpoint}
        )
        if problems:
            raise ValueError(
                "; ".join(f"{PREFIX}{each.path.lower()}: {each.value}; {each.allowed}" for each in problems)
            )
        return made

    def target(self, place: str) -> Target:
        """Return the object of a result: `[<key>/]<job>/<execution>.tar.gz`."""
        return Target(self.bucket, key_of(self._prefix + place, Encoding.GZIP), self.region, self.endpoint)

    def holds(self, target: Target) -> bool:
        """Whether an object that a job names would lie among these, where it might take the place of another's."""
        return target.bucket == self.bucket and target.key.startswith(self._prefix)

    @property
    def _prefix(self) -> str:
        key = self.key.strip("/")
        return f"{key}/" if key else ""
