"""Units of systemd: what is written, what systemd says to it, and which commands are run."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from skrei.cli import units
from skrei.cli.main import main
from skrei_domain.systemd import filled, words

SYSTEMCTL = """#!/bin/sh
case "$*" in
  *--property=*) [ -s "$STATES" ] || { echo "$STATE"; exit; }
    head -n 1 "$STATES" | tr ' ' '\n'; sed -i 1d "$STATES"; exit;;
  *"-o cat"*) echo "usage: …"; echo "Error: no such file"; echo "skrei-agent.service: Main process exited"; exit;; esac
echo "$(basename "$0") $*" >> "$SAID"
[ -z "$FAILS" ] || { echo "Failed to connect to bus" >&2; exit 1; }
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own, and a systemctl that writes down what it is asked: no machine of tests is run by systemd."""
    for name in ("SKREI_DATA_DIR", "XDG_CONFIG_HOME", "SUDO_USER", "FAILS", "STATE", "STATES"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    (tmp_path / "bin").mkdir()
    for name in ("systemctl", "loginctl", "journalctl"):
        (tmp_path / "bin" / name).write_text(SYSTEMCTL)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(units, "RUNNING", tmp_path)
    monkeypatch.setattr(sys, "argv", ["skrei"])
    return tmp_path


def called(*call: str) -> int:
    sys.argv[1:] = call
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def printed(capsys: pytest.CaptureFixture[str], *call: str) -> str:
    assert called("service", "install", "--print", *call) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("scope", ["--user", "--system"])
@pytest.mark.parametrize("kind", ["serve", "agent"])
def test_systemd_finds_nothing_wrong_with_what_is_shipped(
    home: Path, capsys: pytest.CaptureFixture[str], scope: str, kind: str
) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here (Debian: systemd)")
    text = printed(capsys, scope, kind, "--allow-local", "/srv/a b/**:rw", "--name", "50% $HOME")
    file = home / f"skrei-{kind}.service"
    file.write_text(text.partition("\n")[2].partition("\n# systemctl")[0])
    command = ["systemd-analyze", *([scope] if scope == "--user" else []), "verify", "--man=no", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=_bare(home))
    assert (done.returncode, done.stderr) == (0, "")


def _bare(home: Path) -> dict[str, str]:
    # Sockets of its own units lie there, and the path of one has 107 bytes at most. It makes none.
    return {"PATH": os.defpath, "HOME": str(home), "XDG_RUNTIME_DIR": "/run"}


def test_a_unit_names_whole_paths_its_data_and_who_runs_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--system", "--run-as", "alice", "serve", "--listen", "10.0.0.1")
    program = Path(sys.executable).with_name("skrei")
    assert f"\nExecStart={program} serve --listen 10.0.0.1\n" in text
    assert "\nEnvironment=SKREI_DATA_DIR=/var/lib/skrei-serve\n" in text
    assert "\nUser=alice\nStateDirectory=skrei-serve\n" in text
    assert "\nWantedBy=multi-user.target\n" in text
    assert "@" not in text
    mine = printed(capsys, "--user", "agent")
    assert f"\nEnvironment=SKREI_DATA_DIR={home}/.skrei/agent\n" in mine
    assert "\nWantedBy=default.target\n" in mine
    assert "User=" not in mine
    assert f"# {home}/.config/systemd/user/skrei-agent.service\n" in mine
    started = "# systemctl --user enable skrei-agent.service\n# systemctl --user restart skrei-agent.service\n"
    assert f"{started}# loginctl enable-linger " in mine
    assert not (home / ".config").exists(), "nothing was done"


def test_a_users_unit_is_written_started_and_taken_away_and_its_token_is_nobody_elses(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ("agent", "--join", "http://10.0.0.1:1234", "--token", "secret")
    assert called("service", "install", "--user", *call) == 0
    unit, secrets = home / ".config/systemd/user/skrei-agent.service", home / ".config/skrei/skrei-agent.env"
    assert "--join http://10.0.0.1:1234\n" in unit.read_text()
    assert "secret" not in unit.read_text() + capsys.readouterr().out
    assert secrets.read_text() == "SKREI_JOIN_TOKEN=secret\n"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    said = (home / "said").read_text().splitlines()
    verbs = ["daemon-reload", "enable skrei-agent.service", "restart skrei-agent.service"]
    assert said[:3] == [f"systemctl --user {verb}" for verb in verbs], "one that runs is to hear of what is new"
    assert said[3].startswith("loginctl enable-linger ")
    assert called("service", "install", "--user", *call[:3]) == 0
    assert secrets.exists(), "a second call without the token goes on with the first one's"
    assert called("service", "uninstall", "--user", "agent") == 0
    assert not unit.exists()
    assert not secrets.exists()
    assert called("service", "uninstall", "--user", "agent") == 0
    assert "Nothing to do" in capsys.readouterr().out


def test_settings_that_the_owner_wrote_beside_the_unit_are_never_taken_away(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = "# our site\nSKREI_LABELS=site=a\nSKREI_JOIN_TOKEN_FILE=/run/t\n"
    secrets = home / ".config/skrei/skrei-agent.env"
    secrets.parent.mkdir(parents=True)
    secrets.write_text(f"SKREI_JOIN_TOKEN=old\n{theirs}".rstrip("\n"))
    secrets.chmod(0o644)
    assert called("service", "install", "--user", "agent", "--join", "http://h:1", "--token", "new") == 0
    assert secrets.read_text() == f"{theirs}SKREI_JOIN_TOKEN=new\n"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600, "one that was there may be open to others"
    assert called("service", "uninstall", "--user", "agent") == 0
    assert secrets.read_text() == theirs
    assert f"and your settings in {secrets}." in capsys.readouterr().out
    assert sorted(path.name for path in secrets.parent.iterdir()) == [secrets.name]


def test_what_systemd_says_is_told_and_a_machine_without_it_is_left_as_it_is(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILS", "1")
    assert called("service", "install", "--user", "serve") == 1
    assert "daemon-reload failed: Failed to connect to bus" in capsys.readouterr().err
    monkeypatch.setattr(units, "RUNNING", home / "nowhere")
    (home / ".config/systemd/user/skrei-serve.service").unlink()
    assert called("service", "install", "--user", "serve") == 1
    assert "not run by systemd" in capsys.readouterr().err
    assert not (home / ".config/systemd/user/skrei-serve.service").exists()


@pytest.mark.parametrize("state", ["ActiveState=activating NRestarts=7", "ActiveState=active NRestarts=8"])
def test_a_unit_that_ends_at_once_is_not_said_to_run(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setenv("STATES", str(home / "states"))
    (home / "states").write_text(f"ActiveState=active NRestarts=7\n{state}\n")
    monkeypatch.setattr(units, "WATCH_SECONDS", 5.0)
    assert called("service", "install", "--user", "agent", "--site", "/nowhere") == 1
    said = capsys.readouterr()
    assert "runs" not in said.out
    assert "skrei-agent.service was started, and ended: Error: no such file" in said.err
    assert "skrei service uninstall agent" in said.err
    monkeypatch.setattr(units, "WATCH_SECONDS", 0.01)
    monkeypatch.setenv("STATE", "ActiveState=active\nNRestarts=7")
    assert called("service", "install", "--user", "agent") == 0, "what it did months ago is not told of this start"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("scheduler",), "no such service"),
        (("serve", "--run-as", "alice"), "--run-as stands behind serve"),
        (("agent", "--system"), "--system stands behind agent"),
        (("serve", "--lisen", "10.0.0.1"), "there is no --lisen"),
        (("serve", "--port", "many"), "--port"),
        (("--user", "--system", "serve"), "do not go together"),
        (("--user", "--run-as", "alice", "serve"), "--run-as is for --system"),
    ],
)
def test_wrong_calls(home: Path, capsys: pytest.CaptureFixture[str], call: tuple[str, ...], told: str) -> None:
    assert called("service", "install", *call) == 2
    assert told in capsys.readouterr().err


def test_words_are_themselves_whatever_stands_in_them() -> None:
    assert words(["/a/b", "50%", "$HOME", "a b", 'say "x"', ""]) == '/a/b 50%% $$HOME "a b" "say \\"x\\"" ""'
    assert filled("a\n@X@\n\nb=@Y@", {"X": "", "Y": "1"}) == "a\n\nb=1\n"
