"""What a shell is offered, and that bash really offers it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skrei.cli import tree
from skrei.cli.completion import Answer, answer, complete
from skrei.cli.completion_scripts import SCRIPTS
from tests.support.fake_api import FakeApi, job
from tests.support.served_api import serving
from tests.support.terminal import Terminal

JOBS = [("j-1a2b3c4d", "words Running"), ("words", "j-1a2b3c4d Running")]


def ask(kind: str) -> Iterator[tuple[str, str]]:
    yield from JOBS if kind == "job" else [(f"{kind}-1", "")]


def offered(*words: str) -> list[str]:
    *before, current = words
    return [word for word, _ in answer(before, current, ask).candidates]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["des"], ["describe"]),
        (["job", "ver"], ["versions"]),
        (["auth", "sso", ""], ["login", "logout", "token"]),
        (["nonsense", ""], []),
        (["describe", ""], ["j-1a2b3c4d", "words"]),
        (["describe", "w"], ["words"]),
        (["describe", "words", ""], []),
        (["--api", "x", "describe", "j"], ["j-1a2b3c4d"]),
        (["node", "describe", ""], ["node-1"]),
        (["--profile", "x", "list", "--profile", ""], ["profile-1"]),
        (["list", "--order-by", "m"], ["modified_at"]),
        (["list", "--order-by=m"], ["--order-by=modified_at"]),
        (["list", "--ord"], ["--order-by", "--order-reversed"]),
        (["docker", "run", "--no-w"], ["--no-wait"]),
        (["docker", "run", "--network", "h"], ["host", "http"]),
        (["docker", "run", "ubuntu", "--net"], []),
        (["list", "-o", "y"], ["yaml"]),
        (["job", "wait", "words", "--for", "r"], ["running", "ready"]),
        (["job", "wait", "words", "w"], ["words"]),
        (["logs", "words", "--task", ""], ["task-1"]),
        (["job", "ls", "words/out", "--task=t"], ["--task=task-1"]),
        (["job", "cat", "words", "stdout", "--node", ""], ["node-1"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
)
def test_what_may_come_next_is_offered(words: list[str], expected: list[str]) -> None:
    assert offered(*words) == expected


def test_files_are_offered_where_files_are_meant() -> None:
    assert answer(["run"], "", ask) == Answer(files=True)
    assert answer(["docker", "run", "ubuntu", "cat"], "x", ask).files
    assert not answer(["list"], "", ask).files


@pytest.mark.parametrize("name", tree.COMMANDS)
def test_every_command_offers_its_options(name: str) -> None:
    assert "--api" in offered(*name.split(), "--")


def test_what_goes_wrong_offers_nothing_and_says_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKREI_API_URL", "http://127.0.0.1:9")
    assert complete(["describe", ""]) == 0
    assert capsys.readouterr() == (":none\n", "")


def test_bash_completes_from_its_script(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is missing")
    script = tmp_path / "skrei.bash"
    script.write_text(SCRIPTS["bash"])
    line = "COMP_WORDS=(skrei job d); COMP_CWORD=2; _skrei; echo ${COMPREPLY[*]}"
    equals = "COMP_WORDS=(skrei list --order-by = m); COMP_CWORD=4; _skrei; echo ${COMPREPLY[*]}"
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        [bash, "-c", f"source {script}; {line}; {equals}"],
        capture_output=True, text=True, check=True, env={"PATH": path, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["describe diff", "modified_at"], done.stderr


EVIL = ("yankee;touch${IFS}pwned;", "a b", "$(id)", "`id`", "-rf", "--token-file=x", "a\\b", "ä", "a/b", "", "a\nb")


def test_what_others_have_named_so_that_it_would_do_something_is_offered_by_its_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [job(ID=f"j-{number}", Name=name) for number, name in enumerate([*EVIL, "web.1_x-y"])]
    with serving(FakeApi({"GET /api/v1/orchestrator/jobs": {"NextToken": "", "Items": jobs}})) as url:
        monkeypatch.setenv("SKREI_API_URL", url)
        assert complete(["describe", ""]) == 0
    told = [line.partition("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert told == [":none", *(f"j-{number}" for number in range(len(jobs))), "web.1_x-y", "-"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")
def test_bash_puts_nothing_on_the_line_that_means_more_than_a_word(tmp_path: Path) -> None:
    evil = "yankee;touch${IFS}pwned;"
    (tmp_path / "skrei").write_text(f"#!/bin/sh\nprintf ':file\\n%s\\tmeaning\\n' '{evil}'\n")
    (tmp_path / "skrei").chmod(0o755)
    (tmp_path / "yankee;touch pwned;").write_text("")
    script = tmp_path / "skrei.bash"
    script.write_text(SCRIPTS["bash"])
    typed = f'source {script}; COMP_WORDS=(skrei describe y); COMP_CWORD=2; _skrei; printf "%s\\n" "${{COMPREPLY[@]}}"'
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(
        [str(shutil.which("bash")), "-c", typed], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PATH": path, "HOME": str(tmp_path)},
    )  # fmt: skip
    for word in done.stdout.splitlines():
        subprocess.run([str(shutil.which("bash")), "-c", f": {word}"], cwd=tmp_path, check=True)
    assert (len(done.stdout.splitlines()), (tmp_path / "pwned").exists()) == (2, False), done.stdout


@pytest.mark.parametrize(
    ("shell", "before"),
    [(("zsh", "-f", "-i"), "autoload -Uz compinit; compinit -u -D; "), (("fish", "--no-config", "-i"), "")],
    ids=["zsh", "fish"],
)
def test_another_shell_offers_it_and_quotes_what_it_puts_on_the_line(
    shell: tuple[str, ...], before: str, tmp_path: Path
) -> None:
    """Typed at the real shell: what it completes is one word, whatever that would do if it were not quoted."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is missing")
    evil = "yankee;touch${IFS}pwned;"
    offers = f"""[ "$1" = __complete ] && {{ printf ':none\\n%s\\tmeaning\\n' '{evil}'; exit; }}"""
    (tmp_path / "skrei").write_text(f"#!/bin/sh\n{offers}\nprintf '<%s>' \"$@\"; echo\n")
    (tmp_path / "skrei").chmod(0o755)
    (tmp_path / "script").write_text(SCRIPTS[shell[0]])
    words = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "TERM": "xterm"}
    with Terminal(shell, words) as terminal:
        terminal.press(f"cd {tmp_path}; {before}source ./script; echo so''urced\n".encode())
        terminal.until("sourced")
        terminal.press(b"skrei describe y\t")
        terminal.until("pwned\\;")
        terminal.press(b"\n")
        terminal.until(f"<describe><{evil}>")
        terminal.press(b"exit\n")
        terminal.end()
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "words",
    ["logs words --task", "job ls words/out/a --task", "job scale words 3 --task", "--api {api} logs words --task",
     "logs words --task="],
)  # fmt: skip
def test_the_tasks_of_the_job_that_was_typed_are_offered(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    several = job(Tasks=[{"Name": "build"}, {"Name": "test"}])
    with serving(FakeApi({"GET /api/v1/orchestrator/jobs/words": {"Job": several}})) as url:
        monkeypatch.setenv("SKREI_API_URL", url)
        *before, last = words.replace("{api}", url).split()
        complete([*before, *([last] if last.endswith("=") else [last, ""])])
    told = capsys.readouterr().out.splitlines()
    assert [line.removeprefix("--task=") for line in told] == [":none", "build", "test"]
