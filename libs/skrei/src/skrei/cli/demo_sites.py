"""The demo's three places: a control plane with a node, two nodes that join it, and books of its own at each."""

import asyncio
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from skrei.cli.stack_process import StackProcess

SITES = {"oslo": 24_000_000, "lisbon": 20_000_000, "ship": 17_000_000}
"""Bytes of books at each place: enough that nobody would move them, counted within seconds."""
BOOKS = 8
"""Files of each place."""
_PAGES = 48
_PAGE_SENTENCES = 400


class Sites:
    """Three nodes in `folder`; the first runs beside the control plane."""

    def __init__(self, folder: Path, texts: Path, *, outlives_us: bool) -> None:
        self.folder = folder
        self._texts = texts
        self._outlives_us = outlives_us
        self._stacks: list[StackProcess] = []

    @classmethod
    def made(cls, texts: Path, *, outlives_us: bool) -> "Sites":
        """Return sites in a private folder of their own."""
        folder = Path(tempfile.mkdtemp(prefix="skrei-demo-"))
        folder.chmod(0o711)  # as root the database has a user of its own, who passes through here
        return cls(folder, texts, outlives_us=outlives_us)

    @property
    def endpoint(self) -> str:
        """Where the API is, once it runs."""
        return self._stacks[0].endpoint

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes to end when all of it shall end."""
        return tuple(stack.pid for stack in self._stacks)

    async def start(self) -> None:
        """Write the books and start everything; return once every node can take work. Raises Rejected."""
        first, *others = SITES
        writing = asyncio.create_task(asyncio.to_thread(self._write_books))
        try:
            for name in SITES:
                (self.folder / name).mkdir()
                (self.folder / name).chmod(0o711)
            ports = ("--port", "0", "--publisher-port", "0", "--nats-port", "0")
            await self._stack(first, *ports).start()
            token = (self.folder / first / "data" / "keys" / "join.token").read_text("ascii").strip()
            join = ("--compute", "--join", self.endpoint, "--token", token)
            await asyncio.gather(*(self._stack(name, *join).start() for name in others))
        finally:
            await writing

    def check(self) -> None:
        """Raise Rejected when one of them has ended by itself."""
        for stack in self._stacks:
            stack.check()

    async def stop(self) -> None:
        """Stop everything, nodes first, and remove the folder."""
        await asyncio.gather(*(stack.stop() for stack in self._stacks[1:]))
        for stack in self._stacks[:1]:
            await stack.stop()
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    def log_tails(self) -> Iterator[tuple[str, str]]:
        """Yield the ends of all logs."""
        for stack in self._stacks:
            yield from stack.log_tails()

    def _stack(self, name: str, *options: str) -> StackProcess:
        data = f"data=books={self.folder / name / 'books'}"
        stack = StackProcess(self.folder / name, ("--name", name, "-c", data, *options), outlives_us=self._outlives_us)
        self._stacks.append(stack)
        return stack

    def _write_books(self) -> None:
        texts = [path.read_text("utf-8") for path in sorted(self._texts.glob("*.txt"))]
        for number, (name, size) in enumerate(SITES.items()):
            half = self.folder / name / "half"
            write_books(texts[number :: len(SITES)], half, size, seed=name)
            half.rename(half.with_name("books"))  # whole: a node that looks too early must not count half of them


def write_books(texts: Sequence[str], folder: Path, size_bytes: int, *, seed: str) -> None:
    """Make a folder with books of `size_bytes` in all, made of the sentences of `texts`: always the same ones."""
    chance = random.Random(seed)
    sentences = [f"{one.strip()}." for text in texts for one in text.split(".") if one.strip()]
    pages = ["\n".join(chance.choices(sentences, k=_PAGE_SENTENCES)) + "\n\n" for _ in range(_PAGES)]
    left = size_bytes
    folder.mkdir()
    for number in range(BOOKS):
        wanted = left // (BOOKS - number)
        text = "".join(chance.choices(pages, k=wanted // min(map(len, pages)) + 1)).encode()[:wanted]
        (folder / f"book-{number + 1}.txt").write_bytes(text)
        left -= wanted
