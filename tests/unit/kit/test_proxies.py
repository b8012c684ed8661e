"""Which proxy leads to an address, as the environment names it."""

import base64

import pytest

from skrei_domain.errors import Invalid
from skrei_kit.proxies import Proxy, port_of, proxy_of


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for spelled in (name, name.upper()):
            monkeypatch.delenv(spelled, raising=False)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://cp.example/x", "secure"),
        ("wss://cp.example", "secure"),
        ("http://cp.example:1234", "plain"),
        ("ws://cp.example", None),
        ("nats://cp.example:4222", None),
        ("https://near.example", None),
        ("https://a.near.example:8443", None),
        ("http://10.0.0.7:1234", None),
        ("https://notnear.example.org", "secure"),
    ],
)
def test_each_scheme_has_its_variable_and_no_proxy_takes_names_out(
    monkeypatch: pytest.MonkeyPatch, url: str, host: str | None
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://secure:8080")
    monkeypatch.setenv("http_proxy", "plain")
    monkeypatch.setenv("NO_PROXY", "near.example, 10.0.0.7")
    found = proxy_of(url)
    assert (found and found.host) == host
    if host == "plain":
        assert found == Proxy("plain", 3128)


def test_all_proxy_stands_in_and_a_star_takes_everything_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://any:1")
    assert proxy_of("https://cp.example") == proxy_of("http://cp.example") == Proxy("any", 1)
    monkeypatch.setenv("no_proxy", "*")
    assert proxy_of("https://cp.example") is None


def test_who_asks_is_shown_to_the_proxy_and_not_in_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:p%40ss@[fd00::1]:3128")
    found = proxy_of("https://cp.example")
    assert found is not None
    assert found.url == "http://[fd00::1]:3128"
    assert base64.b64decode(found.headers["Proxy-Authorization"].removeprefix("Basic ")) == b"me:p@ss"


@pytest.mark.parametrize("named", ["socks5://x:1", "https://x:1", "http://", "http://x:99999"])
def test_what_is_no_http_proxy_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", named)
    with pytest.raises(Invalid, match="HTTPS_PROXY names no HTTP proxy") as caught:
        proxy_of("https://cp.example")
    assert "http://proxy.example:3128" in caught.value.hint


def test_a_port_is_that_of_the_scheme_where_none_is_named() -> None:
    urls = ("https://a", "wss://a", "ws://a", "nats://a", "http://a:7")
    assert [port_of(url) for url in urls] == [443, 443, 80, 4222, 7]
