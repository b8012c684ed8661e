"""What an image is called: the registry, repository and tag or digest of a name as people write it. Pure."""

from dataclasses import dataclass

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"


@dataclass(frozen=True, slots=True)
class Reference:
    """A name in full: `busybox` is docker.io, library/busybox, latest."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}" + (f"@{self.digest}" if self.digest else f":{self.tag}")

    @property
    def familiar(self) -> str:
        """The repository as people write it."""
        if self.registry != DEFAULT_REGISTRY:
            return f"{self.registry}/{self.repository}"
        return self.repository.removeprefix("library/")


def parse(name: str) -> Reference:
    """Return what `name` stands for, by Docker's rules."""
    rest, _, digest = name.partition("@")
    first, slash, remainder = rest.partition("/")
    named = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry, rest = (first, remainder) if named else (DEFAULT_REGISTRY, rest)
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    head, colon, tag = rest.rpartition(":")
    repository = head if colon and "/" not in tag else rest
    tag = tag if colon and "/" not in tag else ""
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    return Reference(registry, repository, "" if digest else tag or DEFAULT_TAG, digest)


def digest_of(image: dict[str, object], name: str) -> str:
    """Return what an image is known by: `repository@digest` where it came from a registry, else its id."""
    known = image.get("RepoDigests")
    digests = [entry for entry in known if isinstance(entry, str)] if isinstance(known, list) else []
    if not digests:
        return str(image.get("Id") or "")
    wanted = parse(name).familiar
    return next((entry for entry in digests if entry.partition("@")[0] == wanted), digests[0])
