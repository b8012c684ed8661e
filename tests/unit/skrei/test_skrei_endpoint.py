import pytest

from skrei.endpoint import DEFAULT, is_loopback, resolve
from skrei.errors import Rejected


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        (None, {}, DEFAULT),
        (None, {"SKREI_API_URL": "https://skrei.example.org/"}, "https://skrei.example.org"),
        ("10.0.0.1:99", {"SKREI_API_URL": "https://skrei.example.org"}, "http://10.0.0.1:99"),
        (None, {"BACALHAU_API_HOST": "box"}, "http://box:1234"),
        (None, {"BACALHAU_API_PORT": "99"}, "http://127.0.0.1:99"),
        (None, {"BACALHAU_API_HOST": "https://box:8", "BACALHAU_API_PORT": "99"}, "https://box:8"),
        (None, {"BACALHAU_API_HOST": "::1", "BACALHAU_API_PORT": "99"}, "http://[::1]:99"),
        (None, {"BACALHAU_API_HOST": "box:99"}, "http://box:99"),
        (None, {"BACALHAU_API_HOST": "[::1]:99", "BACALHAU_API_PORT": "99"}, "http://[::1]:99"),
        ("http://box:1/api/v1", {}, "http://box:1"),
    ],
)
@pytest.mark.row("7.1/env")
def test_the_endpoint_is_what_was_given_then_skrei_s_variable_then_bacalhau_s(
    given: str | None, environ: dict[str, str], expected: str
) -> None:
    assert resolve(given, environ) == expected


@pytest.mark.parametrize("text", ["ftp://box", "http://", "http://box:port", "http://box:99999"])
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        resolve(text, {})
    assert "http://127.0.0.1:1234" in refused.value.hint


def test_a_proxy_of_the_environment_is_not_used_for_this_machine() -> None:
    assert is_loopback("http://127.0.0.9:1")
    assert is_loopback("http://[::1]:1")
    assert not is_loopback("http://10.0.0.1:1")
