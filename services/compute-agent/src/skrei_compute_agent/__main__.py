"""The process `skrei-compute-agent`: settings from the environment, one node, until SIGTERM."""

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from skrei_compute_agent.service import serve
from skrei_compute_agent.settings import Settings
from skrei_compute_agent.toolbox import make_tools
from skrei_domain.errors import SkreiError
from skrei_kit.observability import configure_logs, get_logger
from skrei_kit.settings import load
from skrei_kit.supervisor import await_start, die_with_parent, stop_on_signals

SERVICE = "compute-agent"


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    await serve(settings, stop, make_tools)


def main() -> None:
    """Run a node for a supervisor; exits 1 with one sentence when it cannot go on."""
    die_with_parent()
    await_start()
    configure_logs(service=SERVICE)  # a wrong setting is said the same way
    run({})


def run(given: Mapping[str, Any]) -> None:
    """Run a node with the settings that are `given` and those of the environment; exits as `main` does."""
    errors: list[SkreiError] = []
    try:
        settings = load(Settings, **given)
        configure_logs(settings.log_level, service=SERVICE)
        asyncio.run(_serve(settings))
    except* SkreiError as group:
        errors = _leaves(group)
    for error in errors:
        get_logger().error("node_ended", code=error.code, problem=error.message, hint=error.hint)
    if errors:
        sys.exit(1)


def _leaves(group: BaseExceptionGroup[SkreiError]) -> list[SkreiError]:
    found: list[SkreiError] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


if __name__ == "__main__":
    main()
