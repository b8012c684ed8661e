"""What can be typed next, for bash, zsh and fish: commands, options, words that an option takes, ids of jobs and nodes.

The shells' scripts ask `skrei __complete WORD ... CURRENT`; the answer is one line with `:file` where files are meant
too, else `:none`, then a line for each candidate, with its meaning behind a tab.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from skrei.cli import render, tree
from skrei.cli.grammar import Argument, Command, Kind, Misuse, Option, read
from skrei.cli.texts import clean
from skrei.cli.universal import before_command, with_universal
from skrei_domain.errors import SkreiError

ASK_SECONDS = 1.0
"""For an API to name jobs: whoever presses a key waits."""
MOST_NAMED = 50
"""Jobs that are named: the newest."""

NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9._-]*")
"""Names that are offered: no shell reads anything else into them. What is named otherwise is offered by its id."""

COMPLETION = Command(
    "completion",
    "Print the script that completes commands, options and ids in a shell.",
    "skrei.cli.completion_scripts:completion",
    (),
    (Argument("SHELL", "bash, zsh or fish", completes="shell"),),
    more=(
        "bash: source <(skrei completion bash)               in ~/.bashrc\n"
        "zsh:  source <(skrei completion zsh)                in ~/.zshrc, after compinit\n"
        "fish: skrei completion fish > ~/.config/fish/completions/skrei.fish"
    ),
)

Candidate = tuple[str, str]
"""A word and what it means."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What may come, and whether files may too."""

    candidates: tuple[Candidate, ...] = ()
    files: bool = False


def answer(words: Sequence[str], current: str, ask: Callable[[str], Iterator[Candidate]]) -> Answer:
    """Return what may stand where `current` is being typed, behind `words`. `ask` names values of a kind."""
    try:
        _, left = before_command(words)
        name, rest = tree.split(left) if left else ("", [])
    except Misuse:
        return Answer()
    if name in tree.COMMANDS:
        found = _in_command(with_universal(tree.load(name)), rest, current, ask)
    else:
        prefix = f"{name} " if name else ""
        found = Answer(tuple((each.removeprefix(prefix), tree.summary(each)) for each in tree.inside(name)))
    return Answer(tuple(one for one in found.candidates if one[0].startswith(current)), found.files)


def _in_command(
    command: Command, words: Sequence[str], current: str, ask: Callable[[str], Iterator[Candidate]]
) -> Answer:
    named = {name: option for option in command.options for name in option.names}
    given = 0
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-") or word == "-":
            given += 1
            if command.ends_at_argument:
                return Answer(files=True)  # what follows belongs to the program
            continue
        option = named.get(word)
        if option is not None and option.takes_value:
            if not left:
                return _values(option.choices, option.completes, ask)
            left.pop(0)
    if current.startswith("--") and "=" in current:
        name = current.partition("=")[0]
        option = named.get(name)
        if option is None:
            return Answer()
        found = _values(option.choices, option.completes, ask)
        return Answer(tuple((f"{name}={word}", meaning) for word, meaning in found.candidates), found.files)
    if current.startswith("-"):
        return Answer(tuple(_options(command.options)))
    if given < len(command.arguments) or (command.arguments and command.arguments[-1].several):
        return _values((), command.arguments[min(given, len(command.arguments) - 1)].completes, ask)
    return Answer()


def _options(options: Sequence[Option]) -> Iterator[Candidate]:
    for option in options:
        if option.hidden:
            continue
        for name in option.names:
            plain = name.startswith("--") and option.kind is Kind.FLAG and option.default is True
            yield (f"--no-{option.key}" if plain else name), option.help
    yield "--help", "Show this."


def _values(choices: Sequence[str], kind: str, ask: Callable[[str], Iterator[Candidate]]) -> Answer:
    if choices:
        return Answer(tuple((word, "") for word in choices))
    if kind == "file":
        return Answer(files=True)
    if kind == "shell":
        return Answer((("bash", ""), ("zsh", ""), ("fish", "")))
    return Answer(tuple(ask(kind))) if kind else Answer()


def complete(words: Sequence[str]) -> int:
    """Print what may stand where the last of `words` is being typed; nothing that goes wrong is told."""
    *before, current = _joined(words or [""])
    try:
        found = answer(before, current, lambda kind: (one for one in _asked(kind, before) if is_name(one[0])))
    except (SkreiError, OSError):
        found = Answer()
    lines = [":file" if found.files else ":none"]
    for word, meaning in found.candidates:
        told = " ".join(clean(meaning).split())  # a name with an end of line in it would be a candidate of its own
        lines.append(f"{clean(word)}\t{told}" if told else clean(word))
    render.output_text("".join(f"{line}\n" for line in lines))
    return 0


def is_name(word: str) -> bool:
    """Return whether a word that others have chosen may be put on somebody's command line."""
    return word == "-" or NAME.fullmatch(word) is not None


def _joined(words: Sequence[str]) -> list[str]:
    """Put `--name`, `=`, `value` together again: bash takes words apart there."""
    found: list[str] = []
    for word in words:
        if found and (word == "=" or found[-1].endswith("=")):
            found[-1] += word
        else:
            found.append(word)
    return found


def _asked(kind: str, words: Sequence[str]) -> Iterator[Candidate]:
    """Yield the names of what there is of a kind, as the API tells that the words before mean."""
    if kind == "profile":
        from skrei import profiles

        yield from ((one.name, one.endpoint) for one in profiles.load().known.values())
        return
    from skrei import calls
    from skrei.cli.ask import Ask
    from skrei.cli.references import job_and_path, job_named
    from skrei.cli.texts import short

    with Ask(_api(words), timeout_seconds=ASK_SECONDS) as ask:
        if kind == "task":
            typed = job_and_path(_job_typed(words))[0]
            for task in ask.send(calls.job(job_named(typed, ask.endpoint)).once()).tasks:
                yield task, ""
            return
        if kind == "node":
            for node in ask.send(calls.nodes().once()).items:
                yield node.id, f"{node.membership} {node.connection}"
            return
        for job in ask.send(calls.jobs(limit=MOST_NAMED).once()).items:
            named = job.name if job.name != job.id else ""
            yield short(job.id), f"{named} {job.state}".strip()
            if named:
                yield named, f"{short(job.id)} {job.state}"
    yield "-", "the last one"


def _job_typed(words: Sequence[str]) -> str:
    """Return the job that the words before name; `-` where they name none."""
    said, left = before_command(words)
    name, rest = tree.split(left)
    command = with_universal(tree.load(name))
    # The last word is the option whose value is being typed.
    values = read(command, [*said, *(rest[:-1] if rest[-1:] == ["--task"] else rest)])
    return next((values.text(one.name) for one in command.arguments if one.completes == "job"), "-")


def _api(words: Sequence[str]) -> str:
    """Return the address that the words before name, as far as that is plain to see; else the usual one is meant."""
    for name in ("--api", "--api-host"):
        if name in words[:-1]:
            return words[list(words).index(name) + 1]
    if "--profile" in words[:-1]:
        os.environ["SKREI_PROFILE"] = words[list(words).index("--profile") + 1]
    return ""
