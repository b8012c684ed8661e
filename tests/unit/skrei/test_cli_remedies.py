"""What to do about a refusal that does not say it itself: the option that says the field."""

import pytest

from skrei.cli.remedies import with_remedy
from skrei.errors import InvalidRequest


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("Tasks[0].Network.Domains[0]", "--domain"),
        ("Tasks[0].Network.Type", "--network"),
        ("Tasks[0].ResultPaths[0].Path", "--output"),
        ("Tasks[0].Resources.Memory", "--memory"),
    ],
)
def test_a_wrong_field_is_told_with_the_option_that_says_it(field: str, option: str) -> None:
    refused = with_remedy(InvalidRequest(f'{field}: "x"; allowed: another', status=400), "docker run")
    assert refused.hint == f"{option} says it. All options: skrei docker run --help"
