"""`skrei service …`: the stack, or a node, as a unit of systemd, which goes on when whoever started it logs out."""

import getpass
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skrei.cli import env_file, render
from skrei.cli.flags import flag, text
from skrei.cli.grammar import Argument, Command, Misuse, Values, read
from skrei.cli.universal import with_universal
from skrei.errors import Rejected
from skrei_domain.systemd import filled, words

RUNNING = Path("/run/systemd/system")
"""There where systemd runs the machine."""
COMMAND_SECONDS = 90.0
"""For one call of systemctl: it waits for the unit to start, and for a stop that takes its 20 s."""
WATCH_SECONDS = 2.5
"""How long a unit that was started is watched: a program that reads wrong arguments has ended by then."""
TOKEN = "SKREI_JOIN_TOKEN"
"""What an install writes beside the unit; all else there is its owner's."""
KINDS = {"serve": "skrei-serve.service", "agent": "skrei-agent.service"}
_ROOTS = ("ProtectKernelModules", "ProtectKernelLogs", "ProtectClock")
"""What takes capabilities away, which a user's systemd may not before 254: its unit would end with 218/CAPABILITIES."""
_SCOPES = (
    flag("--user", "A unit of this user; the default, but for root."),
    flag("--system", "A unit of the machine; asks for root."),
)
_KIND = Argument("WHAT", "serve (the stack of this machine) or agent (a node alone)")
INSTALL = Command(
    "service install",
    "Have systemd keep the stack, or a node, running: also across logouts and restarts of the machine.",
    "skrei.cli.units:install",
    (
        *_SCOPES,
        text("--run-as", "USER", "Whom a unit of the machine runs as; else who called sudo, or root."),
        flag("--print", "Print the unit and what would be done, and do nothing."),
    ),
    (_KIND, Argument("ARG", "arguments of `skrei serve`, or of `skrei-compute-agent`", rest=True)),
    more="skrei service install agent --join URL --token T makes this machine a node; its token goes into a file.",
)
UNINSTALL = Command(
    "service uninstall",
    "Stop what `service install` started, and take its unit away; data stays.",
    "skrei.cli.units:uninstall",
    (*_SCOPES, flag("--print", "Print what would be done, and do nothing.")),
    (_KIND,),
)


@dataclass(frozen=True)
class Unit:
    """One unit: where its files lie, and how systemd is spoken to about it."""

    kind: str
    system: bool

    @property
    def name(self) -> str:
        """Its name for systemd."""
        return KINDS[self.kind]

    @property
    def file(self) -> Path:
        """Where it lies."""
        home = Path("/etc/systemd/system") if self.system else _config_home() / "systemd" / "user"
        return home / self.name

    @property
    def secrets(self) -> Path:
        """What its process is told beside its arguments: for its user's eyes alone."""
        home = Path("/etc/skrei") if self.system else _config_home() / "skrei"
        return home / f"{Path(self.name).stem}.env"

    @property
    def data(self) -> Path:
        """Where its data lies, where nobody says otherwise."""
        named = os.environ.get("SKREI_DATA_DIR", "")
        if named:
            return Path(named).expanduser().absolute()
        if self.system:
            return Path("/var/lib") / Path(self.name).stem
        return Path("~/.skrei").expanduser() / ("agent" if self.kind == "agent" else "")

    def systemctl(self, *command: str) -> list[str]:
        """Return a call of systemctl about this unit."""
        return ["systemctl", *([] if self.system else ["--user"]), *command]


def install(values: Values) -> None:
    """Write the unit and start it."""
    unit = _unit(values)
    arguments, secrets = _apart(values.texts("ARG"))
    _check_arguments(unit, arguments)
    user = _run_as(unit, values.text("run-as") if "run-as" in values.given else "")
    content = _content(unit, arguments, user)
    # `enable --now` leaves one that runs as it was: of another token or control plane it would not hear.
    after = [unit.systemctl(*verb) for verb in (("daemon-reload",), ("enable", unit.name), ("restart", unit.name))]
    if not unit.system:
        after.append(["loginctl", "enable-linger", getpass.getuser()])
    if values.flag("print"):
        render.line(f"# {unit.file}\n{content}")
        if secrets:
            render.line(f"# {unit.secrets} (0600)\n{_blind(secrets)}")
        render.line("\n".join(f"# {' '.join(command)}" for command in after))
        return
    _check(unit, values)
    _write(unit, content, secrets)
    for command in after:
        _run(command)
    _see_it_run(unit)
    render.line(f"{unit.name} runs, and is started with the machine.")
    scope = "" if unit.system else "--user "
    render.next_step(f"journalctl {scope}-u {unit.name} -f", "what it says")


def uninstall(values: Values) -> None:
    """Stop the unit and take it away."""
    unit = _unit(values)
    commands = [unit.systemctl("disable", "--now", unit.name)]
    after = unit.systemctl("daemon-reload")
    if values.flag("print"):
        secrets = f"{TOKEN} goes from {unit.secrets}, and that file if nothing else is in it"
        told = [*(" ".join(command) for command in commands), f"rm {unit.file}", secrets, " ".join(after)]
        render.line("\n".join(f"# {line}" for line in told))
        return
    _check(unit, values)
    if not unit.file.exists():
        render.line(f"Nothing to do: there is no {unit.file}.")
        return
    for command in commands:
        _run(command)
    try:
        unit.file.unlink(missing_ok=True)
        stays = env_file.forget(unit.secrets, (TOKEN,))
    except OSError as error:
        raise Rejected(f"{error.filename} cannot be removed: {error.strerror}.", hint="Remove it yourself.") from error
    _run(after)
    settings = f", and your settings in {unit.secrets}" if stays else ""
    render.line(f"{unit.name} is gone; its data stays in {unit.data}{settings}.")


def _unit(values: Values) -> Unit:
    kind = values.text("WHAT")
    if kind not in KINDS:
        raise Misuse(f"skrei service: {kind}: no such service.", hint=f"There are {' and '.join(KINDS)}.")
    if values.flag("user") and values.flag("system"):
        raise Misuse("skrei service: --user and --system do not go together.", hint="Leave one of them out.")
    return Unit(kind, values.flag("system") or (os.geteuid() == 0 and not values.flag("user")))


def _check_arguments(unit: Unit, arguments: Sequence[str]) -> None:
    """Refuse what its program would not understand, or is meant for this command. Raises Misuse."""
    for word in arguments:
        if word.partition("=")[0] in ("--user", "--system", "--run-as", "--print"):
            raise Misuse(
                f"skrei service install: {word} stands behind {unit.kind}, where that one's arguments are.",
                hint=f"skrei service install {word} … {unit.kind} …",
            )
    if unit.kind == "serve":
        from skrei.cli.serve import SERVE

        read(with_universal(SERVE), arguments)


def _see_it_run(unit: Unit) -> None:
    """Watch the unit for a moment: it counts as started before its program has read a word. Raises Rejected."""
    until, before = time.monotonic() + WATCH_SECONDS, ""
    while time.monotonic() < until:
        said = _said(unit.systemctl("show", "--property=ActiveState,NRestarts", unit.name))
        told = dict(line.partition("=")[::2] for line in said.splitlines())
        if "ActiveState" not in told:
            return  # a systemctl that does not say cannot be watched
        restarts = told.get("NRestarts", "0")
        before = before or restarts  # one that runs for months may have ended then
        if told["ActiveState"] != "active" or restarts != before:
            scope = [] if unit.system else ["--user"]
            last = _said(["journalctl", *scope, "-u", unit.name, "-n", "20", "-o", "cat", "--no-pager"]).strip()
            mine = [line for line in last.splitlines() if not line.startswith((unit.name, "Started", "Stopped"))]
            raise Rejected(
                f"{unit.name} was started, and ended: {mine[-1] if mine else 'it said nothing'}",
                hint=f"`journalctl {' '.join([*scope, '-u'])} {unit.name}` has all of it; systemd tries again until "
                f"`skrei service uninstall {unit.kind}`.",
            )
        time.sleep(WATCH_SECONDS / 5)


def _said(command: Sequence[str]) -> str:
    """Return what a command says; empty where there is none."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _check(unit: Unit, values: Values) -> None:
    """Refuse what cannot work here. Raises Rejected."""
    if not RUNNING.is_dir() or shutil.which("systemctl") is None:
        raise Rejected(
            "This machine is not run by systemd.",
            hint="--print shows the unit for one that is; here, keep the command running by what starts services.",
        )
    if unit.system and os.geteuid() != 0:
        raise Rejected("A unit of the machine is root's to install.", hint="sudo, or --user for one of your own.")
    if unit.system and (user := values.text("run-as") if "run-as" in values.given else ""):
        import pwd

        try:
            pwd.getpwnam(user)
        except KeyError:
            raise Rejected(f"This machine has no user {user}.", hint="Name one that it has.") from None


def _run_as(unit: Unit, named: str) -> str:
    """Return whom the unit runs as; empty: as systemd does anyway."""
    if not unit.system:
        if named:
            raise Misuse("skrei service: --run-as is for --system.", hint="A user's unit runs as that user.")
        return ""
    return named or os.environ.get("SUDO_USER", "") or "root"


def _content(unit: Unit, arguments: Sequence[str], user: str) -> str:
    identity = f"User={user}\nStateDirectory={unit.data.name}\nStateDirectoryMode=0700" if user else ""
    if user and unit.data != Path("/var/lib") / unit.data.name:
        identity = f"User={user}"
    told = {
        "NAME": unit.name,
        "EXEC": words([*_program(unit.kind), *arguments]),
        "DATA": words([str(unit.data)]),
        "ENV": str(unit.secrets),
        "IDENTITY": identity,
        "TARGET": "multi-user.target" if unit.system else "default.target",
    }
    content = filled(template(unit.name), told)
    return content if unit.system else _without(content, _ROOTS)


def _without(content: str, settings: Sequence[str]) -> str:
    return "".join(line for line in content.splitlines(keepends=True) if line.partition("=")[0] not in settings)


def template(name: str) -> str:
    """Return a shipped unit, as it was before it was filled in."""
    here = Path(__file__).resolve()
    for folder in (here.parents[1] / "systemd", *(each / "deploy" / "systemd" for each in here.parents)):
        if (folder / name).is_file():
            return (folder / name).read_text("utf-8")
    raise Rejected(f"deploy/systemd/{name} is not here.", hint="Install Skrei again: the unit belongs to it.")


def _program(kind: str) -> list[str]:
    """Return the command of a kind, by its whole path: systemd knows no PATH of users."""
    name = "skrei" if kind == "serve" else "skrei-compute-agent"
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise Rejected(f"{name} is not installed here.", hint="pipx install skrei-compute-agent, or skrei[serve].")
    return [str(Path(found).absolute()), *(["serve"] if kind == "serve" else [])]


def _apart(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the arguments without the token, which everybody on this machine would read there, and the token."""
    kept: list[str] = []
    secrets: dict[str, str] = {}
    rest = iter(arguments)
    for word in rest:
        if word == "--token":
            secrets[TOKEN] = next(rest, "")
        elif word.startswith("--token="):
            secrets[TOKEN] = word.partition("=")[2]
        else:
            kept.append(word)
    return kept, secrets


def _blind(secrets: dict[str, str]) -> str:
    return "\n".join(f"{name}=…" for name in secrets)


def _write(unit: Unit, content: str, secrets: dict[str, str]) -> None:
    """Write the unit, and beside it what is nobody else's business; what was written before stays where none is new."""
    try:
        unit.file.parent.mkdir(parents=True, exist_ok=True)
        unit.file.write_text(content, "utf-8")
        if secrets:
            env_file.keep(unit.secrets, secrets)
    except OSError as error:
        raise Rejected(
            f"{error.filename} cannot be written: {error.strerror}.", hint="--print shows the unit."
        ) from error


def _run(command: Sequence[str]) -> None:
    """Run a command, shown before. Raises Rejected with what it said."""
    render.note(" ".join(command))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Rejected(f"{command[0]} did not do it: {error}.", hint="See `systemctl status`.") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Rejected(
            f"{' '.join(command)} failed: {said[-1] if said else done.returncode}",
            hint="journalctl -xe tells more; a user's units need a login session, or `loginctl enable-linger`.",
        )


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
