"""`skrei config …`: the settings of this machine's stack, where each comes from, and what it means."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from skrei import state
from skrei.cli import render
from skrei.cli.flags import TABLE
from skrei.cli.grammar import Argument, Command, Misuse, Values
from skrei.cli.serve import CONFIG_FILE
from skrei.cli.shape import Shape
from skrei.errors import NoPlace, Rejected

if TYPE_CHECKING:
    from skrei_embedded.settings_table import Setting

CLIENT = (
    ("SKREI_API_URL", "The API to talk to, where --api does not say it."),
    ("SKREI_API_KEY", "The token to show."),
    ("SKREI_API_KEY_FILE", "A file with the token to show."),
    ("SKREI_PROFILE", "The profile to use, instead of the current one."),
    ("SKREI_DATA_DIR", "The data folder of this machine's stack."),
    ("SKREI_CONFIG", "The file with its settings, instead of config.yaml in the data folder."),
    ("SKREI_AUTOSTART", "Whether a run starts the stack where none listens: 1 also without a terminal, 0 never."),
    ("SKREI_IDLE_MINUTES", "How long a stack that was started so lives without use."),
    ("SKREI_GET_PARALLEL", "Downloads at once."),
    ("NO_COLOR", "Anything: no colours."),
)
"""Variables of the command line itself: they are set in the shell, not in a file."""
SECRETS = frozenset({"SKREI_API_KEY"})

LIST = Command(
    "config list",
    "List every setting with its value, where that comes from, and what it means.",
    "skrei.cli.config_commands:list_settings",
    TABLE,
    (Argument("PART", "only settings with this in their name", default=""),),
)
SET = Command(
    "config set",
    "Write a setting into the file that `skrei serve` reads: -c FILE, else config.yaml in the data folder.",
    "skrei.cli.config_commands:set_setting",
    (),
    (Argument("KEY=VALUE", "the setting; an empty value takes it out"),),
)


def list_settings(values: Values) -> None:
    """List settings."""
    shape, part = Shape.of(values), values.text("PART").lower()
    file = _file(values)
    held = _held(file)
    rows = []
    for one in _table():
        variable, source, value = f"SKREI_{one.name.upper()}", "default", one.default
        if one.name in held:
            source, value = str(file), held[one.name]
        if os.environ.get(variable):
            source, value = variable, os.environ[variable]
        if one.secret and value:
            value = "********"
        if part in one.name:
            rows.append((one.name, value, source, ", ".join(one.services), one.description))
    for variable, description in CLIENT:
        said = os.environ.get(variable, "")
        if part in variable.lower():
            shown = "********" if said and variable in SECRETS else said
            rows.append((variable, shown, "environment" if said else "default", "command line", description))
    if not rows:
        raise Rejected(f"No setting has {part!r} in its name.", hint="skrei config list shows every one.")
    if not shape.is_rows:
        names = ("Key", "Value", "Source", "Services", "Description")
        render.document({"Items": [dict(zip(names, row, strict=True)) for row in rows]}, shape)
        return
    render.table(("KEY", "VALUE", "SOURCE", "OF", "DESCRIPTION"), rows, shape)
    render.next_step("skrei config set KEY=VALUE", f"write one into {file}")


def set_setting(values: Values) -> None:
    """Write one setting."""
    key, separator, value = values.text("KEY=VALUE").partition("=")
    key = key.strip().lower()
    if not separator:
        raise Misuse(
            f"skrei config set: {values.text('KEY=VALUE')}: not KEY=VALUE.", hint="For example log_level=debug"
        )
    known = {one.name: one for one in _table()}
    if key not in known:
        import difflib

        near = next(iter(difflib.get_close_matches(key, known, n=1)), "")
        meant = f"Did you mean {near}? " if near else ""
        raise Rejected(f"There is no setting {key!r}.", hint=f"{meant}skrei config list shows every one.")
    if value and (wrong := known[key].wrong(value)):
        raise Rejected(f"{key}={value}: {wrong}.", hint=known[key].description)
    file = _file(values)
    try:
        before = file.read_text("utf-8") if file.exists() else ""
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_name(f"{file.name}.{os.getpid()}")
        half.write_text(with_setting(before, key, value), "utf-8")
        half.replace(file)
    except OSError as error:
        raise NoPlace(f"{file} cannot be written: {error.strerror}.", hint="Name another file with -c.") from error
    render.line(f"Writing config to {file}")
    render.next_step("skrei down; skrei serve", "it takes effect with the next start")


def with_setting(text: str, key: str, value: str) -> str:
    """Return a file of settings with one set (an empty value: taken out); its other lines stay as they are. Pure."""
    import json

    line = f"{key}: {value if re.fullmatch(r'[A-Za-z0-9_./-]+', value) else json.dumps(value, ensure_ascii=False)}\n"
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    place = next((n for n, one in enumerate(lines) if re.match(rf"{re.escape(key)}\s*:", one)), None)
    if place is None:
        return "".join([*lines, line] if value else lines)
    end = place + 1  # what is nested below it goes with it
    while end < len(lines) and lines[end][:1] in (" ", "\t", "-"):
        end += 1
    return "".join([*lines[:place], *([line] if value else []), *lines[end:]])


def _file(values: Values) -> Path:
    from skrei.config_files import names_a_file

    named = next((one for one in values.texts("config") if names_a_file(one)), "") or os.environ.get("SKREI_CONFIG", "")
    return Path(named).absolute() if named else state.usual_folder() / CONFIG_FILE


def _held(file: Path) -> dict[str, str]:
    from skrei.config_files import flat, read

    return flat(read(file)) if file.exists() else {}


def _table() -> "list[Setting]":
    try:
        from skrei_embedded.settings_table import settings
    except ModuleNotFoundError:
        return []  # the services are not installed here: only the command line's own are known
    return settings()
