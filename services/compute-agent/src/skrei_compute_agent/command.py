"""The command `skrei-compute-agent`: a node on a machine that has nothing else of Skrei.

It joins a control plane once, keeps what it was given, and runs the node. What it is not told stands in the `SKREI_*`
variables, as for a node that `skrei serve` starts.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from skrei_compute_agent import slots
from skrei_domain.errors import Invalid, SkreiError
from skrei_domain.systemd import filled, words
from skrei_kit import join
from skrei_kit.observability import configure_logs, get_logger
from skrei_kit.sites import read_site

TOKEN = "SKREI_JOIN_TOKEN"
SLOTS = "SKREI_DATA_SLOTS"
SITE = "SKREI_SITE_FILE"
UNIT = "skrei-agent.service"
_MOST_TOKEN_BYTES = 4_096
MOST_SLOTS = 1_000
"""Data folders of one disk: more agents than any machine runs; looking for a free one is a few calls for each."""


def main() -> None:
    """Run a node; exits 1 with one sentence when it cannot go on, 2 for a call that nobody understands."""
    arguments = sys.argv[1:]
    _hide_token(arguments)
    told = _parser().parse_args(arguments)
    if told.print_unit:
        sys.stdout.write(_unit([each for each in arguments if each != "--print-unit"]))
        return
    configure_logs(service="compute-agent")
    try:
        given = _given(told)
    except SkreiError as error:
        get_logger().error("node_not_joined", code=error.code, problem=error.message, hint=error.hint)
        sys.exit(1)
    from skrei_compute_agent.__main__ import run  # the node, once it is known that there is to be one

    run(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "skrei-compute-agent",
        description="Run a node: it joins a control plane once, and takes work from it from then on.",
        epilog="Each setting of a node is also a variable, SKREI_NAME; `skrei config list` shows every one.",
    )
    environment = os.environ.get
    parser.add_argument("--version", action="version", version=f"skrei-compute-agent {version('skrei-compute-agent')}")
    parser.add_argument("--join", metavar="URL", default=environment("SKREI_JOIN", ""),
                        help="become a node of the control plane at this address (SKREI_JOIN)")  # fmt: skip
    parser.add_argument("--token", metavar="TOKEN", help=f"its join token; needed once ({TOKEN})")
    parser.add_argument("--token-file", metavar="FILE", default=environment(f"{TOKEN}_FILE", ""),
                        help=f"a file that holds it ({TOKEN}_FILE)")  # fmt: skip
    parser.add_argument("--take-over", action="store_true",
                        help="join under this node's id although another key speaks for it")  # fmt: skip
    parser.add_argument("--nats-url", metavar="URL",
                        help="the transport, where this machine reaches it by another way than it is told: "
                        "wss://HOST:443, or the site's own server (SKREI_NATS_URL)")  # fmt: skip
    parser.add_argument("--site", metavar="FILE", default=environment(SITE, ""),
                        help="be a node of the site with a nats-server of its own that this site.json is of "
                        f"({SITE})")  # fmt: skip
    parser.add_argument("--data-dir", metavar="FOLDER", help="journal, cache and key (SKREI_DATA_DIR)")
    parser.add_argument("--data-slots", metavar="N", default=environment(SLOTS, "0"),
                        help="agents share the data folder: work in the first of its folders 1 to N that nobody has, "
                        f"and be the node that is there ({SLOTS})")  # fmt: skip
    parser.add_argument("--name", metavar="NAME", help="the node's name for people; else the host's (SKREI_NAME)")
    parser.add_argument("--labels", metavar="K=V,K=V", help="labels for constraints (SKREI_LABELS)")
    parser.add_argument("--allow-local", metavar="GLOB", action="append",
                        help="host paths that jobs may read, GLOB:rw to write; repeat (SKREI_ALLOW_LOCAL)")  # fmt: skip
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error (SKREI_LOG_LEVEL)")
    parser.add_argument("--print-unit", action="store_true",
                        help="print a systemd unit of the machine that runs this call, and do nothing")  # fmt: skip
    return parser


def _unit(arguments: Sequence[str]) -> str:
    """Return a unit that runs this program with these arguments; its token stands in a file that only root reads."""
    here = Path(__file__).resolve()
    folders = (here.parent, *(each / "deploy" / "systemd" for each in here.parents))
    file = next(path for folder in folders if (path := folder / UNIT).is_file())
    program = str(Path(sys.executable).with_name("skrei-compute-agent"))
    told = {
        "NAME": UNIT,
        "EXEC": words([program, *arguments]),
        "DATA": "/var/lib/skrei-agent",
        "ENV": "/etc/skrei/skrei-agent.env",
        "IDENTITY": "StateDirectory=skrei-agent\nStateDirectoryMode=0700",
        "TARGET": "multi-user.target",
    }
    return filled(file.read_text("utf-8"), told)


def _hide_token(arguments: Sequence[str]) -> None:
    """Begin anew without the token among the arguments, where everybody on this machine reads it."""
    kept: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word == "--token":
            os.environ[TOKEN] = next(rest, "")
        elif word.startswith("--token="):
            os.environ[TOKEN] = word.partition("=")[2]
        else:
            kept.append(word)
    if len(kept) < len(arguments):
        os.execv(sys.executable, [sys.executable, "-P", "-m", "skrei_compute_agent.command", *kept])


def _given(told: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the call says, and those that joining brought. Raises SkreiError."""
    names = ("data_dir", "name", "labels", "log_level", "nats_url")
    given = {name: value for name in names if (value := getattr(told, name))}
    if told.allow_local:
        given["allow_local"] = ",".join(told.allow_local)
    folder = Path(given.get("data_dir") or os.environ.get("SKREI_DATA_DIR") or "~/.skrei/agent").expanduser().absolute()
    if told.data_slots != "0":
        given["data_dir"] = str(folder := slots.take(folder, _count(told.data_slots)))
        if name := given.get("name") or os.environ.get("SKREI_NAME", ""):
            given["name"] = f"{name}-{folder.name}"
    by = given.get("nats_url") or os.environ.get("SKREI_NATS_URL", "")
    token = os.environ.pop(TOKEN, "") or (_read(told.token_file) if told.join and told.token_file else "")
    site = None
    if told.join:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        site = read_site(Path(told.site)) if told.site and token else None
    elif told.site:
        raise Invalid("--site goes with --join", hint="name the control plane: --join http://10.0.0.1:1234 --token T")
    if site and by:
        raise Invalid("--site and --nats-url (SKREI_NATS_URL) do not go together", hint="the file names the server")
    how = {"take_over": told.take_over, "nats_url": by, "site": site}
    joined = join.settle(folder, told.join.rstrip("/"), token or None, **how)
    if joined is None:
        if not by and not os.environ.get("SKREI_CONFIG"):
            raise Invalid(
                "nothing says whose node this machine is to be",
                hint="--join http://10.0.0.1:1234 --token T: `skrei node join-line` there tells both",
            )
        return given
    if told.site and not joined.nats_domain:
        raise join.NotOfSite(
            f"--site {told.site}: this machine is node {joined.node_id} already, which joined without a site",
            hint=join.ANOTHER_FOLDER,
        )
    return given | {
        "node_id": joined.node_id,
        "nats_url": by if by and "," not in by else joined.nats_url,  # of several, the one that greeted
        "nats_creds": joined.nats_creds,
        "api_url": joined.api_url,
        **{name: value for name in ("nats_ca", "nats_domain") if (value := getattr(joined, name))},
    }


def _count(text: str) -> int:
    """Return how many data folders there may be. Raises Invalid."""
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_SLOTS:
        return int(text)
    raise Invalid(f"--data-slots {text}: that is no such number", hint=f"name one from 1 to {MOST_SLOTS}")


def _read(path: str) -> str:
    """Return the token that a file holds. Raises Invalid."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it holds no token"
        raise Invalid(f"--token-file {path}: {what}", hint="name the file that the control plane wrote") from error


if __name__ == "__main__":
    main()
