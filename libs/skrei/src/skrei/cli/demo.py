"""`skrei demo`: three real nodes from nothing, one real job that goes to their data, and everything stopped again.

What a newcomer sees first, so nothing of it is played: it starts `skrei serve` three times, on free ports in a private
folder, and talks to it as everybody does. `make demo` is the same from a checkout, where `KEEP=1` is `--keep`.
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
from collections.abc import Mapping, Sequence
from pathlib import Path

from skrei.cli import render, render_describe
from skrei.cli.demo_sites import SITES, Sites
from skrei.cli.grammar import Values
from skrei.cli.render_run import data_line
from skrei.cli.submit import watch
from skrei.client import AsyncClient
from skrei.errors import Rejected
from skrei.jobfile import load
from skrei.progress import Progress, best_attempts
from skrei.results import Fetched, fetch
from skrei.views import Execution, Node
from skrei_domain.amounts import amount
from skrei_domain.errors import SkreiError

JOB_SECONDS = 45.0
"""The word count takes three; a demo that needs more than this has failed."""
HELLO_SECONDS = 20.0
"""Until every node has told what it holds: they say it with their first word."""
LOOK_SECONDS = 0.1
"""Between two looks for that."""
TOP_WORDS = 10


def demo(values: Values) -> None:
    """Start three real nodes, count words where their books are, show the result, stop everything again."""
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
    sites = Sites.made(example / "texts", outlives_us=keep)
    done = False
    try:
        render.line(f"Starting Postgres, NATS, Skrei's services and three nodes in {sites.folder} ...")
        await sites.start()
        render.line(f"Running at {sites.endpoint} after {time.monotonic() - started:.1f} s.\n")
        async with AsyncClient(sites.endpoint) as client:
            await _tour(client, example, sites)
        done = True
    except SkreiError as error:
        render.problem(error.message, error.hint)
        for name, tail in sites.log_tails():
            render.note(f"\n--- the end of {name}")
            render.note(tail)
        sys.exit(1)
    finally:
        if keep and done:
            stop = f"kill {' '.join(map(str, sites.pids))}; rm -r {shlex.quote(str(sites.folder))}"
            render.line(f"\nStill running at {sites.endpoint}. Stop it with: {stop}")
        else:
            await sites.stop()
    if not keep:
        render.line(f"\nEverything that was started is stopped again, after {time.monotonic() - started:.0f} s.")
    _next_steps(sites.endpoint if keep else "")


async def _tour(client: AsyncClient, example: Path, sites: Sites) -> None:
    nodes = {node.id: node.labels.get("name", node.id) for node in await _holders(client)}
    job = load(example / "books.yaml")
    render.line(
        f"\nSubmitting {_shown(example / 'books.yaml')}: it goes to the books, and one node adds the counts up."
    )
    submitted = await client.submit(job)
    try:
        async with asyncio.timeout(JOB_SECONDS):
            last = await watch(client, submitted.job_id)
    except TimeoutError as error:
        raise Rejected(f"The job was not done after {JOB_SECONDS:g} s.") from error
    if last.job.state != "Completed":
        render_describe.describe(await client.describe(submitted.job_id))
        raise Rejected(f"The job ended as {last.job.state}.")
    sites.check()
    found = await client.describe(submitted.job_id)
    _tell_where(found.executions, nodes)
    render.line(f"\n{data_line(found.executions)}")
    fetched = await fetch(client, submitted.job_id, _results_folder(last))
    _show_words(fetched)
    render.line(f"\nThe results are in {fetched.folder} ({fetched.files} files).")
    render.line(f"\n$ skrei job describe {last.job.name}")
    render_describe.describe(found)


async def _holders(client: AsyncClient) -> Sequence[Node]:
    """Show who has which books, once all of them say so; return the nodes. Raises Rejected when they do not."""
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            while True:
                nodes = [node for node in await client.nodes.list() if node.data_sets]
                if len(nodes) == len(SITES):
                    break
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError as error:
        raise Rejected(f"Not every node had told of its books after {HELLO_SECONDS:g} s.") from error
    order = list(SITES)
    nodes.sort(key=lambda node: order.index(node.labels.get("name", "")))
    render.line("Each of them has books that the others do not have (skrei node list --show data):\n")
    for node in nodes:
        for one in node.data_sets:
            render.line(f"  {node.labels['name']:<8} {one.name}  {amount(one.size or 0):>6}")
    return nodes


def _tell_where(executions: Sequence[Execution], nodes: Mapping[str, str]) -> None:
    """Print where each part ran, and why there."""
    render.line("\nWhere each part ran, and why there:\n")
    parts = best_attempts(executions)
    for one in parts:
        read, name = one.data_read, nodes.get(one.node_id, one.node_id)
        if one.task == "count":
            why = f"holds part {one.partition} of the books: {amount(read.local)} read in place"
        else:
            why = f"has room: {amount(read.moved)} moved to it, the counts of {len(parts) - 1} parts"
        seconds = max((one.modified - one.created).total_seconds(), 0)
        render.line(f"  {one.task:<6} {name:<8} {seconds:>4.1f} s  {why}")


def _show_words(fetched: Fetched) -> None:
    words = _merged(fetched.folder)
    if not words:
        raise Rejected(f"The results in {fetched.folder} hold no counted words.")
    render.line(f"\nThe most frequent words of all books, merged from {len(SITES)} parts:\n")
    top = words.most_common(TOP_WORDS)
    for word, count in top:
        render.line(f"  {word:<14} {count:>9,}  {'#' * max(1, round(30 * count / top[0][1]))}")


def _merged(folder: Path) -> Counter[str]:
    """Return what the last task added up: `count word` lines in its words.txt."""
    words: Counter[str] = Counter()
    for path in folder.rglob("merged/words.txt"):
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
            (f"{program} describe books --api {endpoint}", "everything about this one"),
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
