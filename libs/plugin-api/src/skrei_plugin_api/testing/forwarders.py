# ruff: noqa: D102 - a test's name says what it claims
"""The contract suite of publishers that are handed whole results (`Forwarder`): subclass it, and pytest runs it.

No pytest here: a plugin's own tests bring it.
"""

import hashlib
import json
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from skrei_domain.uploads import Parcel
from skrei_plugin_api.packing import pack_result
from skrei_plugin_api.plugin import PLUGIN_API, Params
from skrei_plugin_api.publisher import DestinationAway, PublishDenied, Published, Publisher

PUBLISHED_BYTES = 4096
"""Of what a publisher says of where a result lies, as JSON."""


class ForwarderContract:
    """What every forwarder does. Subclasses give a fixture `publisher`, made anew and closed afterwards."""

    files: ClassVar[Mapping[str, bytes]] = {
        "stdout": b"said\n",
        "stderr": b"",
        "exitCode": b"0",
        "out/table.csv": b"id,city\n1,Oslo\n" * 40_000,
        "out/deep/er/ünicode name": b"u",
        "out/empty": b"",
    }
    """A result that nodes make: streams, exit code, and one folder for each result path."""
    invalid: ClassVar[Mapping[str, Params]] = {}
    """Params that cannot be right, each by the field that is wrong."""

    def params(self) -> Params:
        """Return params of a destination that takes results."""
        return {}

    @abstractmethod
    def read(self, published: Published) -> Mapping[str, bytes]:
        """Return the files of a result as its destination's own readers get them."""

    def unavailable(self) -> Params | None:
        """Return params of a destination that is not there, or takes nothing; None where params name none."""
        return None

    async def test_it_says_who_it_is(self, publisher: Publisher) -> None:
        assert publisher.plugin_api == PLUGIN_API
        assert (await publisher.describe()).available

    async def test_wrong_params_are_named(self, publisher: Publisher) -> None:
        assert publisher.validate(self.params()) == []
        for field, params in self.invalid.items():
            assert field in {problem.path for problem in publisher.validate(params)}, field

    async def test_what_is_brought_lies_there_whole(self, publisher: Publisher) -> None:
        assert publisher.forwards(self.params())
        await publisher.reach(self.params())
        published = await self.bring(publisher, self.files)
        assert self.read(published) == self.files
        assert len(json.dumps(dict(published.params))) <= PUBLISHED_BYTES

    async def test_brought_again_it_lies_at_the_same_place(self, publisher: Publisher) -> None:
        first = await self.bring(publisher, self.files)
        second = await self.bring(publisher, self.files)
        assert first == second
        assert self.read(second) == self.files

    async def test_a_later_result_is_there_whole_and_nothing_else(self, publisher: Publisher) -> None:
        await self.bring(publisher, self.files)
        other = {"stdout": b"other\n", "stderr": b"", "exitCode": b"1", "out/other.csv": b"1\n"}
        assert self.read(await self.bring(publisher, other, "e-2")) == other

    async def test_a_destination_that_is_not_there_is_told(self, publisher: Publisher) -> None:
        if (params := self.unavailable()) is None:
            return
        try:
            await publisher.reach(params)
            await self.bring(publisher, self.files, params=params)
        except (PublishDenied, DestinationAway) as error:
            assert error.message  # noqa: PT017 - suites do without pytest
        else:
            raise AssertionError("it was brought to where nothing can be")

    async def bring(
        self, publisher: Publisher, files: Mapping[str, bytes], name: str = "e-1", params: Params | None = None
    ) -> Published:
        """Have a result brought to its destination."""
        with archive(files) as (path, digest):
            parcel = Parcel(execution_id=name, digest=digest, size=path.stat().st_size)
            return await publisher.forward(parcel, path, self.params() if params is None else params)


@contextmanager
def archive(files: Mapping[str, bytes]) -> Iterator[tuple[Path, str]]:
    """Pack files as nodes pack what a run has left; yields the archive and its digest."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        outputs = {name.split("/")[0] for name in files if "/" in name}
        for name, data in files.items():
            path = root / "outputs" / name if "/" in name else root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        packed = pack_result(root, outputs, int(files.get("exitCode", b"0")), inline_limit=0)
        assert packed.path is not None, "nothing is small enough for no bytes"
        assert packed.digest == f"sha256:{hashlib.sha256(packed.path.read_bytes()).hexdigest()}"
        yield packed.path, packed.digest
