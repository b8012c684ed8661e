"""Names in the letters that others write them in, and where a daemon is asked for them."""

import hashlib
from pathlib import Path

import pytest

from skrei_plugin_ipfs.cid import DAG_PB, RAW, InvalidCid, parse
from skrei_plugin_ipfs.endpoint import Endpoint, find

HELLO = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
"""What every daemon calls a file of the five letters `hello`."""
EMPTY_FOLDER = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"


def test_the_same_name_in_any_base_is_the_same() -> None:
    raw = "015512202cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert parse(HELLO) == parse(f"f{raw}") == parse(HELLO.upper()) == parse(f"F{raw.upper()}")
    assert parse(HELLO) == parse("zb2rhZfjRh2FHHB2RkHVEvL2vJnCTcu7kwRqgVsf9gpkLgteo")
    assert parse(HELLO).codec == RAW
    assert parse(HELLO).names(b"hello")
    assert not parse(HELLO).names(b"Hello")


def test_the_old_version_is_the_new_one_of_a_node() -> None:
    old = parse(EMPTY_FOLDER)
    assert (old.codec, str(old)) == (DAG_PB, "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354")
    assert old.names(b"\x0a\x02\x08\x01")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is no CID: those have some sixty letters"),
        ("x" * 600, "it is no CID: those have some sixty letters"),
        ("hello", "it is no CID: those begin with `Qm`, `bafy` or `bafk` mostly"),
        (EMPTY_FOLDER[:-1] + "0", "it is no CID: one of its letters is wrong"),
        (HELLO[:-1] + "1", "it is no CID: one of its letters is wrong"),
        (HELLO[:-8], "it is no CID: some of it is missing, or too much there"),
        ("f01711200", "it names no file or directory, but data of codec 0x71"),
        ("f015500", "it is no CID: some of it is missing"),
        ("f0155d50110" + "00" * 16, "its hash (0xd5) cannot be checked here; sha2-256, sha2-512 and blake2b-256 can"),
        ("f0155121000", "it is no CID: some of it is missing, or too much there"),
        ("f01551204deadbeef", "its hash has been cut"),
        ("f02551204deadbeef", "it is a CID of version 2; 0 and 1 are known"),
        ("f0155008101" + "00" * 129, "it holds 129 bytes itself; up to 128 are taken"),
    ],
)
def test_a_text_that_is_no_name_is_told_why(text: str, told: str) -> None:
    with pytest.raises(InvalidCid) as raised:
        parse(text)
    assert str(raised.value) == told


@pytest.mark.parametrize(
    ("code", "hashed"),
    [("1340", hashlib.sha512(b"x")), ("a0e40220", hashlib.blake2b(b"x", digest_size=32))],
)
def test_other_hashes_are_checked_too(code: str, hashed: "hashlib._Hash") -> None:
    cid = parse(f"f0155{code}{hashed.hexdigest()}")
    assert (cid.names(b"x"), cid.names(b"y"), parse(str(cid))) == (True, False, cid)


def test_a_name_may_be_what_it_names() -> None:
    assert parse("f01550005" + b"hello".hex()).inline == b"hello"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("/ip4/127.0.0.1/tcp/5001", "http://127.0.0.1:5001"),
        ("/ip4/127.0.0.1/tcp/5001/http", "http://127.0.0.1:5001"),
        ("/ip6/::1/tcp/5001", "http://[::1]:5001"),
        ("/dns4/ipfs.site.example/tcp/443/https", "https://ipfs.site.example:443"),
        ("/dns/ipfs.site.example/tcp/443/tls/http", "http://ipfs.site.example:443"),
        ("http://10.0.0.7:5001/", "http://10.0.0.7:5001"),
        ("https://gateway.example/base", "https://gateway.example/base"),
    ],
)
def test_a_daemon_is_named_as_its_own_tools_name_it(text: str, url: str) -> None:
    assert find({"ipfs_api": text}, {}) == Endpoint(url)
    assert find({"ipfs_gateway": text}, {}) == Endpoint(url, gateway=True)


@pytest.mark.parametrize("text", ["5001", "/ip4/127.0.0.1/udp/5001", "ftp://h.example", "http://", "http://h?x=1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address of an IPFS daemon"):
        find({"ipfs_api": text}, {})


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan"])
def test_a_time_to_look_is_one(text: str) -> None:
    with pytest.raises(ValueError, match="ipfs_find_seconds must be a number of seconds above 0"):
        find({"ipfs_api": "http://h.example", "ipfs_find_seconds": text}, {})
    assert find({"ipfs_api": "http://h.example", "ipfs_find_seconds": "2.5"}, {}) == Endpoint(
        "http://h.example", find_seconds=2.5
    )


def test_a_daemon_of_this_user_is_found_where_it_says_it_listens(tmp_path: Path) -> None:
    home = tmp_path / ".ipfs"
    home.mkdir()
    assert find({}, {"HOME": str(tmp_path)}) is None
    (home / "api").write_text("/ip4/127.0.0.1/tcp/5009/http\n")
    assert find({}, {"HOME": str(tmp_path)}) == find({}, {"IPFS_PATH": str(home)}) == Endpoint("http://127.0.0.1:5009")
    assert find({}, {}) is None
    assert find({"ipfs_gateway": "http://h.example"}, {"HOME": str(tmp_path)}) == Endpoint("http://h.example", True)
