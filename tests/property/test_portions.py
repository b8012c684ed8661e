"""A result divided by its paths: every entry is in exactly one portion, and one portion alone is the same archive."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from skrei_domain.destinations import STORE
from skrei_domain.portions import Portion, place_of, placed_at, portions
from skrei_plugin_api.archives import divide, entries
from skrei_plugin_api.packing import pack_result

NAMES = st.sampled_from(("a", "b", "c", "ü"))
TREES = st.dictionaries(
    st.tuples(NAMES, st.lists(st.sampled_from(("x", "y.txt", "z")), min_size=1, max_size=3)).map(
        lambda at: "/".join((at[0], *at[1]))
    ),
    st.binary(max_size=2_000),
    max_size=6,
)
Place = tuple[str, dict[str, str]]
PLACES = st.sampled_from(((STORE, {}), ("s3", {"Bucket": "one"}), ("s3", {"Bucket": "two"}), ("ipfs", {})))


@settings(max_examples=40, deadline=None)
@given(TREES, st.dictionaries(NAMES, PLACES, max_size=4), PLACES)
def test_every_entry_is_in_one_portion(tree: dict[str, bytes], paths: dict[str, Place], own: Place) -> None:
    names = ("a", "b", "c", "ü")
    found = portions(Portion((), *own), [(name, *place) for name, place in paths.items()])
    assert placed_at(place_of(found)) == found
    assert found[0].paths == ()
    assert len({(each.publisher, str(each.params)) for each in found}) == len(found)
    owner = {path: number for number, each in enumerate(found) for path in each.paths}
    assert {name for name, place in paths.items() if place != own} == set(owner)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, content in tree.items():
            place = work / "outputs" / name
            if any(parent.is_file() for parent in place.parents) or place.is_dir():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        (work / "stdout").write_bytes(b"said")
        packed = pack_result(work, names, 0, inline_limit=0)
        assert packed.path is not None
        into = [work / f"{number}.tar.gz" for number in range(len(found))]
        parts = divide(packed.path, lambda name: owner.get(name, 0), into)
        whole = [(each.path, b"".join(each.pieces)) for each in entries(packed.path)]
        told = [[(each.path, b"".join(each.pieces)) for each in entries(part.path)] for part in parts]
        assert all(each[0] == (".", b"") for each in told)
        assert sorted(one for each in told for one in each[1:]) == sorted(whole[1:])
        for each in told:
            assert each[1:] == [one for one in whole if one in each[1:]], "the order is that of the whole"
        (same,) = divide(packed.path, lambda _: 0, [work / "same.tar.gz"])
        assert (same.digest, same.size) == (packed.digest, packed.size)
