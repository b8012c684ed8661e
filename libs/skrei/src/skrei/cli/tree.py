"""Every command by name: where its declaration lies, which is imported when its name is typed."""

from collections.abc import Sequence
from importlib import import_module

from skrei.cli.grammar import Command, Misuse, nearest

COMMANDS = {
    "run": "skrei.cli.jobfiles:RUN",
    "list": "skrei.cli.job_list:LIST",
    "describe": "skrei.cli.jobs:DESCRIBE",
    "logs": "skrei.cli.logs:LOGS",
    "get": "skrei.cli.get:GET",
    "stop": "skrei.cli.jobs:STOP",
    "serve": "skrei.cli.serve:SERVE",
    "down": "skrei.cli.down:DOWN",
    "doctor": "skrei.cli.doctor:DOCTOR",
    "demo": "skrei.cli.tour:DEMO",
    "version": "skrei.cli.probe:VERSION",
    "completion": "skrei.cli.completion:COMPLETION",
    "devstack": "skrei.cli.devstack:DEVSTACK",
    "docker run": "skrei.cli.docker:RUN",
    "wasm run": "skrei.cli.wasm:RUN",
    "job run": "skrei.cli.jobfiles:RUN",
    "job init": "skrei.cli.init:INIT",
    "job schema": "skrei.cli.init:SCHEMA",
    "job validate": "skrei.cli.jobfiles:VALIDATE",
    "job list": "skrei.cli.job_list:LIST",
    "job describe": "skrei.cli.jobs:DESCRIBE",
    "job executions": "skrei.cli.jobs:EXECUTIONS",
    "job history": "skrei.cli.jobs:HISTORY",
    "job versions": "skrei.cli.jobs:VERSIONS",
    "job diff": "skrei.cli.acts:DIFF",
    "job logs": "skrei.cli.logs:LOGS",
    "job get": "skrei.cli.get:GET",
    "job results": "skrei.cli.files:RESULTS",
    "job ls": "skrei.cli.files:LS",
    "job cat": "skrei.cli.files:CAT",
    "job wait": "skrei.cli.acts:WAIT",
    "job stop": "skrei.cli.jobs:STOP",
    "job rerun": "skrei.cli.acts:RERUN",
    "job scale": "skrei.cli.acts:SCALE",
    "job rollback": "skrei.cli.acts:ROLLBACK",
    "data copy": "skrei.cli.data_copy:COPY",
    "node list": "skrei.cli.nodes:LIST",
    "node describe": "skrei.cli.nodes:DESCRIBE",
    "node approve": "skrei.cli.nodes:APPROVE",
    "node reject": "skrei.cli.nodes:REJECT",
    "node cordon": "skrei.cli.nodes:CORDON",
    "node uncordon": "skrei.cli.nodes:UNCORDON",
    "node drain": "skrei.cli.nodes:DRAIN",
    "node label": "skrei.cli.nodes:LABEL",
    "node delete": "skrei.cli.nodes:DELETE",
    "node join-line": "skrei.cli.nodes:JOIN_LINE",
    "node revoke": "skrei.cli.nodes:REVOKE",
    "node data add": "skrei.cli.node_data:ADD",
    "node data list": "skrei.cli.node_data:LIST",
    "node data remove": "skrei.cli.node_data:REMOVE",
    "node service add": "skrei.cli.node_service:ADD",
    "node service list": "skrei.cli.node_service:LIST",
    "node service remove": "skrei.cli.node_service:REMOVE",
    "service install": "skrei.cli.units:INSTALL",
    "service uninstall": "skrei.cli.units:UNINSTALL",
    "admin gc": "skrei.cli.admin:GC",
    "admin backup": "skrei.cli.safekeeping:BACKUP",
    "admin restore": "skrei.cli.safekeeping:RESTORE",
    "admin restored": "skrei.cli.safekeeping:RESTORED",
    "agent alive": "skrei.cli.agents:ALIVE",
    "agent node": "skrei.cli.agents:NODE",
    "agent version": "skrei.cli.agents:VERSION",
    "agent config": "skrei.cli.agents:CONFIG",
    "auth info": "skrei.cli.auth:INFO",
    "auth hash-password": "skrei.cli.auth:HASH_PASSWORD",
    "auth sso login": "skrei.cli.auth:SSO_LOGIN",
    "auth sso logout": "skrei.cli.auth:SSO_LOGOUT",
    "auth sso token": "skrei.cli.auth:SSO_TOKEN",
    "config list": "skrei.cli.config_commands:LIST",
    "config set": "skrei.cli.config_commands:SET",
    "profile save": "skrei.cli.profile_commands:SAVE",
    "profile list": "skrei.cli.profile_commands:LIST",
    "profile show": "skrei.cli.profile_commands:SHOW",
    "profile select": "skrei.cli.profile_commands:SELECT",
    "profile delete": "skrei.cli.profile_commands:DELETE",
}
"""Where each command is declared, in the order in which the help lists them."""

GROUPS = {
    "docker": "Run containers.",
    "wasm": "Run WebAssembly modules.",
    "job": "Submit, watch, change and stop jobs; fetch their results.",
    "data": "Bring data to where it shall be.",
    "node": "Look at nodes, say which may take work, empty and label them.",
    "node data": "Say what data of this machine jobs may read by name.",
    "node service": "Say what databases and files of this machine jobs may use by name.",
    "service": "Have systemd keep the stack, or a node, running.",
    "admin": "What the operator of a cluster does with it.",
    "agent": "Look at the server at the other end.",
    "auth": "Look at who asks, and log in.",
    "auth sso": "Logins of a whole organisation.",
    "config": "Look at settings, and set them.",
    "profile": "APIs that this user works with, by name.",
}

ELSEWHERE = {
    "ps": "list",
    "ls": "list",
    "submit": "run",
    "create": "run",
    "apply": "run",
    "inspect": "describe",
    "status": "describe",
    "show": "describe",
    "cancel": "stop",
    "kill": "stop",
    "download": "get",
    "start": "serve",
    "up": "serve",
}
"""What other tools call it, and our command."""


def split(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command's or group's name that `words` begin with, and what follows it. Raises Misuse."""
    for length in (3, 2, 1):
        name = " ".join(words[:length])
        if len(words) >= length and name in COMMANDS:
            return name, list(words[length:])
    group, left = "", list(words)
    while left and f"{group} {left[0]}".strip() in GROUPS:
        group = f"{group} {left.pop(0)}".strip()
    if left and left[0] not in ("--help", "-h"):
        prefix = f"{group} " if group else ""
        raise _unknown(left[0], prefix, [name.removeprefix(prefix) for name in inside(group)])
    return group, left


def inside(group: str) -> list[str]:
    """Return the full names of a group's commands and of the groups in it; of the root, those of one word."""
    prefix = f"{group} " if group else ""
    names = [*COMMANDS, *GROUPS]
    return [
        name for name in names if name.startswith(prefix) and " " not in name.removeprefix(prefix) and name != group
    ]


def load(name: str) -> Command:
    """Return the declaration of a command, under the name that was typed."""
    from dataclasses import replace

    module, _, attribute = COMMANDS[name].partition(":")
    found = getattr(import_module(module), attribute)
    assert isinstance(found, Command), f"{COMMANDS[name]} declares a command"
    return replace(found, name=name)


def summary(name: str) -> str:
    """Return what a command or group does, in a sentence."""
    return GROUPS.get(name) or load(name).summary


def _unknown(word: str, prefix: str, known: Sequence[str]) -> Misuse:
    near = _meant(word, prefix, known)
    said = f"Did you mean `skrei {near}`? " if near else ""
    if word.startswith("-"):
        return Misuse(f"skrei: there is no {word}.", hint=f"All commands: skrei {prefix}--help")
    return Misuse(f"There is no command `skrei {prefix}{word}`.", hint=f"{said}All commands: skrei {prefix}--help")


def _meant(word: str, prefix: str, known: Sequence[str]) -> str:
    """Return the command or group that was probably meant; empty when nothing is near."""
    if prefix in ("", "docker ", "wasm ", "job ") and word in ELSEWHERE:
        found = ELSEWHERE[word]
        return f"{prefix}{found}" if f"{prefix}{found}" in COMMANDS else found
    if near := nearest(word, known):
        return f"{prefix}{near}"
    return next((name for name in (word, f"job {word}") if name in COMMANDS), "")
