"""Options and arguments that several commands share."""

from skrei.cli.grammar import Argument, Kind, Option

FORMATS = ("table", "csv", "json", "yaml")
LAST_JOB = "a job's id, a prefix of it, its name, or `-` for the last one"


def flag(name: str, help_: str, *short: str, default: bool = False, hidden: bool = False, variable: str = "") -> Option:
    """Return a flag."""
    return Option((name, *short), help_, Kind.FLAG, default, hidden=hidden, variable=variable)


def text(
    name: str, metavar: str, help_: str, *short: str, default: str = "", completes: str = "", variable: str = ""
) -> Option:
    """Return an option with a text."""
    return Option((name, *short), help_, metavar=metavar, default=default, completes=completes, variable=variable)


def texts(name: str, metavar: str, help_: str, *short: str, completes: str = "") -> Option:
    """Return an option that may be given several times."""
    return Option((name, *short), help_, Kind.TEXTS, metavar=metavar, completes=completes)


def integer(
    name: str,
    help_: str,
    *short: str,
    default: int = 0,
    least: int | None = 0,
    most: int | None = None,
    variable: str = "",
) -> Option:
    """Return an option with a whole number."""
    return Option((name, *short), help_, Kind.INTEGER, default, "NUMBER", least=least, most=most, variable=variable)


def seconds(name: str, help_: str) -> Option:
    """Return an option with a number of seconds."""
    return Option((name,), help_, Kind.SECONDS, 0.0, "SECONDS", least=0)


def one_of(name: str, help_: str, *words: str, default: str = "", short: tuple[str, ...] = ()) -> Option:
    """Return an option with one of a few words."""
    return Option((name, *short), help_, choices=words, default=default, metavar="|".join(words))


API = Option(
    ("--api",), "The API to talk to; else SKREI_API_URL, the profile, http://127.0.0.1:1234.", metavar="URL", default=""
)
UNIVERSAL = (
    API,
    text("--api-host", "HOST", "The API's host, or its whole address."),
    text("--api-port", "PORT", "The API's port."),
    text("--profile", "NAME", "Talk to the API of this profile.", completes="profile"),
    text(
        "--token-file", "FILE", "Show the token in this file; else SKREI_API_KEY, SKREI_API_KEY_FILE.", completes="file"
    ),
    texts("--config", "FILE|KEY=VALUE", "A file with settings, or one setting; repeat.", "-c", completes="file"),
    text("--data-dir", "FOLDER", "The data folder of this machine's stack.", completes="file"),
    Option(("--log-level",), "Accepted and meaningless here.", default="", hidden=True),
)
"""What every command takes, also before its name; see `skrei.cli.universal`."""

NAMESPACE = text("--namespace", "NAME", "The job's namespace, where it is named by its name.")
JOB = Argument("JOB", LAST_JOB, completes="job")
LAST = Argument("JOB", LAST_JOB, default="-", completes="job")
VERSION = integer("--version", "This version of the job; 0 is the latest.", "-v")

OUTPUT = one_of(
    "--output", "Table for people, CSV, JSON and YAML for programs.", *FORMATS, default="table", short=("-o",)
)
PRETTY = flag("--pretty", "JSON in one line.", default=True)
TABLE = (
    OUTPUT,
    PRETTY,
    flag("--hide-header", "No line of headings."),
    flag("--no-style", "Accepted and meaningless: tables are plain.", hidden=True),
    flag("--wide", "Whole ids and times."),
)
"""How a list is printed."""
OBJECT = (one_of("--output", "For programs.", "json", "yaml", default="yaml", short=("-o",)), PRETTY)
"""How one thing is printed."""


def page(limit: int, orders: tuple[str, ...], *also: str) -> tuple[Option, ...]:
    """Return the options of a list that comes in pages; `also` are other spellings of its orders."""
    return (
        integer("--limit", "How many to show; 0 is all.", "-n", default=limit),
        text("--next-token", "TOKEN", "Go on after an earlier page."),
        Option(
            ("--order-by",),
            "What to sort by.",
            choices=(*orders, *also),
            default="",
            metavar="|".join(orders),
            hidden=not orders,
        ),
        flag("--order-reversed", "The other way round."),
    )
