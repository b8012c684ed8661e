"""What a stack's node leaves outside of its folder (containers), for who takes the folder away with it."""

import asyncio
from importlib import import_module
from pathlib import Path

from skrei_domain.errors import SkreiError
from skrei_kit.settings import load
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.registry import PluginError, engines

ENGINE_SECONDS = 30.0
"""For one engine to take away all that ran: a daemon that needs more is left as it is, and told."""


async def remove_runs(data: Path) -> list[str]:
    """Remove what the runs of the stopped node in `data` left at its engines; return what could not be removed.

    Only what is marked with this node's id is touched; a folder without a node has nothing.
    """
    try:
        node_id = (data / "keys" / "node.id").read_text("ascii").strip()
    except OSError:
        return []
    agent = import_module("skrei_compute_agent.settings")
    settings = load(agent.Settings, node_id=node_id, data_dir=data / "agent")
    problems = []
    registry = engines()
    for name in registry.names:
        try:
            kind = registry.load(name)
            if not kind.adopts:
                continue  # its programs ended with the node
            place = settings.plugin_dir("engine", name)
            engine = kind(PluginContext(place, options=settings.plugin_options, node_id=node_id))
        except PluginError:
            continue  # it ran nothing here
        try:
            if (await engine.describe()).available:
                async with asyncio.timeout(ENGINE_SECONDS):
                    await engine.sweep(lambda _: False)
        except (SkreiError, TimeoutError) as error:
            problems.append(f"{name}: {error or f'no end after {ENGINE_SECONDS:g} s'}")
        finally:
            await engine.close()
    return problems
