"""The `s3` storage against a real server, and a line to it that goes wrong: what comes, and what is told."""

import asyncio
import base64
import datetime
import hashlib
import ipaddress
import os
import random
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from skrei_plugin_api.outbound import Outbound
from skrei_plugin_api.pieces import DATA, Piece
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.storage import SourceSpec, StageFailed, StageLimits, StageProblem
from skrei_plugin_api.testing import NoBlobs
from skrei_plugin_s3 import again, client, transfer
from skrei_plugin_s3 import storage as storages
from skrei_plugin_s3.clients import Clients
from skrei_plugin_s3.failures import S3Away
from skrei_plugin_s3.params import S3Input
from skrei_plugin_s3.settings import S3Settings
from skrei_plugin_s3.storage import S3Storage
from tests.support.s3_server import Line, S3Server, line_to, s3_server
from tests.support.web import listening

LARGE = random.Random(1).randbytes(5 * transfer.PART_BYTES + 12_345)
LIMITS = StageLimits()
ON_THE_WAY = 1 << 20
"""What a line holds that is cut: it is lost with it, and asked for again."""
LOOPBACK = ("127.0.0.0/8",)
MISSING, INVALID = StageProblem.MISSING, StageProblem.INVALID
ELSEWHERE = "the bucket data is not in the region eu-west-1 but in us-east-1 (400 AuthorizationHeaderMalformed)"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as made:
        asyncio.run(_fill(made))
        yield made


async def _fill(server: S3Server) -> None:
    await server.make_bucket("data")
    await server.make_bucket("versioned", versions=True)
    await server.make_bucket("private")
    await server.put("private", {"a": b"A"})
    files = {"logs/a/1": b"1", "logs/a/2": b"22", "logs/b/1": b"333", "logs/b/x é+%&?.csv": b"4444", "logs/none": b""}
    await server.put("data", files | {"large": LARGE, "many/": b""} | {f"many/{n:04}": b"%d" % n for n in range(1_100)})


@pytest.fixture(autouse=True)
def surroundings(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of nobody, with the keys of the server, that waits for nothing."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(again, "FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[S3Storage]:
    made = a_storage(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def line(server: S3Server) -> AsyncIterator[Line]:
    async with line_to(server) as made:
        yield made


def a_storage(folder: Path, allow: tuple[str, ...] = LOOPBACK, **options: str) -> S3Storage:
    return S3Storage(PluginContext(folder / "state", allow_addresses=allow, options=options))


def source(
    server: S3Server | Line, key: str = "a", partition: int = 0, partitions: int = 1, **params: object
) -> SourceSpec:
    said = {"Bucket": "data", "Key": key, "Endpoint": server.url} | params
    return SourceSpec("s3", said, "/in", partition=partition, partitions=partitions)


async def staged(
    storage: S3Storage, wanted: SourceSpec, folder: Path, limits: StageLimits = LIMITS
) -> dict[str, bytes]:
    mount = await storage.stage(wanted, folder / "input", limits, NoBlobs(folder))
    return {
        str(path.relative_to(mount.source)): path.read_bytes() for path in mount.source.rglob("*") if path.is_file()
    }


def a_folder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


async def brought(storage: S3Storage, wanted: SourceSpec, folder: Path) -> bytes:
    (piece,) = await storage.pieces(wanted, LIMITS)
    await storage.bring(wanted, LIMITS, piece, folder)
    return (folder / DATA).read_bytes()


async def refusal(storage: S3Storage, wanted: SourceSpec, folder: Path, limits: StageLimits = LIMITS) -> StageFailed:
    with pytest.raises(StageFailed) as raised:
        await staged(storage, wanted, folder, limits)
    assert not raised.value.retryable
    return raised.value


# ---------------------------------------------------------------- what comes


@pytest.mark.row("6.1/s3")
@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({"Key": "logs/*"}, {"a/1", "a/2", "b/1", "b/x é+%&?.csv", "none"}),
        ({"Key": "logs/a/"}, {"1", "2"}),
        ({"Key": "logs/a*"}, {"a/1", "a/2"}),
        ({"Key": "logs/*", "Filter": "1$"}, {"a/1", "b/1"}),
        ({"Key": "logs/*", "Filter": "^a"}, {"a/1", "a/2"}),
        ({"Key": "logs/b/x é+%&?.csv"}, {"x é+%&?.csv"}),
        ({"Key": "logs/none"}, {"none"}),
    ],
)
async def test_an_object_a_folder_or_what_begins_alike_lies_at_the_target(
    storage: S3Storage, server: S3Server, tmp_path: Path, said: dict[str, str], names: set[str]
) -> None:
    assert set(await staged(storage, source(server, **said), tmp_path)) == names


async def test_a_listing_of_several_pages_is_whole_and_knows_what_each_object_has(
    storage: S3Storage, server: S3Server
) -> None:
    pieces = await storage.pieces(source(server, "many/"), LIMITS)
    assert {piece.path: piece.size for piece in pieces} == {f"{n:04}": len(str(n)) for n in range(1_100)}
    assert await storage.size(source(server, "many/")) == sum(len(str(n)) for n in range(1_100))


@pytest.mark.row("6.1/s3-partition", "6.1/s3-count")
@pytest.mark.parametrize(
    "how",
    [
        {"Type": "object"},
        {"Type": "regex", "Pattern": "[0-9]{2}$"},
        {"Type": "substring", "StartIndex": 0, "EndIndex": 3},
        {"Type": "date", "DateFormat": "02"},
    ],
)
async def test_partitions_have_each_object_once_between_them_as_the_same_piece(
    storage: S3Storage, server: S3Server, how: dict[str, object]
) -> None:
    wanted = [source(server, "many/*", index, 4, Partition=how) for index in range(4)]
    dealt = [piece for each in wanted for piece in await storage.pieces(each, LIMITS)]
    whole = await storage.pieces(source(server, "many/*", Partition=how), LIMITS)
    assert len(dealt) == 1_100
    assert set(dealt) == set(whole)


@pytest.mark.row("6.1/s3-version")
async def test_a_version_is_read_whatever_came_after_it(storage: S3Storage, server: S3Server, tmp_path: Path) -> None:
    first = await server.put("versioned", {"a": b"first"})
    await server.put("versioned", {"a": b"second"})
    old = source(server, "a", Bucket="versioned", VersionID=first["a"])
    assert await staged(storage, old, a_folder(tmp_path, "old")) == {"a": b"first"}
    assert await staged(storage, source(server, "a", Bucket="versioned"), a_folder(tmp_path, "new")) == {"a": b"second"}
    error = await refusal(
        storage, source(server, "a", Bucket="versioned", VersionID="01ARZ3NDEKTSV4RRFFQ69G5FAV"), tmp_path
    )
    assert error.message == "s3://versioned/a has no version 01ARZ3NDEKTSV4RRFFQ69G5FAV (404 NoSuchVersion)"


async def test_a_version_that_was_listed_is_read_after_it_was_overwritten(
    storage: S3Storage, server: S3Server, tmp_path: Path
) -> None:
    await server.put("versioned", {"b": b"first"})
    wanted = source(server, "b", Bucket="versioned")
    (piece,) = await storage.pieces(wanted, LIMITS)
    await server.put("versioned", {"b": b"other"})
    await storage.bring(wanted, LIMITS, piece, tmp_path)
    assert (tmp_path / DATA).read_bytes() == b"first"


@pytest.mark.row("6.1/s3-checksum")
async def test_a_checksum_is_what_an_object_is_known_by(storage: S3Storage, server: S3Server, tmp_path: Path) -> None:
    checksum = base64.b64encode(hashlib.sha256(LARGE).digest()).decode()
    wanted = source(server, "large", ChecksumSHA256=checksum)
    (piece,) = await storage.pieces(wanted, LIMITS)
    assert piece == Piece("large", f"sha256:{hashlib.sha256(LARGE).hexdigest()}", len(LARGE))
    assert await brought(storage, wanted, tmp_path) == LARGE


@pytest.mark.row("6.1/s3-checksum")
async def test_a_checksum_that_differs_from_the_servers_is_told_before_a_byte_comes(
    storage: S3Storage, server: S3Server, tmp_path: Path
) -> None:
    right, wrong = (base64.b64encode(hashlib.sha256(each).digest()).decode() for each in (b"sum", b"other"))
    await server.put("data", {"sum": b"sum"}, headers={"x-amz-checksum-sha256": right})
    assert await staged(storage, source(server, "sum", ChecksumSHA256=right), a_folder(tmp_path, "right")) == {
        "sum": b"sum"
    }
    error = await refusal(storage, source(server, "sum", ChecksumSHA256=wrong), tmp_path)
    assert (error.code, error.message) == (
        StageProblem.INVALID,
        f"s3://data/sum has {right} where ChecksumSHA256 says {wrong}",
    )


async def test_an_object_that_changed_is_another_piece(storage: S3Storage, server: S3Server) -> None:
    await server.put("data", {"state": b"one"})
    first, same = [(await storage.pieces(source(server, key), LIMITS))[0] for key in ("state", "state*")]
    assert first == same
    await server.put("data", {"state": b"two"})
    assert (await storage.pieces(source(server, "state"), LIMITS))[0].identity != first.identity


async def test_a_large_object_comes_from_a_server_that_speaks_tls(
    storage: S3Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server(tls=True) as secure:
        for name, value in secure.environment.items():
            monkeypatch.setenv(name, value)
        await secure.make_bucket("data")
        await secure.put("data", {"large": LARGE})
        assert await brought(storage, source(secure, "large"), tmp_path) == LARGE


# ---------------------------------------------------------------- what goes wrong on the way


@pytest.mark.row("6.1/s3-resume")
async def test_lines_that_are_cut_cost_what_was_on_them_alone(storage: S3Storage, line: Line, tmp_path: Path) -> None:
    (piece,) = await storage.pieces(source(line, "large"), LIMITS)
    cuts = [transfer.PART_BYTES // 2] * 5 + [transfer.PART_BYTES // 4] * 5
    line.brought, line.cuts = 0, list(cuts)
    await storage.bring(source(line, "large"), LIMITS, piece, tmp_path)
    assert (tmp_path / DATA).read_bytes() == LARGE
    assert len(cuts) - len(line.cuts) >= 5, "a line for each part, and one after each cut"
    assert line.brought < len(LARGE) + len(cuts) * ON_THE_WAY


@pytest.mark.row("6.1/s3-resume")
async def test_a_later_process_asks_for_the_rest_alone(
    storage: S3Storage, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "TRIES", 1)
    wanted = source(line, "large")
    (piece,) = await storage.pieces(wanted, LIMITS)
    line.cuts = [transfer.PART_BYTES // 2] * transfer.PARTS_AT_ONCE
    with pytest.raises(S3Away, match=r"s3://data/large cannot be fetched: the connection was cut"):
        await storage.bring(wanted, LIMITS, piece, tmp_path)
    noted = (tmp_path / transfer.NOTE).read_text()
    came = {part: int(size) for part, size in (each.split() for each in noted.splitlines()[1:])}
    assert 0 < sum(came.values()) < len(LARGE)
    line.brought, line.cuts = 0, []
    later = a_storage(tmp_path)
    await later.bring(wanted, LIMITS, piece, tmp_path)
    await later.close()
    assert (tmp_path / DATA).read_bytes() == LARGE
    assert line.brought < len(LARGE) - sum(came.values()) + ON_THE_WAY


async def test_what_was_noted_before_the_machine_went_down_is_not_believed(
    storage: S3Storage, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = source(server, "large")
    (piece,) = await storage.pieces(wanted, LIMITS)
    await storage.bring(wanted, LIMITS, piece, tmp_path)
    (tmp_path / DATA).write_bytes(bytes(len(LARGE)))
    boot = tmp_path / "boot"
    boot.write_text("another run")
    monkeypatch.setattr(transfer, "_BOOT_ID", boot)
    await storage.bring(wanted, LIMITS, piece, tmp_path)
    assert (tmp_path / DATA).read_bytes() == LARGE


@pytest.mark.row("6.1/s3-errors")
async def test_a_server_that_is_busy_is_asked_again(storage: S3Storage, line: Line, tmp_path: Path) -> None:
    line.refusals = 4
    assert await brought(storage, source(line, "logs/a/1"), tmp_path) == b"1"
    line.refusals = 3
    assert len(await storage.pieces(source(line, "logs/*"), LIMITS)) == 5


@pytest.mark.row("6.1/s3-errors")
@pytest.mark.parametrize("key", ["logs/a/1", "logs/*"])
async def test_a_server_that_stays_busy_is_given_up_for_now(
    storage: S3Storage, line: Line, tmp_path: Path, key: str
) -> None:
    line.refusals = 99
    with pytest.raises(S3Away, match="cannot be fetched: the server answers 503") as raised:
        await staged(storage, source(line, key), tmp_path)
    assert raised.value.retryable
    assert 99 - line.refusals == again.TRIES


async def test_nobody_there_is_given_up_for_now(storage: S3Storage, tmp_path: Path) -> None:
    with pytest.raises(
        S3Away, match=r"s3://data/a cannot be fetched: no connection to 127\.0\.0\.1:1025: Connection refused"
    ):
        await staged(storage, source(Line(port=1025), "a"), tmp_path)


@pytest.mark.row("6.1/s3-changed")
@pytest.mark.parametrize("size", [3, transfer.SMALL_BYTES + 1, 2 * transfer.PART_BYTES])
async def test_what_changed_after_it_was_listed_ends_with_that_cause_and_is_never_mixed(
    storage: S3Storage, server: S3Server, tmp_path: Path, size: int
) -> None:
    await server.put("data", {"moving": b"1" * size})
    wanted = source(server, "moving")
    (piece,) = await storage.pieces(wanted, LIMITS)
    await server.put("data", {"moving": b"2" * size})
    with pytest.raises(StageFailed, match=r"^s3://data/moving changed after it was listed$") as raised:
        await storage.bring(wanted, LIMITS, piece, tmp_path)
    assert not raised.value.retryable
    assert not (tmp_path / DATA).exists() or b"2" not in (tmp_path / DATA).read_bytes()


async def test_what_went_away_after_it_was_listed_is_missing(
    storage: S3Storage, server: S3Server, tmp_path: Path
) -> None:
    await server.put("data", {"going": b"1"})
    wanted = source(server, "going")
    (piece,) = await storage.pieces(wanted, LIMITS)
    await server.delete("data", "going")
    with pytest.raises(StageFailed, match=r"^there is no object s3://data/going at http://"):
        await storage.bring(wanted, LIMITS, piece, tmp_path)


# ---------------------------------------------------------------- what is told


@pytest.mark.row("6.1/s3-errors")
@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"Bucket": "nowhere"}, (MISSING, "there is no bucket nowhere at SERVER")),
        ({"Bucket": "nowhere", "Key": "a/*"}, (MISSING, "there is no bucket nowhere at SERVER")),
        ({"Key": "gone"}, (MISSING, "there is no object s3://data/gone at SERVER")),
        ({"Key": "gone/"}, (MISSING, "there are no objects s3://data/gone/* at SERVER")),
        (
            {"Key": "logs/*", "Filter": "^z"},
            (MISSING, "the Filter matches none of the objects s3://data/logs/* at SERVER"),
        ),
        ({"Key": "logs/a/1", "Region": "eu-west-1"}, (INVALID, ELSEWHERE)),
        ({"Key": "logs/*", "Region": "eu-west-1"}, (INVALID, ELSEWHERE)),
        ({"Bukket": "x"}, (INVALID, 'Bukket: "x"; allowed: no parameter of this name; did you mean `Bucket`?')),
    ],
)
async def test_what_cannot_be_had_says_why(
    storage: S3Storage, server: S3Server, tmp_path: Path, params: dict[str, object], told: tuple[StageProblem, str]
) -> None:
    error = await refusal(storage, source(server, **params), tmp_path)
    assert (error.code, error.message) == (told[0], told[1].replace("SERVER", server.url))


@pytest.mark.row("6.1/s3-errors")
@pytest.mark.parametrize("key", ["logs/a/1", "logs/*"])
@pytest.mark.parametrize(
    "told",
    [
        (
            {"AWS_SECRET_ACCESS_KEY": "t0p-s3cret"},
            "SERVER does not take the credentials of this node (403 SignatureDoesNotMatch)",
        ),
        (
            {"AWS_ACCESS_KEY_ID": "NOBODYSKEY", "AWS_SECRET_ACCESS_KEY": "t0p-s3cret"},
            "SERVER does not take the credentials of this node (404 XAdminUserNotFound)",
        ),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "this node has no credentials for S3"),
    ],
)
async def test_credentials_that_are_not_taken_are_the_cause_and_stay_secret(
    line: Line, tmp_path: Path, caplog: pytest.LogCaptureFixture, told: tuple[dict[str, str], str], key: str
) -> None:
    environ, message = told
    with pytest.MonkeyPatch.context() as patch, caplog.at_level("INFO"):
        for name, value in environ.items():
            patch.setenv(name, value)
        storage = a_storage(tmp_path)
        error = await refusal(storage, source(line, key), tmp_path)
        await storage.close()
    assert (error.code, error.message) == (StageProblem.DENIED, message.replace("SERVER", line.url))
    for text in (str(error), error.hint, caplog.text, line.seen.decode("latin-1")):
        assert "t0p-s3cret" not in text


@pytest.mark.row("6.1/s3-offered")
async def test_what_is_public_is_read_without_credentials_and_nothing_else(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in server.environment:
        monkeypatch.delenv(name)
    await server.make_bucket("open")
    await server.put("open", {"a": b"A"})
    await server.allow_everyone("open")
    storage = a_storage(tmp_path, s3_anonymous="true")
    assert await staged(storage, source(server, "*", Bucket="open"), a_folder(tmp_path, "open")) == {"a": b"A"}
    error = await refusal(storage, source(server, "a", Bucket="private"), tmp_path)
    await storage.close()
    assert error.message == f"{server.url} refuses s3://private/a without credentials (403 AccessDenied)"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (StageLimits(max_bytes=5), "the input at /in has 10 bytes; this node takes 5"),
        (StageLimits(max_files=4), "s3://data/logs/* comes to more than the 4 files that this node takes"),
    ],
)
async def test_too_much_is_refused_before_it_comes(
    storage: S3Storage, server: S3Server, tmp_path: Path, limits: StageLimits, message: str
) -> None:
    error = await refusal(storage, source(server, "logs/*"), tmp_path, limits)
    assert (error.code, error.message) == (StageProblem.TOO_LARGE, message)


async def test_an_object_that_is_too_large_is_not_asked_for(storage: S3Storage, line: Line, tmp_path: Path) -> None:
    error = await refusal(storage, source(line, "large"), tmp_path, StageLimits(max_bytes=1_000))
    assert error.message == "s3://data/large is larger than the 1,000 bytes that this node takes"
    assert line.brought < 10_000


# ---------------------------------------------------------------- where it may lead


@pytest.mark.row("6.1/s3-private")
@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:9000", "http://10.0.0.1:9000", "http://169.254.169.254", "http://[::1]:9000",
        "http://localhost:9000", "http://[::ffff:10.0.0.1]:9000", "https://192.168.1.1",
    ],
)  # fmt: skip
async def test_the_nodes_own_network_is_not_asked_for_objects(tmp_path: Path, endpoint: str) -> None:
    storage = a_storage(tmp_path, allow=())
    error = await refusal(
        storage, SourceSpec("s3", {"Bucket": "data", "Key": "a", "Endpoint": endpoint}, "/in"), tmp_path
    )
    await storage.close()
    assert error.code is StageProblem.DENIED
    assert "which is no public address" in error.message


@pytest.mark.row("6.1/s3-private")
@pytest.mark.parametrize("key", ["a", "a/*"])
async def test_a_server_leads_nowhere_else(tmp_path: Path, line: Line, key: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        told = f"HTTP/1.1 307 Elsewhere\r\nLocation: {line.url}/data/logs/a/1\r\nContent-Length: 0\r\n\r\n"
        writer.write(told.encode())

    storage = a_storage(tmp_path)
    async with listening(answer) as port:
        error = await refusal(storage, source(Line(port=port), key), tmp_path)
    await storage.close()
    assert error.message == f"http://127.0.0.1:{port} answers 307: what was asked for is elsewhere"
    assert line.connections == 0


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """What a server shows that has made its certificate itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "box")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    ends = now + datetime.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, ends)
    shown = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    kept = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (tmp_path / "box.pem").write_bytes(kept + shown.public_bytes(serialization.Encoding.PEM))
    return tmp_path / "box.pem"


async def test_a_certificate_that_nobody_trusts_is_told_until_the_owner_does(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b"<Error><Code>NoSuchBucket</Code></Error>"
        writer.write(b"HTTP/1.1 404 Gone\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    told = []
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as shed:
        endpoint = f"https://127.0.0.1:{shed.sockets[0].getsockname()[1]}"
        wanted = SourceSpec("s3", {"Bucket": "data", "Key": "a/*", "Endpoint": endpoint}, "/in")
        for bundle in ("", str(certificate)):
            if bundle:
                monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
            storage = a_storage(tmp_path)
            told.append((await refusal(storage, wanted, tmp_path)).message)
            await storage.close()
    assert told[0].startswith(f"{endpoint} shows a certificate that nobody here trusts: ")
    assert told[1] == f"there is no bucket data at {endpoint}"


async def test_an_answer_without_end_is_not_read_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_BYTES", 100_000)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n\r\n" + b"<a>" * 100_000)
        await writer.drain()

    storage = a_storage(tmp_path)
    async with listening(answer) as port:
        error = await refusal(storage, source(Line(port=port), "a/*"), tmp_path)
    await storage.close()
    assert error.message == f"http://127.0.0.1:{port} answers with more than a listing can have"


async def test_a_listing_without_end_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storages, "MOST_PAGES", 3)
    more = b"<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
    body = b"<ListBucketResult>" + more + b"</ListBucketResult>"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    storage = a_storage(tmp_path)
    async with listening(answer) as port:
        error = await refusal(storage, source(Line(port=port), "a/*"), tmp_path)
    await storage.close()
    assert error.code is StageProblem.TOO_LARGE


@pytest.mark.row("6.1/s3-private")
@pytest.mark.parametrize(("named", "said"), [("variable", False), ("variable", True), ("profile", True)])
async def test_a_server_that_the_nodes_owner_names_may_lie_anywhere(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, said: bool
) -> None:
    options = {}
    if named == "variable":
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    else:
        (tmp_path / ".aws").mkdir()
        keys = f"aws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n"
        (tmp_path / ".aws" / "config").write_text(f"[profile shed]\nendpoint_url = {server.url}/\n{keys}")
        for name in server.environment:
            monkeypatch.delenv(name)
        options = {"s3_profiles": "shed"}
    storage = a_storage(tmp_path, allow=(), **options)
    wanted = source(server, "logs/a/1") if said else SourceSpec("s3", {"Bucket": "data", "Key": "logs/a/1"}, "/in")
    assert await staged(storage, wanted, tmp_path) == {"1": b"1"}
    await storage.close()


async def test_objects_of_amazon_are_asked_for_in_their_own_region() -> None:
    clients = Clients(S3Settings(), Outbound(None))
    asked = {
        ("data", "eu-west-1"): ("https://data.s3.eu-west-1.amazonaws.com/", "eu-west-1"),
        ("data", ""): ("https://data.s3.amazonaws.com/", "us-east-1"),
        ("my.data", "cn-north-1"): ("https://s3.cn-north-1.amazonaws.com.cn/my.data/", "cn-north-1"),
    }
    for (bucket, region), (base, scope) in asked.items():
        async with clients.open(S3Input(bucket, region=region)) as one:
            url, headers = await one.signed(bucket, "a b/é", "v 1", {})
        assert (one.server, url) == ("", f"{base}a%20b/%C3%A9?versionId=v%201")
        assert f"/{scope}/s3/aws4_request" in headers["Authorization"]
    await clients.close()


async def test_a_profile_that_is_not_there_is_the_nodes_trouble_and_said(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    storage = a_storage(tmp_path)
    error = await refusal(storage, source(server, "logs/a/1"), tmp_path)
    await storage.close()
    assert error.message == "this node cannot ask for it: The config profile (nobody) could not be found"
