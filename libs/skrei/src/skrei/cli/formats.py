"""How a command tells what it found."""

from enum import StrEnum


class Format(StrEnum):
    """Table for people, the others for programs."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
