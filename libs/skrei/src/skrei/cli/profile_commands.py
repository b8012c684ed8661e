"""`skrei profile …`: APIs that this user works with, by name."""

from dataclasses import replace

from skrei import profiles
from skrei.cli import render
from skrei.cli.flags import OBJECT, TABLE, flag, text
from skrei.cli.grammar import Argument, Command, Values
from skrei.cli.shape import Shape
from skrei.endpoint import checked
from skrei.errors import Rejected
from skrei.profiles import Profile

NAME = Argument("NAME", "the profile's name", completes="profile")
SAVE = Command(
    "profile save",
    "Keep an API under a name: its address, and the token of --token-file.",
    "skrei.cli.profile_commands:save",
    (
        text("--endpoint", "URL", "The API's address; needed for a new profile."),
        text("--description", "TEXT", "What it is, for people."),
        text("--timeout", "DURATION", "How long one answer may take, such as 30s."),
        flag("--insecure", "Do not look at its certificate."),
        flag("--select", "Make it the current one."),
    ),
    (NAME,),
)
LIST = Command("profile list", "List profiles.", "skrei.cli.profile_commands:list_profiles", TABLE)
SHOW = Command(
    "profile show",
    "Tell what a profile says; its token is not told.",
    "skrei.cli.profile_commands:show",
    OBJECT,
    (Argument("NAME", "the profile's name; none is the current one", default="", completes="profile"),),
)
SELECT = Command("profile select", "Make a profile the current one.", "skrei.cli.profile_commands:select", (), (NAME,))
DELETE = Command("profile delete", "Forget a profile.", "skrei.cli.profile_commands:delete", (), (NAME,))


def save(values: Values) -> None:
    """Keep a profile; what is not said of one that is there stays, but its token goes to no other address."""
    import os

    from skrei_domain.job_reading import parse_seconds

    known = profiles.load()
    name = profiles.checked_name(values.text("NAME"))
    old = known.known.get(name)
    endpoint = values.text("endpoint") or values.text("api") or (old.endpoint if old else "")
    if not endpoint:
        raise Rejected("A new profile needs an address.", hint=f"skrei profile save {name} --endpoint http://HOST:1234")
    limit = parse_seconds(values.text("timeout")) if values.text("timeout") else int(old.timeout_seconds if old else 0)
    if limit is None:
        raise Rejected(f"--timeout {values.text('timeout')}: not a duration.", hint="For example 30s or 2m.")
    token = os.environ.get("SKREI_API_KEY", "") if values.text("token-file") else ""
    address = checked(endpoint)
    if old is not None and old.endpoint != address:
        if old.token and not token:
            render.note(f"The token was that of {old.endpoint}, and is forgotten; --token-file gives the new one.")
        old = replace(old, token="", insecure=False)  # both were said of that address alone
    made = Profile(
        name=name,
        endpoint=address,
        description=values.text("description") or (old.description if old else ""),
        token=token or (old.token if old else ""),
        timeout_seconds=limit,
        insecure=values.flag("insecure") if "insecure" in values.given else bool(old and old.insecure),
    )
    profiles.store(known.with_(made, select=values.flag("select")))
    render.line(f"Profile {name} is saved.")
    if not values.flag("select") and known.current != name:
        render.next_step(f"skrei profile select {name}", "use it from now on")


def list_profiles(values: Values) -> None:
    """List profiles."""
    known, shape = profiles.load(), Shape.of(values)
    if not shape.is_rows:
        render.document({"Items": [_told(one, known.current) for one in known.known.values()]}, shape)
        return
    rows = (
        ("*" if one.name == known.current else "", one.name, one.endpoint, "token" if one.token else "none",
         one.description)
        for one in known.known.values()
    )  # fmt: skip
    render.table(("CURRENT", "NAME", "ENDPOINT", "AUTH", "DESCRIPTION"), rows, shape)
    if not known.known:
        render.next_step("skrei profile save NAME --endpoint http://HOST:1234", "the first one")


def show(values: Values) -> None:
    """Show one."""
    known = profiles.load()
    name = values.text("NAME") or known.current
    if not name:
        raise Rejected("No profile is the current one.", hint="Name one; skrei profile list shows what there is.")
    render.document(_told(known.named(name), known.current), Shape.of(values))


def select(values: Values) -> None:
    """Make one the current one."""
    profiles.store(profiles.load().select(values.text("NAME")))
    render.line(f"Profile {values.text('NAME')} is the current one.")


def delete(values: Values) -> None:
    """Forget one."""
    profiles.store(profiles.load().without(values.text("NAME")))
    render.line(f"Profile {values.text('NAME')} is forgotten.")


def _told(profile: Profile, current: str) -> dict[str, object]:
    told = {
        "Name": profile.name,
        "Endpoint": profile.endpoint,
        "Description": profile.description,
        "Auth": "token" if profile.token else "none",
        "Timeout": f"{profile.timeout_seconds:g}s" if profile.timeout_seconds else "",
        "Insecure": profile.insecure,
        "Current": profile.name == current,
    }
    return {key: value for key, value in told.items() if value != ""}
