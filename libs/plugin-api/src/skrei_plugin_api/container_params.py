"""The parameters of a docker task as one typed value; what is allowed is said by `skrei_domain.docker_params`."""

from dataclasses import dataclass
from enum import StrEnum

from skrei_domain.docker_params import given
from skrei_plugin_api.plugin import Params


class Pull(StrEnum):
    """When a registry is asked for the image."""

    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class DockerParams:
    """What is run. `entrypoint` and `parameters`: None leaves it to the image; by Docker's rules an entrypoint drops
    the image's CMD, an empty one drops its ENTRYPOINT, and parameters take the place of CMD."""

    image: str
    entrypoint: tuple[str, ...] | None = None
    parameters: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    pull: Pull = Pull.MISSING


def read_params(params: Params) -> DockerParams:
    """Return params that have been found right."""
    env = [str(item).partition("=") for item in given(params, "EnvironmentVariables") or ()]  # type: ignore[attr-defined]
    return DockerParams(
        image=str(given(params, "Image")),
        entrypoint=_texts(given(params, "Entrypoint")),
        parameters=_texts(given(params, "Parameters")) or None,
        env=tuple((name, value) for name, _, value in env),
        working_dir=str(given(params, "WorkingDirectory") or ""),
        pull=Pull(str(given(params, "Pull") or Pull.MISSING).lower()),
    )


def _texts(value: object) -> tuple[str, ...] | None:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else None
