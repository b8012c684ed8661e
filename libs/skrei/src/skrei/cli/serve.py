"""`skrei serve`: the stack of this machine, with an embedded Postgres and nats-server unless others are named."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from skrei.cli.flags import flag, integer, one_of, text, texts
from skrei.cli.grammar import Command, Kind, Misuse, Option, Values, nearest
from skrei.errors import Rejected

LOG_LEVELS = ("debug", "info", "warning", "error")
POSTGRES_SCHEMES = ("postgresql://", "postgres://")
CONFIG_FILE = "config.yaml"
"""In the data folder: what `skrei config set` writes, and what is read where no other file is named."""
PEER_KEYS = {
    "api.host": "listen",
    "api.port": "port",
    "datadir": "data_dir",
    "orchestrator.enabled": "orchestrator",
    "compute.enabled": "compute",
    "compute.allowlistedlocalpaths": "allow_local",
    "compute.env.allowlist": "allow_env",
    "labels": "labels",
    "logging.level": "log_level",
}
"""Keys of Bacalhau's configuration that say what a setting here says, as `-c` takes them."""


def _port(name: str, help_: str, variable: str, default: int) -> Option:
    return integer(name, help_, default=default, most=65535, variable=variable)


SERVE = Command(
    "serve",
    "Start the stack of this machine, and keep it running until Ctrl+C or SIGTERM.",
    "skrei.cli.serve:serve",
    (
        flag("--orchestrator", "Run the control plane."),
        flag("--compute", "Run a node; neither flag is both."),
        text("--name", "NAME", "The node's name for people; else the host's."),
        text("--listen", "ADDR", "Let other machines in at this address; else this one alone."),
        _port("--port", "The API's port; 0 takes a free one.", "SKREI_API_PORT", 1234),
        _port("--publisher-port", "The port of the publisher's door.", "SKREI_PUBLISHER_PORT", 1235),
        _port("--nats-port", "The embedded server's port.", "SKREI_NATS_PORT", 4222),
        integer(
            "--nats-websocket-port",
            "Its port for nodes that reach it over HTTP, mostly 443; 0 is none.",
            most=65535,
            variable="SKREI_NATS_WEBSOCKET_PORT",
        ),
        text("--tls-cert", "FILE", "That port's certificate; without, a proxy speaks TLS.", completes="file"),
        text("--tls-key", "FILE", "The key of the certificate.", completes="file"),
        text("--database-url", "URL", "A Postgres to use instead of the embedded one."),
        text("--nats-url", "URL", "A NATS server to use instead of the embedded one."),
        text("--nats-creds", "FILE", "This node's credentials for that server.", completes="file"),
        text("--join", "URL", "Become a node of the control plane at this address."),
        text("--token", "TOKEN", "Its join token; needed once.", variable="SKREI_JOIN_TOKEN"),
        flag("--take-over", "Join under this node's id although another key speaks for it."),
        integer("--schedulers", "Schedulers; all but one stand by.", default=1, least=1, most=5),
        texts("--allow-local", "GLOB", "Host paths that jobs may read, GLOB:rw to write; repeat."),
        one_of("--log-level", "What is logged; else info, and warning on a terminal.", *LOG_LEVELS),
        Option(
            ("--idle-minutes",),
            "Stop after so long without requests and jobs; 0 never.",
            Kind.NUMBER,
            0.0,
            "MINUTES",
            least=0,
        ),
    ),
    more="Settings: skrei config list shows every one; -c NAME=VALUE says one for this run, -c FILE.yaml many.",
)


def serve(values: Values) -> None:
    """Start the stack and keep it running until Ctrl+C or SIGTERM."""
    values, config = _settings(values)
    database_url = values.text("database-url") or None
    if database_url and not database_url.startswith(POSTGRES_SCHEMES):
        raise Rejected(
            f"--database-url {database_url.partition(':')[0]}…: not the address of a Postgres.",
            hint="It has the form postgresql://USER:PASSWORD@HOST:5432/DATABASE.",
        )
    join, listen, nats_url = (values.text(name) or None for name in ("join", "listen", "nats-url"))
    orchestrator, compute = roles(
        values.flag("orchestrator"), values.flag("compute"), join=join, listen=listen, nats_url=nats_url
    )
    try:
        from skrei_embedded.whereabouts import StackOptions, Whereabouts
    except ModuleNotFoundError as error:
        raise Rejected(
            f"The services are not installed here ({error.name} is missing).", hint="Install `skrei[serve]`."
        ) from error
    from skrei.cli import supervise

    folder, creds = os.environ.get("SKREI_DATA_DIR", ""), values.text("nats-creds")
    options = StackOptions(
        orchestrator=orchestrator,
        compute=compute,
        data_dir=Path(folder) if folder else None,
        listen=listen,
        port=values.integer("port"),
        publisher_port=values.integer("publisher-port"),
        nats_port=values.integer("nats-port"),
        nats_websocket_port=values.integer("nats-websocket-port"),
        tls_cert=Path(values.text("tls-cert")) if values.text("tls-cert") else None,
        tls_key=Path(values.text("tls-key")) if values.text("tls-key") else None,
        database_url=database_url,
        nats_url=nats_url,
        nats_creds=Path(creds) if creds else None,
        join=join.rstrip("/") if join else None,
        token=values.text("token") or None,
        take_over=values.flag("take-over"),
        schedulers=values.integer("schedulers"),
        allow_local=values.texts("allow-local"),
        config=config,
        log_level=log_level(values.text("log-level"), config),
        idle_minutes=values.seconds("idle-minutes"),
    )
    Whereabouts(options).check_creds()
    supervise.become(options)


def log_level(said: str, config: Path | None) -> str:
    """Return what is logged: as the flag, the variable or the config file says it; else less on a terminal.

    Raises Rejected for a word that is no level.
    """
    import logging

    from skrei.config_files import flat, read

    file = config or Path(os.environ.get("SKREI_CONFIG", ""))
    level = said or os.environ.get("SKREI_LOG_LEVEL", "")
    if not level and file.is_file():
        level = flat(read(file)).get("log_level", "")
    if level and level.upper() not in logging.getLevelNamesMapping():
        raise Rejected(
            f"{level!r} is not a log level.",
            hint="SKREI_LOG_LEVEL, and `log_level` in the config file, are debug, info, warning or error.",
        )
    return level or ("warning" if sys.stderr.isatty() else "info")


def _settings(values: Values) -> tuple[Values, Path | None]:
    """Return the values with what `-c` says of options, and the config file that is meant; the rest goes to services.

    A file that is named wins over SKREI_CONFIG, that over the one in the data folder. Raises Misuse or Rejected.
    """
    from skrei.config_files import client_settings, names_a_file

    said = values.texts("config")
    files = [Path(one) for one in said if names_a_file(one)]
    if len(files) > 1:
        raise Misuse("skrei serve: -c names more than one file.", hint="Put their settings into one.")
    told = {PEER_KEYS.get(key, key): value for key, value in client_settings(set(said) - set(map(str, files))).items()}
    options = {option.key.replace("-", "_"): option for option in SERVE.options}
    if "data_dir" in told:
        os.environ["SKREI_DATA_DIR"] = told.pop("data_dir")
    values = _as_options(values, {key: told.pop(key) for key in list(told) if key in options}, options)
    if name := values.text("name"):
        told["name"] = name
    _check_keys(told)
    os.environ.update({f"SKREI_{key.upper()}": value for key, value in told.items()})
    from skrei.state import usual_folder

    own = usual_folder() / CONFIG_FILE
    if files or os.environ.get("SKREI_CONFIG"):
        return values, next(iter(files), None)
    return values, own if own.is_file() else None


def _check_keys(told: Mapping[str, str]) -> None:
    """Refuse settings that no service knows. Raises Misuse with the nearest known one."""
    if not set(told) - {"name"}:
        return
    from skrei_embedded.environment import known_settings

    known = known_settings()
    for key in told:
        if key not in known:
            near = nearest(key, sorted(known))
            meant = f"Did you mean {near}? " if near else ""
            raise Misuse(f"skrei serve: there is no setting {key}.", hint=f"{meant}skrei config list shows every one.")


def _as_options(values: Values, told: dict[str, str], options: dict[str, Option]) -> Values:
    """Return the values with settings that have options of their own; what the call says stays. Raises Misuse."""
    from skrei.cli.grammar import read

    words: list[str] = []
    for key, value in told.items():
        option = options[key]
        if option.key not in values.given:
            parts: Sequence[str] = value.split(",") if option.kind is Kind.TEXTS else [value]
            words += [f"{option.names[0]}={part}" for part in parts]
    if not words:
        return values
    more = read(SERVE, words)
    return values.with_(**{key: more.found[options[key].key] for key in told if options[key].key in more.given})


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
