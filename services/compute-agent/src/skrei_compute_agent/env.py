"""What a program finds in its environment: the task's variables, host variables by allow-list, and ours on top."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence

from skrei_domain.errors import SkreiError
from skrei_domain.messages import RunOrder
from skrei_plugin_api.engine import PortBinding

HOST_PREFIX = "env:"
"""A value `env:NAME` asks for the host's variable NAME."""

SYSTEM_PREFIX = "BACALHAU_"
"""The names that only the node sets: programs written for this API expect them under this prefix."""


TRACEPARENT = "TRACEPARENT"
"""The trace that a program goes on with, where there is one; libraries of OpenTelemetry look for it there."""


class HostVariableDenied(SkreiError):
    """A task asks for a host variable that this node does not hand out."""

    code = "env-denied"


def environment(
    execution_id: str,
    order: RunOrder,
    task_env: Mapping[str, str],
    *,
    host: Mapping[str, str],
    allow: Sequence[str],
) -> dict[str, str]:
    """Return the variables of one execution; those that the node sets win over the task's.

    A value `env:NAME` is replaced by the host's NAME when it matches a pattern of `allow` (`*` and `?`).
    Raises HostVariableDenied where it does not, or where the host has no such variable.
    """
    made = {TRACEPARENT: order.traceparent} if order.traceparent else {}
    made |= {name: _value(name, text, host, allow) for name, text in task_env.items()}
    made.update(order.services or {})
    made.update(system_variables(execution_id, order))
    return made


def system_variables(execution_id: str, order: RunOrder) -> dict[str, str]:
    """Return what every program is told of itself."""
    return {
        "BACALHAU_EXECUTION_ID": execution_id,
        "BACALHAU_JOB_ID": order.job_id,
        "BACALHAU_JOB_TYPE": order.job_type,
        "BACALHAU_PARTITION_INDEX": str(order.partition),
        "BACALHAU_PARTITION_COUNT": str(order.partition_count),
    }


def port_variables(ports: Iterable[PortBinding]) -> dict[str, str]:
    """Return what a program is told of its ports: where it listens, and by which port of the node it is reached."""
    found: dict[str, str] = {}
    for one in ports:
        found[f"BACALHAU_PORT_{one.name}"] = str(one.target)
        found[f"BACALHAU_HOST_PORT_{one.name}"] = str(one.port)
    return found


def _value(name: str, text: str, host: Mapping[str, str], allow: Sequence[str]) -> str:
    if not text.startswith(HOST_PREFIX):
        return text
    wanted = text.removeprefix(HOST_PREFIX)
    if not any(fnmatch.fnmatchcase(wanted, pattern) for pattern in allow):
        raise HostVariableDenied(
            f"{name} asks for this node's variable {wanted}, which its allow-list does not name",
            hint="the node's owner may add it to SKREI_ALLOW_ENV",
        )
    if wanted not in host:
        raise HostVariableDenied(f"{name} asks for this node's variable {wanted}, which is not set here")
    return host[wanted]
