"""Fetching what a job left: several downloads side by side, each unpacked aside, and moved into place when all is well.

Whatever goes wrong, the caller's folder holds either the whole result or what it held before.
"""

import asyncio
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from skrei.archive import Caps, Unpacked, folds_case, unpack
from skrei.bundles import STORED, bring, bundled
from skrei.client import AsyncClient
from skrei.download import Download, Gone
from skrei.errors import ApiError, DownloadFailed, NoPlace, ResultGone, UnsafeArchive
from skrei.job_parts import Result, holding
from skrei.layout import Laid, Part, in_the_way, lay_out, move
from skrei.result_list import kept_words, read_results, say_gone
from skrei.result_names import file_part, part_names, task_folders
from skrei.result_place import aside_of, told_plainly
from skrei_domain.errors import SkreiError

PARALLEL = 4
"""Downloads at once: enough to hide the latency, few enough for one publisher."""
NODE_TRIES = 3
"""Of a download that its node sends: one that is away is not waited for, what was told of it is here."""
RAW_FOLDER = "raw"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wish:
    """How results are wanted."""

    execution_id: str = ""
    """What this execution left, whether it counts or not; empty: what counts of every partition."""
    path: str = ""
    """Of a single result at least what lies there; of others, and where no less can be had, all of it."""
    raw: bool = False
    """The archives themselves, in `raw/<execution>.tar.gz`."""
    apart: bool = False
    """A folder for each partition instead of everything together."""
    by_node: bool = False
    """A folder for each node, also for one alone, named as it calls itself: how those of an ops job lie."""
    overwrite: bool = False
    """Replace what has the same name."""
    parallel: int = PARALLEL
    caps: Caps = field(default_factory=Caps)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched: the folder, where each partition lies in it, and what could not be had."""

    folder: Path
    partitions: dict[str, Path]
    files: int
    total_bytes: int
    unknown: tuple[Result, ...] = ()
    """Results of a kind that nobody here can fetch."""
    left: tuple[Result, ...] = ()
    """Results that stay on their nodes: of these only what is told of them was fetched."""
    unsent: str = ""
    """Why their nodes do not send them, as the first of them says."""
    doubtful: tuple[Result, ...] = ()
    """Results that are packed otherwise than they were by their nodes: perhaps one of their files was changed since."""
    clashes: tuple[str, ...] = ()
    """Names that several partitions have; not empty means that each has a folder of its own."""
    by_node: bool = False
    """Whether `partitions` are named after the nodes that left them."""
    kept_until: str = ""
    """Until when the first of them is kept at the server; empty where it does not say."""


class NoMeter:
    """Nobody watches; whoever does overrides these."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def expect(self, total_bytes: int | None, count: int) -> None:
        """Say how much will come, None where that is not known, of how many results."""

    def add(self, count: int) -> None:
        """See `skrei.download.Meter`."""

    def done(self) -> None:
        """Say that one more result is unpacked."""


async def fetch(
    client: AsyncClient,
    job_id: str,
    target: Path,
    wish: Wish = Wish(),
    meter: NoMeter | None = None,
) -> Fetched:
    """Download the results of a job and lay them out in `target`; see `skrei.layout` for how several lie.

    Raises SkreiError with what to do; then `target` is as it was.
    """
    found = (await client.results(job_id, execution_id=wish.execution_id)).items
    results = await read_results(client, job_id, [result for result in found if result.url or result.left_at])
    unknown = tuple(result for result in found if not (result.url or result.left_at))
    if not results:
        if not unknown:
            await say_gone(client, job_id, wish.execution_id)
        return Fetched(target, {}, 0, 0, unknown)
    wish, results = _meant(wish, results)
    meter = meter or NoMeter()
    sizes = [result.size for result in results]
    total = sum(size for size in sizes if size is not None) if None not in sizes else None
    meter.expect(total, len(results))
    with told_plainly(target), aside_of(target, total) as (place, aside):
        _refuse_early(place, wish, many=bool(task_folders(results)))
        fetched = _Fetching(client, job_id, aside, wish, meter)
        unpacked = await fetched.all(results)
        whole = one_of_each(results)
        laid = await _in_thread(lambda _: _settle(results, whole, aside, place, wish))
    parts = _where(whole, target, wish, laid)
    return Fetched(
        folder=target / RAW_FOLDER if wish.raw else target,
        partitions=parts,
        files=sum(one.files for one in unpacked),
        total_bytes=sum(one.total_bytes for one in unpacked),
        unknown=unknown,
        left=tuple(result for result in results if result.left_at and _name(result) not in fetched.sent),
        unsent=fetched.unsent,
        doubtful=tuple(fetched.doubtful),
        clashes=laid.clashes,
        by_node=wish.by_node,
        kept_until=min((result.kept_until for result in results if result.kept_until), default=""),
    )


class _Fetching:
    """One call's downloads."""

    def __init__(self, client: AsyncClient, job_id: str, aside: Path, wish: Wish, meter: NoMeter) -> None:
        self._client = client
        self._job_id = job_id
        self._aside = aside
        self._wish = wish
        self._meter = meter
        self._gate = asyncio.Semaphore(wish.parallel)
        self.sent: set[str] = set()
        """Results that their nodes have sent, of what stays there: the names of their archives."""
        self.unsent = ""
        self.doubtful: list[Result] = []
        self._folds = False
        """Whether names are one here that differ in case alone."""
        self._alone: set[str] = set()
        """Doors that send each result by itself."""

    async def all(self, results: Sequence[Result]) -> list[Unpacked]:
        """Bring all, or raise what went wrong first."""
        self._folds = await _in_thread(lambda _: folds_case(self._aside))
        together = await _all_of(self._several(door, some) for door, some in bundled(results))
        came = {execution_id: done for some in together for execution_id, done in some.items()}
        rest = [result for result in results if result.kind != STORED or result.execution_id not in came]
        return [*came.values(), *await _all_of(self._one(result) for result in rest)]

    async def _several(self, door: str, some: Sequence[Result]) -> dict[str, Unpacked]:
        """Bring what of some small results their door sends at once; what each comes to, by its execution."""
        done: dict[str, Unpacked] = {}
        async with self._gate:
            while door not in self._alone and (rest := [each for each in some if each.execution_id not in done]):
                came = await bring(self._client, door, rest)
                if came is None:
                    self._alone.add(door)
                if not came:
                    break
                done |= await self._unpacked_at_once([each for each in rest if each.execution_id in came], came)
        return done

    async def _unpacked_at_once(self, some: Sequence[Result], came: Mapping[str, bytes]) -> dict[str, Unpacked]:
        def work(wanted: Callable[[], bool]) -> dict[str, Unpacked]:
            done: dict[str, Unpacked] = {}
            for each in some:
                content, folder = came[each.execution_id], folder_of(self._aside, each)
                if self._wish.raw:
                    done[each.execution_id] = Unpacked(1, archive_of(self._aside, each).write_bytes(content))
                else:
                    done[each.execution_id] = unpack(content, folder, self._wish.caps, folds=self._folds, wanted=wanted)
            return done

        done = await _in_thread(work)
        self._meter.add(sum(len(came[each.execution_id]) for each in some))
        for _ in some:
            self._meter.done()
        return done

    async def _one(self, result: Result) -> Unpacked:
        async with self._gate:
            archive = archive_of(self._aside, result)
            if await self._whole(result, archive):
                return await self._unpacked(result, archive)
            if not result.url:  # all of it stays on its node, which does not send it
                folder_of(self._aside, result).mkdir()
                self._meter.done()
                return Unpacked(0, 0)
            download = Download(
                self._client,
                result,
                archive,
                renew=lambda: self._fresh(result),
                meter=self._meter,
                path=self._wish.path,
            )
            try:
                await download.run()
            except Gone as error:
                raise ResultGone(
                    f"The result of partition {result.partition} is not there any more{kept_words(result.kept_until)}.",
                    hint=f"Run the job again: skrei job run. What became of it: skrei job describe {self._job_id}",
                    execution_id=result.execution_id,
                ) from error
            if download.doubtful:
                self.doubtful.append(result)
            return await self._unpacked(result, archive)

    async def _unpacked(self, result: Result, archive: Path) -> Unpacked:
        folder, caps = folder_of(self._aside, result), self._wish.caps

        def work(wanted: Callable[[], bool]) -> Unpacked:
            if self._wish.raw:
                return Unpacked(1, archive.stat().st_size)
            done = unpack(archive, folder, caps, folds=self._folds, wanted=wanted)
            archive.unlink()
            return done

        done = await _in_thread(work)
        self._meter.done()
        return done

    async def _whole(self, result: Result, archive: Path) -> bool:
        """Fetch all of what stays on its node from there, if its node lets it go; whether it came."""
        if (whole := result.whole) is None:
            return False
        meant = replace(result, url=whole.url, size=whole.size, digest=whole.digest)
        try:
            renew, meter = self._again(result), self._meter
            await Download(self._client, meant, archive, renew=renew, meter=meter, tries=NODE_TRIES).run()
        except (ApiError, DownloadFailed, Gone) as error:
            self.unsent = self.unsent or (error.message if isinstance(error, SkreiError) else "")
            await _in_thread(lambda _: archive.unlink(missing_ok=True))  # what came of it is no beginning of the rest
            return False
        self.sent.add(_name(result))
        return True

    def _again(self, result: Result) -> Callable[[], Awaitable[str]]:
        async def renew() -> str:
            page = await self._client.results(self._job_id, execution_id=result.execution_id)
            found = next((each.whole for each in page.items if each.whole and each.paths == result.paths), None)
            if found is None:
                raise Gone
            return found.url

        return renew

    async def _fresh(self, result: Result) -> str:
        """Return a fresh address of a result whose own has expired."""
        page = await self._client.results(self._job_id, execution_id=result.execution_id)
        for fresh in page.items:
            if (fresh.execution_id, fresh.paths) == (result.execution_id, result.paths) and fresh.url:
                return fresh.url
        raise Gone


def archive_of(aside: Path, result: Result) -> Path:
    """Return where a download goes."""
    return aside / f"{_name(result)}.tar.gz"


def folder_of(aside: Path, result: Result) -> Path:
    """Return where it is unpacked."""
    return aside / f"{_name(result)}.folder"


def _name(result: Result) -> str:
    """Return the name of an archive: that of its execution, and of its paths where those of others lie elsewhere."""
    if not result.paths:
        return file_part(result.execution_id)
    first = result.paths[0]
    plain = file_part(first)
    told = plain if plain == first else f"{plain}-{zlib.crc32(first.encode('utf-8', 'surrogateescape')):08x}"
    return f"{file_part(result.execution_id)}.{told}"


def one_of_each(results: Sequence[Result]) -> list[Result]:
    """Return one result for each execution: of those whose paths went to several places the one without any."""
    found: dict[str, Result] = {}
    for result in sorted(results, key=lambda each: bool(each.paths)):
        found.setdefault(result.execution_id, result)
    return [each for each in results if found[each.execution_id] is each]


def _meant(wish: Wish, results: list[Result]) -> tuple[Wish, list[Result]]:
    """Return what is fetched: of a single result what can hold the path, and of several, each in its folder, all."""
    single = len(one_of_each(results)) == 1 and not (wish.raw or wish.apart or wish.by_node)
    if not (wish.path and single):
        return replace(wish, path=""), results
    return wish, holding(results, wish.path) or results


def _put_together(results: Sequence[Result], whole: Sequence[Result], aside: Path) -> None:
    """Move what came from several places together, as its execution left it. Raises UnsafeArchive."""
    into = {result.execution_id: folder_of(aside, result) for result in whole}
    for result in results:
        if (folder := folder_of(aside, result)) == (place := into[result.execution_id]):
            continue
        for each in list(folder.iterdir()):
            if (place / each.name).exists():
                raise UnsafeArchive(
                    f"{each.name!r} is in two of the archives of {result.execution_id}.",
                    hint="`--raw` keeps the archives as they are.",
                )
            each.rename(place / each.name)


def _settle(results: Sequence[Result], one_each: Sequence[Result], aside: Path, target: Path, wish: Wish) -> Laid:
    """Lay out what was fetched and move it into place. Raises NoPlace, UnsafeArchive."""
    whole = aside / "whole"
    laid = Laid()
    if wish.raw:
        (whole / RAW_FOLDER).mkdir(parents=True)
        for result in results:
            if (archive := archive_of(aside, result)).exists():
                archive.rename(whole / RAW_FOLDER / archive.name)
    else:
        _put_together(results, one_each, aside)
        names = part_names(one_each, by_node=wish.by_node)
        tasks = task_folders(one_each)
        parts = [Part(names[each.execution_id], folder_of(aside, each), tasks.get(each.task, "")) for each in one_each]
        laid = lay_out(parts, whole, apart=wish.apart or wish.by_node, alone=wish.by_node, folds=folds_case(aside))
    if not wish.overwrite and (names_there := in_the_way(whole, target)):
        raise _there(target, names_there)
    move(whole, target)
    return laid


def _refuse_early(target: Path, wish: Wish, *, many: bool) -> None:
    """Refuse what will be refused anyhow before anything is downloaded: a result always has a `stdout`."""
    apart = wish.raw or wish.apart or wish.by_node or many
    if not wish.overwrite and not apart and (target / "stdout").exists():
        raise _there(target, ["stdout"])


def _there(target: Path, names: Sequence[str]) -> NoPlace:
    return NoPlace(
        f"{', '.join(names)} is in {target} already.",
        hint="Name another place with --output-dir, or replace what is there with --overwrite.",
    )


def _where(results: Sequence[Result], target: Path, wish: Wish, laid: Laid) -> dict[str, Path]:
    """Return where each result lies, by its partition (or node); of several tasks by `task/partition`."""
    names, tasks = part_names(results, by_node=wish.by_node), task_folders(results)
    siblings = Counter(result.task for result in results)
    found: dict[str, Path] = {}
    for result in results:
        folder = tasks.get(result.task, "")
        name = names[result.execution_id]
        clashed = any(not folder or clash.startswith(f"{folder}/") for clash in laid.clashes)
        apart = not wish.raw and (wish.by_node or (siblings[result.task] > 1 and (wish.apart or clashed)))
        place = target / folder if folder and not wish.raw else target
        found[f"{result.task}/{name}" if folder else name] = place / name if apart else place
    return found


async def _all_of(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return what each comes to, or raise what went wrong first."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as failed:
        # The first failure cancelled the others: it is the one to tell.
        raise failed.exceptions[0] from failed
    return [task.result() for task in tasks]


async def _in_thread(work: Callable[[Callable[[], bool]], T]) -> T:
    """Run `work` in a thread; a cancellation tells it that it is not wanted any more, and waits until it has seen it.

    So nobody clears a folder away in which it still writes.
    """
    stopped = threading.Event()
    running = asyncio.get_running_loop().run_in_executor(None, work, lambda: not stopped.is_set())
    try:
        await asyncio.wait([running])
    except asyncio.CancelledError:
        stopped.set()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()
        raise
    return running.result()
