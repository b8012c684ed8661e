"""What every command may be told, before its name or after it: which API, as whom, and where this machine's stack lies.

An address on the command line wins over a profile on the command line, that over the environment, that over the
settings of `config set` and the current profile.
"""

import os
from collections.abc import Sequence

from skrei.cli.flags import UNIVERSAL
from skrei.cli.grammar import Command, Kind, Misuse, Values
from skrei.endpoint import of_parts
from skrei.errors import Rejected

_NAMED = {name: option for option in UNIVERSAL for name in option.names}


def with_universal(command: Command) -> Command:
    """Return a command that also takes what every command takes; its own options of the same name stay."""
    from dataclasses import replace

    own = {name for option in command.options for name in option.names}
    more = tuple(option for option in UNIVERSAL if not own & set(option.names))
    return replace(command, options=(*command.options, *more))


def before_command(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what was said before a command's name (`skrei --api URL list`), and the words from there on."""
    said: list[str] = []
    left = list(words)
    while left:
        option = _NAMED.get(left[0].partition("=")[0])
        if option is None:
            break
        said.append(left.pop(0))
        if "=" not in said[-1] and option.kind is not Kind.FLAG:
            if not left:
                raise Misuse(
                    f"skrei: {said[-1]} needs a value: {said[-1]} {option.metavar}.", hint="All commands: skrei --help"
                )
            said.append(left.pop(0))
    return said, left


def settled(values: Values) -> Values:
    """Return the values with the API that is meant as `api` (empty: nobody said), and let the rest take effect.

    A token file and a data folder take effect on this process, where whoever needs them looks. Raises Rejected.
    """
    if file := values.text("token-file"):
        from skrei.credentials import API_KEY, token_in_file

        os.environ[API_KEY] = token_in_file(file)
    if folder := values.text("data-dir"):
        os.environ["SKREI_DATA_DIR"] = folder
    api = values.text("api")
    if not api and ("config" in values.given or "api-host" in values.given or "api-port" in values.given):
        api = _address(values)
    if not api and (name := values.text("profile")):
        from skrei.profiles import named

        api = named(name).endpoint
    return values.with_(api=api)


def _address(values: Values) -> str:
    """Return the address that host and port say, by flag or by `-c API.Host=…`; empty where neither is said."""
    from skrei.config_files import client_settings

    told = client_settings(values.texts("config"))
    host = values.text("api-host") or told.get("api.host", "")
    port = values.text("api-port") or told.get("api.port", "")
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise Rejected(f"--api-port {port}: not a port.", hint="A port is a number from 1 to 65535.")
    if not host and not port:
        return ""
    scheme = "https" if told.get("api.tls.usetls", "").lower() in ("true", "1") else "http"
    return of_parts(host, port, scheme)
