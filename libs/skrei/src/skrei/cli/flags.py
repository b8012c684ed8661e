"""Options and arguments that several commands share."""

from skrei.cli.grammar import Argument, Kind, Option

API = Option(
    ("--api",), "The API to talk to; else SKREI_API_URL, else http://127.0.0.1:1234.", metavar="URL", default=""
)
FORMATS = ("table", "json", "yaml")
OUTPUT = Option(
    ("--output", "-o"),
    "Table for people, JSON and YAML for programs.",
    metavar="|".join(FORMATS),
    choices=FORMATS,
    default="table",
)
NAMESPACE = Option(("--namespace",), "The job's namespace, where it is named by its name.", metavar="NAME", default="")
JOB = Argument("JOB", "a job's id, a prefix of it, its name, or `-` for the last one")
LAST = Argument("JOB", "a job's id, a prefix of it, its name, or `-` for the last one", default="-")


def flag(name: str, help_: str, *short: str, default: bool = False, hidden: bool = False) -> Option:
    """Return a flag."""
    return Option((name, *short), help_, Kind.FLAG, default, hidden=hidden)


def text(name: str, metavar: str, help_: str, *short: str, default: str = "") -> Option:
    """Return an option with a text."""
    return Option((name, *short), help_, metavar=metavar, default=default)


def texts(name: str, metavar: str, help_: str, *short: str) -> Option:
    """Return an option that may be given several times."""
    return Option((name, *short), help_, Kind.TEXTS, metavar=metavar)


def integer(name: str, help_: str, *short: str, default: int = 0, least: int | None = 0) -> Option:
    """Return an option with a whole number."""
    return Option((name, *short), help_, Kind.INTEGER, default, "NUMBER", least=least)


def seconds(name: str, help_: str) -> Option:
    """Return an option with a number of seconds."""
    return Option((name,), help_, Kind.SECONDS, 0.0, "SECONDS", least=0)
