"""The `urlDownload` storage against a server that goes wrong in every way, and what it never opens."""

import hashlib
import resource
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.errors import SkreiError
from skrei_plugin_api.pieces import NAME_BYTES
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.storage import SourceSpec, StageFailed, StageLimits, StageProblem
from skrei_plugin_api.testing import NoBlobs
from skrei_plugin_basic import web as webs
from skrei_plugin_basic.url import UrlStorage, file_name, shown
from skrei_plugin_basic.web import WebAway
from tests.support.faulty_web import FaultyWeb, faulty_web

CONTENT = bytes(range(256)) * 6_000
LIMITS = StageLimits(max_bytes=2_000_000)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webs, "PAUSES_SECONDS", (0.0,))


@pytest.fixture
async def site() -> AsyncIterator[FaultyWeb]:
    async with faulty_web(files={"/a/rows.csv": CONTENT}) as made:
        yield made


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[UrlStorage]:
    made = UrlStorage(PluginContext(tmp_path / "state", allow_addresses=("127.0.0.0/8",)))
    yield made
    await made.close()


def source(url: str, **params: object) -> SourceSpec:
    return SourceSpec("urlDownload", {"URL": url, **params}, "/in")


async def staged(storage: UrlStorage, wanted: SourceSpec, folder: Path, limits: StageLimits = LIMITS) -> bytes:
    mount = await storage.stage(wanted, folder / "input", limits, NoBlobs(folder))
    (path,) = [path for path in mount.source.rglob("*") if path.is_file()]
    return path.read_bytes()


@pytest.mark.row("6.1/url-download")
async def test_a_file_comes_with_the_name_in_its_address(storage: UrlStorage, site: FaultyWeb, tmp_path: Path) -> None:
    mount = await storage.stage(source(site.url("/a/rows.csv")), tmp_path / "in", LIMITS, NoBlobs(tmp_path))
    assert {path.name: path.read_bytes() for path in mount.source.iterdir()} == {"rows.csv": CONTENT}
    assert [request.method for request in site.asked] == ["HEAD", "GET"]


async def test_a_line_that_is_cut_again_and_again_costs_what_was_on_it_alone(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path
) -> None:
    site.files["/a/rows.csv"] = large = CONTENT * 16
    site.cuts = [len(large) // 8] * 7
    limits = StageLimits()
    assert await staged(storage, source(site.url("/a/rows.csv"), MaxRetryCount=1), tmp_path, limits) == large
    assert site.sent <= len(large) * 1.5  # what the client has not read yet when the line ends is lost to it


async def test_a_server_without_ranges_sends_all_of_it_again(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path
) -> None:
    site.ranges, site.cuts = False, [1_000, 2_000]
    assert await staged(storage, source(site.url("/a/rows.csv")), tmp_path) == CONTENT


async def test_what_nobody_names_the_version_of_is_never_gone_on_with_nor_shared(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path
) -> None:
    site.etags, site.cuts = False, [1_000]
    assert await staged(storage, source(site.url("/a/rows.csv")), tmp_path) == CONTENT
    assert all("range" not in request.headers for request in site.asked)
    first, second = [await storage.pieces(source(site.url("/a/rows.csv")), LIMITS) for _ in range(2)]
    assert first[0].identity != second[0].identity


async def test_the_same_version_is_one_piece_and_another_one_is_another(storage: UrlStorage, site: FaultyWeb) -> None:
    first, same = [(await storage.pieces(source(site.url("/a/rows.csv")), LIMITS))[0] for _ in range(2)]
    assert first == same
    site.files["/a/rows.csv"] = CONTENT[::-1]
    assert (await storage.pieces(source(site.url("/a/rows.csv")), LIMITS))[0].identity != first.identity


async def test_one_that_changes_after_it_was_listed_is_not_what_the_job_is_pinned_to(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path
) -> None:
    (piece,) = await storage.pieces(source(site.url("/a/rows.csv")), LIMITS)
    site.files["/a/rows.csv"] = CONTENT[::-1]
    with pytest.raises(StageFailed, match="changed after it was listed") as raised:
        await storage.bring(source(site.url("/a/rows.csv")), LIMITS, piece, tmp_path)
    assert not raised.value.retryable


async def test_where_nobody_names_the_version_its_length_pins_it(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path
) -> None:
    site.etags = False
    (piece,) = await storage.pieces(source(site.url("/a/rows.csv")), LIMITS)
    site.files["/a/rows.csv"] = CONTENT + b"more"
    with pytest.raises(StageFailed, match="changed after it was listed"):
        await storage.bring(source(site.url("/a/rows.csv")), LIMITS, piece, tmp_path)


async def test_one_list_is_for_all_partitions_and_says_how_large_it_is(storage: UrlStorage, site: FaultyWeb) -> None:
    wanted = replace(source(site.url("/a/rows.csv")), partitions=8)
    (entry,) = [each async for each in storage.resolve(wanted, LIMITS)]
    assert (entry.partition, entry.piece.path, entry.piece.size) == (None, "rows.csv", len(CONTENT))


async def test_an_address_that_leads_elsewhere_each_time_is_one_piece(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path
) -> None:
    """As places do that sign the address they lead to."""
    url = site.url("/latest")
    for signature in ("a", "b", "c"):
        site.files[f"/rows.csv?signature={signature}"] = CONTENT
    site.redirects["/latest"] = "/rows.csv?signature=a"
    (first,) = await storage.pieces(source(url), LIMITS)
    site.redirects["/latest"] = "/rows.csv?signature=b"
    assert await storage.pieces(source(url), LIMITS) == [first]
    site.redirects["/latest"] = "/rows.csv?signature=c"
    await storage.bring(source(url), LIMITS, first, tmp_path)
    assert (tmp_path / "data").read_bytes() == CONTENT


async def test_a_server_that_says_of_every_file_that_it_is_empty_is_asked_for_the_file(
    storage: UrlStorage, site: FaultyWeb
) -> None:
    site.empty_heads = True
    (piece,) = await storage.pieces(source(site.url("/a/rows.csv")), LIMITS)
    assert piece.size == len(CONTENT)


@pytest.mark.row("6.1/url-retries")
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_server_in_trouble_is_asked_again(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path, status: int
) -> None:
    site.refusals = [status, status]
    assert await staged(storage, source(site.url("/a/rows.csv")), tmp_path) == CONTENT


async def test_a_server_that_stays_in_trouble_is_given_up_for_now(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path
) -> None:
    site.refusals = [503] * 4
    with pytest.raises(WebAway, match=r"/a/rows.csv cannot be fetched: the server answers 503") as raised:
        await staged(storage, source(site.url("/a/rows.csv")), tmp_path)
    assert raised.value.retryable


async def test_nobody_there_is_given_up_for_now(storage: UrlStorage, site: FaultyWeb, tmp_path: Path) -> None:
    with pytest.raises(WebAway, match=r"cannot be fetched: no connection to 127\.0\.0\.1:1025: Connection refused"):
        await staged(storage, source("http://127.0.0.1:1025/x", MaxRetryCount=0), tmp_path)


async def test_a_name_that_nobody_has_is_said_at_once(storage: UrlStorage, site: FaultyWeb, tmp_path: Path) -> None:
    """Another node may know it, which asking here again would not change."""
    with pytest.raises(StageFailed, match=r"there is no server nobody\.invalid: its name is not known") as raised:
        await staged(storage, source("http://nobody.invalid/x"), tmp_path)
    assert (raised.value.code, raised.value.retryable) == (StageProblem.HOST_UNKNOWN, True)


@pytest.mark.row("6.1/url-retries")
async def test_a_missing_file_is_said_at_once(storage: UrlStorage, site: FaultyWeb, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="/b answers 404") as raised:
        await staged(storage, source(site.url("/b")), tmp_path)
    assert raised.value.code is StageProblem.MISSING
    assert len(site.asked) == 2


@pytest.mark.row("6.1/url-head")
async def test_a_server_without_head_is_asked_with_get(storage: UrlStorage, site: FaultyWeb, tmp_path: Path) -> None:
    site.heads = False
    assert await staged(storage, source(site.url("/a/rows.csv")), tmp_path) == CONTENT


@pytest.mark.row("6.1/url-head")
async def test_a_file_of_no_said_length_is_taken_up_to_the_limit(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path
) -> None:
    site.lengths = False
    assert await staged(storage, source(site.url("/a/rows.csv")), tmp_path) == CONTENT
    with pytest.raises(StageFailed, match="larger than the 1,000 bytes that this node takes") as raised:
        await staged(storage, source(site.url("/a/rows.csv")), tmp_path, StageLimits(max_bytes=1_000))
    assert raised.value.code is StageProblem.TOO_LARGE


async def test_a_file_that_says_it_is_too_large_is_not_asked_for(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path
) -> None:
    with pytest.raises(StageFailed, match="larger than the 1,000 bytes"):
        await staged(storage, source(site.url("/a/rows.csv")), tmp_path, StageLimits(max_bytes=1_000))
    assert [request.method for request in site.asked] == ["HEAD"]


async def test_less_than_was_said_is_not_taken_for_all_of_it(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path
) -> None:
    site.ranges, site.cuts = False, [5_000] * 9
    with pytest.raises(WebAway, match=r"cut|bytes came"):
        await staged(storage, source(site.url("/a/rows.csv")), tmp_path)


async def test_a_full_disk_is_the_nodes_trouble_and_neither_the_jobs_nor_the_servers(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path
) -> None:
    (piece,) = await storage.pieces(source(site.url("/a/rows.csv")), LIMITS)
    asked = len(site.asked)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, hard))
    try:
        with pytest.raises(OSError, match="File too large"):  # what a write says here, as it does where no room is left
            await storage.bring(source(site.url("/a/rows.csv")), LIMITS, piece, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(site.asked) == asked + 1, "the server is not asked again for what the disk does not take"


async def test_a_checksum_is_what_the_file_is_known_by(storage: UrlStorage, site: FaultyWeb) -> None:
    digest = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    (piece,) = await storage.pieces(
        source(site.url("/a/rows.csv"), Checksum=digest.upper().replace("SHA", "sha")), LIMITS
    )
    assert piece.identity == digest


# ---------------------------------------------------------------- where it may lead


@pytest.mark.row("6.1/url-private")
@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/",
        "http://[fd00::1]/x",
        "http://0.0.0.0:8080/",
        "http://2130706433:8080/",
        "http://192.168.1.1:443/",
        "http://127.0.0.1:22/",
    ],
)
async def test_a_redirect_into_the_nodes_own_network_is_refused(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path, target: str
) -> None:
    site.redirects["/a"] = target
    with pytest.raises(SkreiError, match=r"may not be fetched|cannot be fetched") as raised:
        await staged(storage, source(site.url("/a"), MaxRetryCount=0), tmp_path)
    assert raised.value.code in (StageProblem.DENIED, "input-unavailable")
    assert {request.path for request in site.asked} == {"/a"}


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1:70/"])
async def test_a_redirect_out_of_the_web_is_refused(
    storage: UrlStorage, site: FaultyWeb, tmp_path: Path, target: str
) -> None:
    site.redirects["/a"] = target
    with pytest.raises(StageFailed, match="which is no address of the web"):
        await staged(storage, source(site.url("/a")), tmp_path)


@pytest.mark.row("6.1/url-private")
async def test_a_name_is_judged_by_the_addresses_that_it_has(tmp_path: Path, site: FaultyWeb) -> None:
    storage = UrlStorage(PluginContext(tmp_path / "state"))
    with pytest.raises(StageFailed, match=r"which is no public address .*SKREI_ALLOW_ADDRESSES") as raised:
        await staged(storage, source(site.url("/a/rows.csv", host="localhost")), tmp_path)
    assert raised.value.code is StageProblem.DENIED
    assert site.asked == []
    await storage.close()


@pytest.mark.row("6.1/url-download")
async def test_a_redirect_is_followed_and_names_the_file(storage: UrlStorage, site: FaultyWeb, tmp_path: Path) -> None:
    site.redirects["/latest"] = "/a/rows.csv"
    (piece,) = await storage.pieces(source(site.url("/latest")), LIMITS)
    assert piece.path == "rows.csv"
    assert await staged(storage, source(site.url("/latest")), tmp_path) == CONTENT


async def test_a_circle_of_redirects_ends(storage: UrlStorage, site: FaultyWeb, tmp_path: Path) -> None:
    site.redirects["/a"] = "/a"
    with pytest.raises(StageFailed, match="redirects more than 10 times"):
        await staged(storage, source(site.url("/a")), tmp_path)


# ---------------------------------------------------------------- names


@pytest.mark.row("6.1/url-download")
@pytest.mark.parametrize(
    ("url", "disposition", "name"),
    [
        ("http://h/a/b.csv", "", "b.csv"),
        ("http://h/a/", "", "a"),
        ("http://h", "", "download"),
        ("http://h/..%2f..%2fetc%2fpasswd", "", "passwd"),
        ("http://h/%C3%A9.txt", "", "é.txt"),
        ("http://h/a", 'attachment; filename="b c.csv"', "b c.csv"),
        ("http://h/a", "attachment; filename=b.csv; size=3", "b.csv"),
        ("http://h/a", 'attachment; filename="../../x"', "x"),
        ("http://h/a", "attachment; filename=old; filename*=UTF-8''n%C3%A9w.csv", "néw.csv"),
        ("http://h/a", 'attachment; filename=".."', "a"),
        ("http://h/a", "inline", "a"),
    ],
)
def test_a_file_is_called_as_its_server_says(url: str, disposition: str, name: str) -> None:
    assert file_name(url, {"content-disposition": disposition}) == name


@given(st.text(), st.text())
def test_every_name_can_lie_on_a_disk(path: str, said: str) -> None:
    name = file_name(
        f"http://h/{path.replace('[', '').replace(']', '')}", {"content-disposition": f'filename="{said}"'}
    )
    assert name not in ("", ".", "..")
    assert "/" not in name
    assert "\0" not in name
    assert len(name.encode()) <= NAME_BYTES


def test_what_may_be_a_secret_is_not_told() -> None:
    assert shown("https://me:key@h.example/a?token=secret#x") == "https://h.example/a?…"
