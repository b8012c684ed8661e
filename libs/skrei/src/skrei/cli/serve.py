"""`skrei serve`: the stack of this machine, with an embedded Postgres and nats-server unless others are named."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from skrei.cli import supervise
from skrei.errors import Rejected

LOG_LEVELS = ("debug", "info", "warning", "error")
POSTGRES_SCHEMES = ("postgresql://", "postgres://")

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def serve(
    orchestrator: Annotated[bool, typer.Option("--orchestrator", help="Run the control plane.")] = False,
    compute: Annotated[bool, typer.Option("--compute", help="Run a node; neither flag is both.")] = False,
    *,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            envvar="SKREI_DATA_DIR",
            help="Where everything lies; else /var/lib/skrei for root, ~/.skrei for others.",
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="ADDR", help="Let other machines in at this address; else this one alone."),
    ] = None,
    port: Annotated[
        int,
        typer.Option("--port", envvar="SKREI_API_PORT", min=0, max=65535, help="The API's port; 0 takes a free one."),
    ] = 1234,
    publisher_port: Annotated[
        int,
        typer.Option(
            "--publisher-port",
            envvar="SKREI_PUBLISHER_PORT",
            min=0,
            max=65535,
            help="The port of the publisher's door.",
        ),
    ] = 1235,
    nats_port: Annotated[
        int, typer.Option("--nats-port", envvar="SKREI_NATS_PORT", min=0, max=65535, help="The embedded server's port.")
    ] = 4222,
    database_url: Annotated[
        str | None, typer.Option("--database-url", help="A Postgres to use instead of the embedded one.")
    ] = None,
    nats_url: Annotated[
        str | None, typer.Option("--nats-url", help="A NATS server to use instead of the embedded one.")
    ] = None,
    nats_creds: Annotated[
        Path | None, typer.Option("--nats-creds", help="This node's credentials for that server.")
    ] = None,
    join: Annotated[
        str | None, typer.Option("--join", metavar="URL", help="Become a node of the control plane at this address.")
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", envvar="SKREI_JOIN_TOKEN", help="Its join token; needed once.")
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Join under this node's id although another key speaks for it.")
    ] = False,
    schedulers: Annotated[
        int, typer.Option("--schedulers", min=1, max=5, help="Schedulers; all but one stand by.")
    ] = 1,
    allow_local: Annotated[
        list[str] | None,
        typer.Option("--allow-local", metavar="GLOB", help="Host paths that jobs may read, GLOB:rw to write; repeat."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A YAML file with settings.")] = None,
    log_level: Annotated[
        str, typer.Option("--log-level", help="debug, info, warning or error; else info, and warning on a terminal.")
    ] = "",
    idle_minutes: Annotated[
        float,
        typer.Option("--idle-minutes", min=0, help="Stop after so long without requests and jobs; 0 never."),
    ] = 0,
) -> None:
    """Start the stack and keep it running until Ctrl+C or SIGTERM."""
    log_level = log_level or ("warning" if sys.stderr.isatty() else "info")
    _check(log_level, database_url)
    orchestrator, compute = roles(orchestrator, compute, join=join, listen=listen, nats_url=nats_url)
    try:
        from skrei_embedded.whereabouts import StackOptions, Whereabouts
    except ModuleNotFoundError as error:
        raise Rejected(
            f"The services are not installed here ({error.name} is missing).", hint="Install `skrei[serve]`."
        ) from error
    options = StackOptions(
        orchestrator=orchestrator,
        compute=compute,
        data_dir=data_dir,
        listen=listen,
        port=port,
        publisher_port=publisher_port,
        nats_port=nats_port,
        database_url=database_url,
        nats_url=nats_url,
        nats_creds=nats_creds,
        join=join.rstrip("/") if join else None,
        token=token,
        take_over=take_over,
        schedulers=schedulers,
        allow_local=tuple(allow_local or ()),
        config=config,
        log_level=log_level,
        idle_minutes=idle_minutes,
    )
    Whereabouts(options).check_creds()
    supervise.become(options)


def roles(
    orchestrator: bool, compute: bool, *, join: str | None, listen: str | None, nats_url: str | None
) -> tuple[bool, bool]:
    """Return whether to run the control plane, and a node: neither flag is both, and who joins is a node alone.

    Raises Rejected for flags that cannot go together.
    """
    if join is None:
        if not orchestrator and not compute:
            orchestrator = compute = True
        if listen and not orchestrator:
            raise Rejected("--listen is for a control plane; a node only connects.", hint="Leave it out here.")
        return orchestrator, compute
    if orchestrator:
        raise Rejected(
            "--join makes this machine a node of another control plane, so it cannot run one of its own.",
            hint="Leave --orchestrator out, or give each a --data-dir and ports of its own.",
        )
    if listen or nats_url:
        flag = "--listen" if listen else "--nats-url"
        raise Rejected(f"{flag} and --join do not go together: the control plane tells the addresses.",
                       hint=f"Leave {flag} out.")  # fmt: skip
    if not join.startswith(("http://", "https://")):
        raise Rejected(f"--join {join}: an address begins with http:// or https://.",
                       hint="It looks like http://10.0.0.1:1234.")  # fmt: skip
    return False, True


def _check(log_level: str, database_url: str | None) -> None:
    """Refuse flags that cannot work before anything is started. Raises BadParameter or Rejected."""
    if log_level.lower() not in LOG_LEVELS:
        raise typer.BadParameter(f"{log_level!r} is not one of {', '.join(LOG_LEVELS)}", param_hint="--log-level")
    if database_url and not database_url.startswith(POSTGRES_SCHEMES):
        raise Rejected("--database-url needs the form postgresql://USER:PASSWORD@HOST:5432/DATABASE.")
