"""Results as trees of IPFS: made as daemons make them, read back as they were, told in an order that daemons take."""

import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skrei_plugin_api.packing import pack_result
from skrei_plugin_ipfs import dag
from skrei_plugin_ipfs.cid import Cid
from skrei_plugin_ipfs.dag import CHUNK_BYTES, FileMaker, Made, TreeMaker
from skrei_plugin_ipfs.tree import tree
from skrei_plugin_ipfs.unpacked import Folder, Item, NoResult, Start, walk
from skrei_plugin_ipfs.whole import write

NAMES = st.text("abÄ.-_", min_size=1, max_size=4).filter(lambda name: name.strip("."))
TREES = st.recursive(st.binary(max_size=20), lambda below: st.dictionaries(NAMES, below, max_size=4), max_leaves=12)


class Blocks(dict[Cid, bytes]):
    async def get_block(self, cid: Cid) -> bytes:
        return self[cid]


def made(data: bytes, blocks: Blocks, piece: int = 100_000) -> Made:
    maker = FileMaker(blocks.__setitem__)
    for first in range(0, len(data), piece):
        maker.feed(data[first : first + piece])
    return maker.end()


def test_the_name_of_a_result_is_the_one_that_daemons_give() -> None:
    """As js-ipfs 0.66 answered for the same files."""
    blocks = Blocks()
    maker = TreeMaker(blocks.__setitem__)
    for name, size in {"stdout": 0, "exitCode": 1, "out/deep/x": 300_000, "out/é": 2}.items():
        maker.file(name, made((bytes(range(256)) * (size // 256 + 1))[:size], blocks))
    assert str(maker.end().cid) == "bafybeiehhiqejtqrcd2y6ttnyaaqszhxski4fjqeygx4puyqe2eoumkaa4"


@pytest.mark.parametrize("chunks", [0, 1, 2, 3, 4, 9, 10, 27, 28])
async def test_a_file_of_any_number_of_blocks_is_read_back(
    chunks: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(dag, "CHUNK_BYTES", 3)
    monkeypatch.setattr(dag, "LINKS_A_NODE", 3)
    data = bytes(each % 251 for each in range(chunks * 3))
    blocks = Blocks()
    root = made(data, blocks, 1000)
    await write(blocks.get_block, root.cid, tmp_path / "file", len(data))
    assert (tmp_path / "file").read_bytes() == data
    assert root.size == len(data)
    assert root.whole == sum(map(len, blocks.values()))


def paths(tree: object, at: str = "") -> tuple[dict[str, bytes], set[str]]:
    """Return the files of a tree, and its empty directories."""
    if isinstance(tree, bytes):
        return {at: tree}, set()
    assert isinstance(tree, dict)
    files: dict[str, bytes] = {}
    empty = {at} if not tree and at else set()
    for name, below in tree.items():
        more, bare = paths(below, f"{at}/{name}" if at else name)
        files |= more
        empty |= bare
    return files, empty


def work_folder(root: Path, tree: object) -> list[str]:
    """Make what a run left of a tree; returns the names of its outputs."""
    files, empty = paths(tree)
    (root / "outputs").mkdir(parents=True)
    (root / "stdout").write_bytes(b"said")
    for name in empty:
        (root / "outputs" / name).mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = root / "outputs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return [each.name for each in (root / "outputs").iterdir()]


def told(items: list[Item]) -> tuple[dict[str, bytes], set[str]]:
    """Return the files and empty directories that a walk tells of; no directory may be gone back to."""
    files: dict[str, bytes] = {}
    empty: set[str] = set()
    left: set[str] = set()
    here: tuple[str, ...] = ()
    last = ""
    for item in items:
        if isinstance(item, bytes):
            files[last] += item
            continue
        last = item.path
        above = tuple(last.rsplit("/", each)[0] for each in range(last.count("/"), 0, -1))
        assert not left.intersection(above), f"{last} comes after its directory was left"
        left |= set(here) - set(above)
        here = above
        if isinstance(item, Folder):
            empty.add(last)
        else:
            assert isinstance(item, Start)
            files[last] = b""
    return files, empty


@settings(max_examples=25, deadline=None)
@given(tree=st.dictionaries(NAMES, st.dictionaries(NAMES, TREES, max_size=4), max_size=4))
def test_a_result_is_told_whole_and_no_directory_twice(
    tree: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("work")
    outputs = work_folder(root, tree)
    packed = pack_result(root, outputs, 3, inline_limit=0)
    assert packed.path is not None
    files, empty = told(list(walk(packed.path)))
    expected, bare = paths(tree)
    assert files == {"stdout": b"said", "stderr": b"", "exitCode": b"3", **expected}
    assert empty == bare


async def test_what_was_made_of_a_result_lists_the_same_files_and_directories(tmp_path: Path) -> None:
    blocks = Blocks()
    maker = TreeMaker(blocks.__setitem__)
    maker.directory("out/none")
    maker.file("out/deep/er", made(b"x" * (CHUNK_BYTES + 1), blocks))
    maker.file("stdout", made(b"", blocks))
    found = await tree(blocks.get_block, maker.end().cid, 10)
    assert [(each.path, each.size) for each in found.files] == [("out/deep/er", CHUNK_BYTES + 1), ("stdout", 0)]
    assert found.folders == ["out/none"]


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../b", "a//b"])
def test_an_archive_that_leads_out_of_itself_is_no_result(name: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(NoResult):
        list(walk(tmp_path / "a.tar.gz"))


def test_a_link_is_no_part_of_a_result(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("out/link")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.addfile(entry)
    with pytest.raises(NoResult):
        list(walk(tmp_path / "a.tar.gz"))


def test_what_is_no_archive_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(NoResult):
        list(walk(tmp_path / "a"))


def test_a_file_is_no_directory_too() -> None:
    maker = TreeMaker()
    maker.file("a", made(b"", Blocks()))
    with pytest.raises(ValueError, match="a file, and a directory"):
        maker.file("a/b", made(b"", Blocks()))
    with pytest.raises(ValueError, match="twice"):
        maker.file("a", made(b"", Blocks()))
