"""`skrei demo`: the real stack from nothing, one real job through it, its results, and everything stopped again.

What a newcomer sees first, so nothing of it is played: it starts `skrei serve` on free ports in a private folder and
talks to it as everybody does. `make demo` is the same from a checkout, where `KEEP=1` is `--keep`.
"""

import asyncio
import io
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from skrei.cli import render, render_describe
from skrei.cli.grammar import Values
from skrei.cli.stack_process import StackProcess
from skrei.cli.submit import watch
from skrei.client import AsyncClient
from skrei.errors import Rejected
from skrei.jobfile import load
from skrei.progress import Progress
from skrei.results import Fetched, fetch
from skrei_domain.errors import SkreiError

JOB_SECONDS = 45.0
"""The word count takes two; a demo that needs more than this has failed."""
TOP_WORDS = 10


def demo(values: Values) -> None:
    """Start the real stack, run a word count over it, show its results, stop everything again."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in a pipe too, what is told comes in order
    try:
        asyncio.run(_demo(keep=values.flag("keep")))
    except SkreiError as error:
        render.problem(error.message, error.hint)
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        render.note("Stopped.")
        sys.exit(130)


async def _demo(*, keep: bool) -> None:
    _cancel_on_termination()
    started = time.monotonic()
    example = _example()
    stack, folder = _stack(example, keep)
    done = False
    try:
        render.line(f"Starting Postgres, NATS and Skrei's four services in {folder} ...")
        await stack.start()
        render.line(f"Running at {stack.endpoint} after {time.monotonic() - started:.1f} s.\n")
        async with AsyncClient(stack.endpoint) as client:
            await _tour(client, example, stack)
        done = True
    except SkreiError as error:
        render.problem(error.message, error.hint)
        for name, tail in stack.log_tails():
            render.note(f"\n--- the end of {name}")
            render.note(tail)
        sys.exit(1)
    finally:
        if keep and done:
            render.line(
                f"\nStill running at {stack.endpoint}. Stop it with: kill {stack.pid}; rm -r {shlex.quote(str(folder))}"
            )
        else:
            await stack.stop()
            shutil.rmtree(folder, ignore_errors=True)
    if not keep:
        render.line(f"\nEverything that was started is stopped again, after {time.monotonic() - started:.0f} s.")
    _next_steps(stack.endpoint if keep else "")


def _stack(example: Path, keep: bool) -> tuple[StackProcess, Path]:
    """Return a stack that is not started yet, on free ports, and its private folder."""
    folder = Path(tempfile.mkdtemp(prefix="skrei-demo-"))
    folder.chmod(0o711)  # as root the database has a user of its own, who passes through here
    texts = example / "texts"
    ports = ["--port", "0", "--publisher-port", "0", "--nats-port", "0"]
    allowed = ["--allow-local", str(texts), "--allow-local", f"{texts}/**"]
    return StackProcess(folder, [*ports, *allowed], outlives_us=keep), folder


async def _tour(client: AsyncClient, example: Path, stack: StackProcess) -> None:
    job = load(example / "job.yaml")
    render.line(f"Submitting {_shown(example / 'job.yaml')}: {job.get('Count', 1)} partitions, each with its share.")
    submitted = await client.submit(job)
    try:
        async with asyncio.timeout(JOB_SECONDS):
            last = await watch(client, submitted.job_id)
    except TimeoutError as error:
        raise Rejected(f"The job was not done after {JOB_SECONDS:g} s.") from error
    if last.job.state != "Completed":
        render_describe.describe(await client.describe(submitted.job_id))
        raise Rejected(f"The job ended as {last.job.state}.")
    stack.check()
    fetched = await fetch(client, submitted.job_id, _results_folder(last))
    _show_words(fetched)
    render.line(f"\nThe results are in {fetched.folder} ({fetched.files} files).")
    render.line(f"\n$ skrei job describe {last.job.name}")
    render_describe.describe(await client.describe(submitted.job_id))


def _show_words(fetched: Fetched) -> None:
    words = _merged(fetched.folder)
    if not words:
        raise Rejected(f"The results in {fetched.folder} hold no counted words.")
    render.line(f"\nThe most frequent words, merged from {len(fetched.partitions)} partitions:\n")
    top = words.most_common(TOP_WORDS)
    for word, count in top:
        render.line(f"  {word:<14} {count:>6}  {'#' * max(1, round(30 * count / top[0][1]))}")


def _merged(folder: Path) -> Counter[str]:
    """Return the sum of what each partition counted: `count word` lines in its words.txt."""
    words: Counter[str] = Counter()
    for path in sorted(folder.rglob("words.txt")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            count, _, word = line.partition(" ")
            words[word] += int(count)
    return words


def _results_folder(last: Progress) -> Path:
    """Return a folder for this job's results: here, or in the temporary folder where here is not ours to write."""
    here = Path.cwd() / "demo-results"
    try:
        here.mkdir(exist_ok=True)
        folder = here / last.job.id[:10]
        folder.mkdir()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="skrei-demo-results-"))
    return folder


def _example() -> Path:
    """Return the folder of the example: below here, else in this package or the checkout that it belongs to."""
    for root in (Path.cwd(), *Path(__file__).resolve().parents):
        if (root / "examples" / "wordcount" / "job.yaml").is_file():
            return root / "examples" / "wordcount"
    raise Rejected("examples/wordcount/job.yaml is not here.", hint="Install Skrei again: the example belongs to it.")


def _shown(path: Path) -> str:
    """Return a path as one types it: relative to here where it lies below."""
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def _next_steps(endpoint: str) -> None:
    program = _program()
    if endpoint:
        commands = [
            (f"{program} docker run --api {endpoint} ubuntu echo hello", "a container"),
            (f"{program} list --api {endpoint}", "every job"),
            (f"{program} describe wordcount --api {endpoint}", "everything about this one"),
        ]
    else:
        commands = [
            (f"{program} docker run ubuntu echo hello", "a container; starts the stack where none runs"),
            (f"{program} serve", "the stack, until Ctrl+C"),
            (f"{program} doctor", "what is missing here, and how to get it"),
        ]
    render.line("\nTry next:")
    render.hints(commands)


def _program() -> str:
    """Return how one calls this program: by its name where that finds it."""
    own, found = Path(sys.executable).parent / "skrei", shutil.which("skrei")
    return "skrei" if found is not None and Path(found).resolve() == own.resolve() else _shown(own)


def _cancel_on_termination() -> None:
    """Let SIGTERM and SIGINT cancel the demo, so that what it started is stopped."""
    task = asyncio.current_task()
    assert task is not None, "called from the demo"
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)


if __name__ == "__main__":
    from skrei.cli.main import main

    sys.argv[1:1] = ["demo"]
    main()
