"""Which paths a node hands to its owner's jobs, as far as text can say."""

import pytest

from skrei_domain.paths import MAX_ENTRIES, MAX_ENTRY, MAX_STARS, LocalPath, hands_out, parse_entry, read_entries


@pytest.mark.parametrize(
    ("path", "writes", "entries", "owner_paths", "handed"),
    [
        ("/srv/mine/data", False, (), True, True),
        ("/srv/mine/data", False, (), False, False),
        # The owner reads; writing is for entries alone.
        ("/srv/mine/data", True, (), True, False),
        ("/srv/mine/data", True, ("/srv/mine/data:rw",), True, True),
        ("/srv/mine/data", True, ("/srv/mine/data",), False, False),
        ("/srv/mine/data", False, ("/srv/mine/data:rw",), False, True),
        ("/srv/mine/data", False, ("/srv/mine/data",), False, True),
        ("/srv/mine/data/", False, ("/srv/mine/data",), False, True),
        ("/srv/mine/data/a/b.csv", False, ("/srv/mine/data/**",), False, True),
        ("/srv/mine/data", False, ("/srv/mine/other", "/srv/*/data"), False, True),
        # What climbs out of an entry is not within it.
        ("/srv/mine/data/../secrets", False, ("/srv/mine/data/**",), False, False),
    ],
)
def test_what_is_handed_out(path: str, writes: bool, entries: tuple[str, ...], owner_paths: bool, handed: bool) -> None:
    parsed = tuple(map(parse_entry, entries))
    assert hands_out(LocalPath(path, writes), parsed, owner_paths=owner_paths) is handed


@pytest.mark.parametrize("text", ["relative", "", "/{a", "/[", "/" + "x" * MAX_ENTRY, "/" + "*a" * (MAX_STARS + 1)])
def test_what_another_machine_says_and_nobody_can_read_hands_nothing_out(text: str) -> None:
    entries = read_entries([text, "/data"])
    assert hands_out(LocalPath("/data"), entries, owner_paths=False)
    assert not hands_out(LocalPath("/aaaa"), entries, owner_paths=False)
    assert len(read_entries(["/data"] * (MAX_ENTRIES + 1))) == MAX_ENTRIES
