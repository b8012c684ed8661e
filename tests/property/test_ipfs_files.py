"""Any tree of files, cut into any blocks, is read as it was; and what is no such tree is told, never believed."""

import asyncio
import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_plugin_ipfs.cid import DAG_PB, RAW, SHA2_256, Cid, InvalidCid, from_bytes, parse
from skrei_plugin_ipfs.tree import NotThere, TooMany, files
from skrei_plugin_ipfs.unixfs import Malformed, Node, read
from skrei_plugin_ipfs.whole import write
from tests.support.ipfs_blocks import Store, Tree

MOST = 10**9
names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)
contents = st.binary(max_size=300)
trees = st.recursive(
    st.dictionaries(names, contents, max_size=12),
    lambda below: st.dictionaries(names, contents | below, max_size=4),
    max_leaves=4,
)
stores = st.builds(Store, piece=st.integers(1, 64), width=st.integers(2, 5), large=st.integers(0, 8), raw=st.booleans())


def flat(tree: Mapping[str, Any], path: str = "") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, below in tree.items():
        if isinstance(below, bytes):
            found[path + name] = below
        else:
            found |= flat(below, f"{path}{name}/")
    return found


def content(store: Store, cid: Cid) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data")
        asyncio.run(write(store.get, cid, path, MOST))
        return path.read_bytes()


@given(trees, stores)
def test_a_tree_is_read_as_it_was_added(tree: Mapping[str, Tree], store: Store) -> None:
    found = asyncio.run(files(store.get, store.add(tree), (), MOST))
    assert {entry.path: content(store, entry.cid) for entry in found} == flat(tree)
    assert [entry.size for entry in found] == [len(flat(tree)[entry.path]) for entry in found]


@given(trees, stores, st.data())
def test_what_lies_below_a_path_is_what_that_path_holds(tree: Mapping[str, Tree], store: Store, data: Any) -> None:
    path: list[str] = []
    below: Any = tree
    while isinstance(below, Mapping) and below and data.draw(st.booleans()):
        path.append(data.draw(st.sampled_from(sorted(below))))
        below = below[path[-1]]
    found = asyncio.run(files(store.get, store.add(tree), path, MOST))
    wanted = {"": below} if isinstance(below, bytes) else flat(below)
    assert {entry.path: entry.size for entry in found} == {name: len(data) for name, data in wanted.items()}


@given(st.binary(min_size=1, max_size=2_000), stores, st.integers(0, 2_000), st.binary(max_size=50))
def test_what_an_earlier_try_left_is_used_as_far_as_it_is_right(
    data: bytes, store: Store, came: int, wrong: bytes
) -> None:
    cid = store.add(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data")
        path.write_bytes(data[:came] + wrong)
        asyncio.run(write(store.get, cid, path, MOST))
        assert path.read_bytes() == data
    if store.raw and len(data) > store.piece:
        leaves = [each for each in store.asked if each.codec == RAW]
        again = [at for at in range(0, len(data), store.piece) if at + store.piece > came]
        assert len(leaves) <= len(again)


@given(st.sampled_from([RAW, DAG_PB]), st.binary(min_size=32, max_size=32))
def test_a_name_is_read_as_it_is_written(codec: int, digest: bytes) -> None:
    cid = Cid(codec, SHA2_256, digest)
    assert parse(str(cid)) == parse(str(cid).upper()) == cid


@given(st.text(max_size=80) | st.from_regex(r"[bBfFzkKuQ][A-Za-z0-9]{0,70}", fullmatch=True))
def test_any_text_is_a_name_or_is_refused(text: str) -> None:
    try:
        cid = parse(text)
    except InvalidCid:
        return
    assert parse(str(cid)) == cid


@given(st.binary(max_size=60))
def test_any_bytes_are_a_name_or_are_refused(raw: bytes) -> None:
    with contextlib.suppress(InvalidCid):
        assert isinstance(from_bytes(raw), Cid)


@given(st.binary(max_size=200), trees, stores, st.integers(0, 10**6), st.integers(0, 255))
def test_any_block_is_read_or_refused(junk: bytes, tree: Mapping[str, Tree], store: Store, at: int, byte: int) -> None:
    store.add(tree)
    good = max(store.blocks.values(), key=len)
    changed = bytearray(good)
    if changed:
        changed[at % len(changed)] = byte
    for block in (junk, bytes(changed), good[: at % (len(good) + 1)]):
        with contextlib.suppress(Malformed):
            assert isinstance(read(Cid(DAG_PB, SHA2_256, bytes(32)), block), Node)


@given(trees, stores)
def test_no_more_files_are_listed_than_were_asked_for(tree: Mapping[str, Tree], store: Store) -> None:
    wanted = flat(tree)
    root = store.add(tree)
    if wanted:
        with pytest.raises(TooMany):
            asyncio.run(files(store.get, root, (), len(wanted) - 1))
    with pytest.raises(NotThere, match="no such name here"):
        asyncio.run(files(store.get, root, ("no such name here",), MOST))
