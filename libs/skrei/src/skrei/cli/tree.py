"""Every command by name: where its declaration lies, which is imported when its name is typed."""

from collections.abc import Sequence
from importlib import import_module

from skrei.cli.grammar import Command, Misuse, nearest

COMMANDS = {
    "docker run": "skrei.cli.docker:RUN",
    "wasm run": "skrei.cli.wasm:RUN",
    "run": "skrei.cli.jobfiles:RUN",
    "list": "skrei.cli.jobs:LIST",
    "describe": "skrei.cli.jobs:DESCRIBE",
    "logs": "skrei.cli.logs:LOGS",
    "stop": "skrei.cli.jobs:STOP",
    "job run": "skrei.cli.jobfiles:RUN",
    "job validate": "skrei.cli.jobfiles:VALIDATE",
    "job list": "skrei.cli.jobs:LIST",
    "job describe": "skrei.cli.jobs:DESCRIBE",
    "job executions": "skrei.cli.jobs:EXECUTIONS",
    "job history": "skrei.cli.jobs:HISTORY",
    "job logs": "skrei.cli.logs:LOGS",
    "job stop": "skrei.cli.jobs:STOP",
    "node list": "skrei.cli.nodes:LIST",
    "node describe": "skrei.cli.nodes:DESCRIBE",
    "node join-line": "skrei.cli.nodes:JOIN_LINE",
    "down": "skrei.cli.down:DOWN",
    "doctor": "skrei.cli.doctor:DOCTOR",
    "version": "skrei.cli.probe:VERSION",
}
"""What is read by `skrei.cli.grammar`."""

OTHERS = {
    "get": "Fetch the results of a job.",
    "job get": "Fetch the results of a job.",
    "serve": "Start the stack of this machine.",
    "demo": "Start the real stack, run a word count over it, show its results, stop everything again.",
}
"""What `skrei.cli.program` reads: commands that take long anyway. With what each does, for the help."""

GROUPS = {
    "docker": "Run containers.",
    "wasm": "Run WebAssembly modules.",
    "job": "Submit, watch and stop jobs; fetch their results.",
    "node": "Look at nodes.",
}


def split(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command's or group's name that `words` begin with, and what follows it. Raises Misuse."""
    if not words:
        return "", []
    for length in (2, 1):
        name = " ".join(words[:length])
        if len(words) >= length and (name in COMMANDS or name in OTHERS):
            return name, list(words[length:])
    first = words[0]
    if first not in GROUPS:
        raise _unknown(first, "", [name for name in [*COMMANDS, *OTHERS, *GROUPS] if " " not in name])
    if len(words) == 1 or words[1] in ("--help", "-h"):
        return first, list(words[1:])
    raise _unknown(words[1], f"{first} ", [name.partition(" ")[2] for name in inside(first)])


def inside(group: str) -> list[str]:
    """Return the full names of a group's commands; of the root, all commands of one word and all groups."""
    names = [*COMMANDS, *OTHERS]
    if group:
        return [name for name in names if name.startswith(f"{group} ")]
    return [*(name for name in names if " " not in name), *GROUPS]


def load(name: str) -> Command:
    """Return the declaration of one of COMMANDS, under the name that was typed."""
    from dataclasses import replace

    module, _, attribute = COMMANDS[name].partition(":")
    found = getattr(import_module(module), attribute)
    assert isinstance(found, Command), f"{COMMANDS[name]} declares a command"
    return replace(found, name=name)


def summary(name: str) -> str:
    """Return what a command or group does, in a sentence."""
    return OTHERS.get(name) or GROUPS.get(name) or load(name).summary


def _unknown(word: str, prefix: str, known: Sequence[str]) -> Misuse:
    near = nearest(word, known)
    said = f"Did you mean `skrei {prefix}{near}`? " if near else ""
    if word.startswith("-"):
        return Misuse(f"skrei: there is no {word}.", hint=f"All commands: skrei {prefix}--help")
    return Misuse(f"There is no command `skrei {prefix}{word}`.", hint=f"{said}All commands: skrei {prefix}--help")
