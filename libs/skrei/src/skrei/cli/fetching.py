"""`skrei get`: what a job left comes into a folder, all of it or one file."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from skrei import calls
from skrei.archive import MOST_BYTES, MOST_ENTRIES, RATIO, Caps
from skrei.cli import render, render_results
from skrei.cli.grammar import Misuse, Values
from skrei.cli.references import job_and_path, job_named
from skrei.cli.texts import short
from skrei.client import AsyncClient
from skrei.errors import DownloadFailed, NoPlace, Rejected
from skrei.job_parts import holding
from skrei.results import Fetched, Wish, fetch
from skrei_domain.resources import parse_bytes


def get(values: Values) -> None:
    """Fetch the results of a job, or one file of them."""
    asyncio.run(_get(values))


async def _get(values: Values) -> None:
    wish = wish_of(values)
    job, inside = job_and_path(values.text("JOB"))
    limit = values.seconds("download-timeout-secs")
    async with AsyncClient(values.text("api")) as client:
        named = calls.job(job_named(job, client.endpoint), namespace=values.text("namespace"))
        found = await client.send(named)
        by_node = found.type == "ops" and not wish.execution_id and not wish.raw
        wish = replace(wish, by_node=by_node, path=inside)
        folder = values.text("output-dir")
        target = Path(folder) if folder else _new_folder(found.id, overwrite=values.flag("overwrite"))
        with render.download_view() as view:

            def fetched_to(place: Path) -> Awaitable[Fetched]:
                return fetch(client, found.id, place, wish, view)

            try:
                async with asyncio.timeout(limit or None):
                    fetched = await (_one_of(fetched_to, target, inside, wish) if inside else fetched_to(target))
            except TimeoutError as error:
                raise DownloadFailed(
                    f"The results were not here after {limit:g} s.", hint="Give it longer, or 0 for no limit."
                ) from error
    if not fetched.partitions and not fetched.unknown:
        raise Rejected(
            f"The {'execution' if values.text('execution') else 'job'} has no results ({found.state}).",
            hint=f"How it stands: skrei describe {short(found.id)}",
        )
    render_results.fetched(fetched)


async def _one_of(all_of_it: Callable[[Path], Awaitable[Fetched]], target: Path, inside: str, wish: Wish) -> Fetched:
    """Fetch one file or folder of the results: all come aside, and what was asked for is moved into place."""
    aside = await asyncio.to_thread(_aside, target)
    try:
        fetched = await all_of_it(Path(aside.name) / "all")
        return await asyncio.to_thread(_take, fetched, target, inside, wish) if fetched.partitions else fetched
    finally:
        await asyncio.to_thread(aside.cleanup)


def _aside(target: Path) -> "tempfile.TemporaryDirectory[str]":
    parent = target.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".skrei-get-", dir=parent)


def _take(fetched: Fetched, target: Path, inside: str, wish: Wish) -> Fetched:
    """Move one file or folder of what was fetched below `target`. Raises Rejected or NoPlace."""
    whole = fetched.folder.resolve()
    found = (whole / inside).resolve()
    if not found.is_relative_to(whole) or not found.exists():
        if left := holding(fetched.left, inside):
            raise Rejected(
                f"{inside} {left[0].left_words}.", hint="Ask there, or run a job there that reads it (`-i file://…`)."
            )
        raise Rejected(f"The results hold no {inside}.", hint="`skrei job ls JOB` lists what they hold.")
    place = target / inside
    if place.exists() and not wish.overwrite:
        raise NoPlace(f"{place} is there already.", hint="Name another place with --output-dir, or --overwrite.")
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        shutil.rmtree(place)
    found.rename(place)
    files = [place] if place.is_file() else [one for one in place.rglob("*") if one.is_file()]
    size = sum(one.stat().st_size for one in files)
    parts = dict.fromkeys(fetched.partitions, place)
    return replace(fetched, folder=place, partitions=parts, files=len(files), total_bytes=size, unknown=(), clashes=())


def wish_of(values: Values) -> Wish:
    """Return what is wanted of the results. Raises Misuse."""
    caps = Caps(
        values.integer("max-files") or MOST_ENTRIES,
        _bytes(values.text("max-size")) or MOST_BYTES,
        values.integer("max-ratio") or RATIO,
    )
    return Wish(
        values.text("execution"),
        raw=values.flag("raw"),
        apart=values.flag("per-partition"),
        overwrite=values.flag("overwrite"),
        parallel=values.integer("parallel"),
        caps=caps,
    )


def _new_folder(job_id: str, *, overwrite: bool) -> Path:
    target = Path(f"job-{short(job_id)}")
    if not overwrite and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise NoPlace(
            f"{target} is there already.",
            hint="Name another place with --output-dir, or replace what is there with --overwrite.",
        )
    return target


def _bytes(text: str) -> int:
    if not text:
        return 0
    try:
        return parse_bytes(text.strip().lower())
    except ValueError as error:
        raise Misuse(
            f"skrei get: --max-size {text}: not a size such as 200GB or 64Gi.", hint="All options: skrei get --help"
        ) from error
