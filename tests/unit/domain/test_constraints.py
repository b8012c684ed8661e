import pytest

from skrei_domain.constraints import Constraint, matches, parse, satisfied

LABELS = {"region": "eu", "disk": "ssd", "cores": "8", "empty": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("region=eu", (Constraint("region", "=", ("eu",)),)),
        ("region==eu", (Constraint("region", "==", ("eu",)),)),
        (" region != eu ", (Constraint("region", "!=", ("eu",)),)),
        ("disk in (ssd, nvme)", (Constraint("disk", "in", ("ssd", "nvme")),)),
        ("disk notin(hdd)", (Constraint("disk", "notin", ("hdd",)),)),
        ("gpu", (Constraint("gpu", "exists"),)),
        ("!gpu", (Constraint("gpu", "!"),)),
        ("inside", (Constraint("inside", "exists"),)),
        ("cores>4,cores<16", (Constraint("cores", "gt", ("4",)), Constraint("cores", "lt", ("16",)))),
        ("example.com/zone=a_b.c-d", (Constraint("example.com/zone", "=", ("a_b.c-d",)),)),
        (
            "region=eu,disk in (ssd,nvme),!gpu",
            (Constraint("region", "=", ("eu",)), Constraint("disk", "in", ("ssd", "nvme")), Constraint("gpu", "!")),
        ),
    ],
)
def test_a_selector_reads_as_its_conditions(text: str, expected: tuple[Constraint, ...]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["a in (", "a b", ",", "a,", "a,,b", "=x", "!", "a>x", "a in x", "(a)", "!a=b"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a label selector"):
        parse(text)


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (Constraint("region", "in", ("eu", "us")), True),
        (Constraint("region", "in", ("us",)), False),
        (Constraint("zone", "in", ("eu",)), False),
        (Constraint("zone", "notin", ("eu",)), True),
        (Constraint("region", "notin", ("eu",)), False),
        (Constraint("region", "=", ("eu",)), True),
        (Constraint("region", "==", ("us",)), False),
        (Constraint("region", "!=", ("us",)), True),
        (Constraint("zone", "!=", ("us",)), True),
        (Constraint("empty", "exists"), True),
        (Constraint("zone", "exists"), False),
        (Constraint("zone", "!"), True),
        (Constraint("empty", "!"), False),
        (Constraint("cores", "gt", ("7",)), True),
        (Constraint("cores", "gt", ("8",)), False),
        (Constraint("cores", "lt", ("9",)), True),
        (Constraint("disk", "gt", ("1",)), False),
        (Constraint("zone", "lt", ("1",)), False),
    ],
)
@pytest.mark.row("2.6/missing-label")
def test_a_condition_holds_as_a_kubernetes_selector_would(constraint: Constraint, expected: bool) -> None:
    assert satisfied(constraint, LABELS) is expected


def test_all_conditions_must_hold() -> None:
    assert matches(parse("region=eu,cores>4"), LABELS)
    assert not matches(parse("region=eu,cores>8"), LABELS)
