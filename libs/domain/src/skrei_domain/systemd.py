"""Units of systemd from the templates that are shipped. Pure."""

from collections.abc import Mapping, Sequence

_BACKSLASH, _QUOTE = "\\", '"'


def words(command: Sequence[str]) -> str:
    """Return a command as `ExecStart=` reads it: each word is itself, whatever stands in it."""
    return " ".join(map(_word, command))


def filled(template: str, told: Mapping[str, str]) -> str:
    """Return a template with its `@NAME@` replaced; a line of which nothing is left goes too."""
    lines = []
    for line in template.splitlines():
        text = line
        for name, value in told.items():
            text = text.replace(f"@{name}@", value)
        if text or not line:
            lines.append(text)
    return "\n".join(lines) + "\n"


def _word(text: str) -> str:
    plain = text.replace("%", "%%").replace("$", "$$")
    if plain and not any(letter.isspace() or letter in f"{_BACKSLASH}{_QUOTE}';" for letter in plain):
        return plain
    escaped = plain.replace(_BACKSLASH, _BACKSLASH * 2).replace(_QUOTE, _BACKSLASH + _QUOTE)
    return f'"{escaped}"'
