"""Options of the commands that typer reads, and the frame around an asynchronous one."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer

T = TypeVar("T")


Api = Annotated[
    str | None,
    typer.Option("--api", metavar="URL", help="The API to talk to; else SKREI_API_URL, else http://127.0.0.1:1234."),
]
JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="A job's id or a prefix of it, its name, or `-`: the last one.")
]


def settled(command: Coroutine[Any, Any, T]) -> T:
    """Run an asynchronous command to its end."""
    return asyncio.run(command)


def remember(api: str | None) -> None:
    """Keep the endpoint that was given before the command's name: `skrei --api URL job list`."""
    if api:
        _GIVEN["api"] = api


def endpoint(api: str | None) -> str | None:
    """Return the endpoint given with the command, else before its name."""
    return api or _GIVEN.get("api")


_GIVEN: dict[str, str] = {}
