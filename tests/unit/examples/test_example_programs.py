"""What the examples' programs work out, against the same worked out in another way."""

import asyncio
import math
import random
import re
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import pytest

from skrei_plugin_api.testing import eventually
from tests.support.example_programs import EXAMPLES, counted, made, run, run_parts, told


def number(pattern: str, said: str) -> float:
    """The number that a program said."""
    found = re.search(pattern, said)
    assert found, said
    return float(found[1])


def test_sums_of_logs_add_up_to_the_sums_of_all_logs(tmp_path: Path) -> None:
    for site in ("a", "b"):
        made("logs/make_logs.py", tmp_path / site, "300", site)
        for log in (tmp_path / site).iterdir():
            (tmp_path / "all").mkdir(exist_ok=True)
            (tmp_path / "all" / f"{site}-{log.name}").write_bytes(log.read_bytes())
        (tmp_path / "sums" / site).mkdir(parents=True)
        assert run("logs/logs", f"/{site}", f"/sums/{site}", folder=tmp_path)[0] == 0
    for output in ("merged", "together"):
        (tmp_path / output).mkdir()
    code, said = run("logs/logs", "--merge", "/sums", "/merged", folder=tmp_path)
    assert (code, said.splitlines()[1].split(" lines")[0]) == (0, "1200 requests, 4")
    assert run("logs/logs", "/all", "/together", folder=tmp_path)[0] == 0
    assert counted(tmp_path / "merged/summary.txt") == counted(tmp_path / "together/summary.txt")

    lines = [line for log in (tmp_path / "all").iterdir() for line in log.read_text().splitlines() if '"' in line]
    assert counted(tmp_path / "merged/summary.txt")["sum bytes"] == sum(int(line.split()[-2]) for line in lines)
    seconds = sorted(float(line.split()[-1]) for line in lines)
    for within, share in zip(re.findall(r"([\d.]+) ms", said), (0.5, 0.95, 0.99), strict=True):
        exact = 1000 * seconds[math.ceil(share * len(seconds)) - 1]
        assert exact <= float(within) * 1.01 <= exact * 1.12


def test_k_mers_of_all_parts_are_those_of_all_reads_whatever_strand_they_are_of(tmp_path: Path) -> None:
    made("kmers/make_reads.py", tmp_path / "reads", "3000")
    (tmp_path / "reads/other.fa").write_text(">one over two lines\nACGTNACG\nTTACG\n")
    run_parts("kmers/kmers", "7", "/reads", "OUTPUT", count=3, into="kmers", folder=tmp_path)
    (tmp_path / "all").mkdir()
    code, said = run("kmers/kmers", "--merge", "7", "/kmers", "/all", folder=tmp_path)
    assert code == 0, said
    expected: Counter[str] = Counter()
    for file in (tmp_path / "reads").iterdir():
        for record in file.read_text().split(">")[1:]:
            bases = "".join(record.splitlines()[1:])
            for at in range(len(bases) - 6):
                kmer = bases[at : at + 7]
                if "N" not in kmer:
                    expected[min(kmer, kmer.translate(str.maketrans("ACGT", "TGCA"))[::-1])] += 1
    found = dict(line.split() for line in (tmp_path / "all/kmers.txt").read_text().splitlines())
    assert {kmer: int(count) for kmer, count in found.items()} == expected


def test_the_length_of_a_genome_is_found(tmp_path: Path) -> None:
    made("kmers/make_reads.py", tmp_path / "reads", "5000")
    run_parts("kmers/kmers", "21", "/reads", "OUTPUT", count=2, into="kmers", folder=tmp_path)
    (tmp_path / "all").mkdir()
    _, said = run("kmers/kmers", "--merge", "21", "/kmers", "/all", folder=tmp_path)
    assert 4500 < number(r"about (\d+) bases", said) < 5500


def test_molecules_keep_their_energy_and_come_to_that_of_a_liquid(tmp_path: Path) -> None:
    told = run_parts("molecules/molecules", "OUTPUT", count=2, into="energies", folder=tmp_path)
    for said in told:
        assert float(said.split("drift ")[1]) < 1e-3
    assert len({said.split("energy ")[1] for said in told}) == 2
    (tmp_path / "all").mkdir()
    _, said = run("molecules/molecules", "--merge", "/energies", "/all", folder=tmp_path)
    energy = number(r"energy of a molecule (\S+)", said)
    assert -5.5 < energy < -5.0  # of the potential that is shifted to zero at 2.5 sigma


def test_what_shares_may_lose_is_what_the_formula_says(tmp_path: Path) -> None:
    (tmp_path / "portfolio.txt").write_text("share 10 50 0.25 1.0\n")
    run_parts("risk/risk", "20000", "/portfolio.txt", "OUTPUT", count=3, into="losses", folder=tmp_path)
    (tmp_path / "all").mkdir()
    _, said = run("risk/risk", "--merge", "/losses", "/all", folder=tmp_path)
    spread = 0.25 * math.sqrt(10 / 252)
    exact = 100 * (1 - math.exp(-2.326348 * spread - spread * spread / 2))
    assert number(r"one in 100 loses more than (\S+) %", said) == pytest.approx(exact, abs=0.25)


def test_an_option_that_cannot_pay_loses_nothing_and_one_that_is_the_share_loses_the_same(tmp_path: Path) -> None:
    told = {}
    for name, position in {"share": "share 1 50 0.2 1", "call": "call 1 50 0.2 1 0.001 30"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "portfolio.txt").write_text(position + "\n")
        run_parts("risk/risk", "2000", "/portfolio.txt", "OUTPUT", count=2, into="losses", folder=tmp_path / name)
        (tmp_path / name / "all").mkdir()
        told[name] = run("risk/risk", "--merge", "/losses", "/all", folder=tmp_path / name)[1]
    assert told["share"] == told["call"]


VERSIONS = [
    ("1.0", "1.0", 0), ("1.0~rc1", "1.0", -1), ("1.0-1", "1.0-1+b1", -1), ("9.20", "1:1.0", -1),
    ("1.9", "1.10", -1), ("1.0-10", "1.0-9", 1), ("2.0a", "2.0", 1), ("1.00", "1.0", 0), ("1.0-1~deb12", "1.0-1", -1),
    ("a.b", "a+b", 1), ("1.0", "1.0-0", 0),
]  # fmt: skip


@pytest.mark.parametrize(("installed", "fixed", "order"), VERSIONS)
def test_versions_are_compared_as_debian_does(installed: str, fixed: str, order: int, tmp_path: Path) -> None:
    for left, right, expected in ((installed, fixed, order), (fixed, installed, -order)):
        (tmp_path / "advisories").write_text(f"# package fixed\nx {right}\n")
        (tmp_path / "status").write_text(f"Package: x\nStatus: install ok installed\nVersion: {left}\n")
        code, said = run("fleet/fleet", "/advisories", "/status", folder=tmp_path)
        assert code == (expected < 0), said


def test_a_package_that_was_removed_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "advisories").write_text("x 2\n")
    (tmp_path / "status").write_text("Package: x\nStatus: deinstall ok config-files\nVersion: 1\n")
    assert run("fleet/fleet", "/advisories", "/status", folder=tmp_path) == (
        0,
        "0 of 0 packages are to be updated\n",
    )


async def test_a_sensor_that_strays_is_told_once_and_when_it_is_over(tmp_path: Path) -> None:
    (tmp_path / "sensors").mkdir()
    chance = random.Random(1)
    values = [chance.gauss(5, 0.1) + (3 if 100 <= second < 110 else 0) for second in range(200)]
    values[50] = 9  # one strange reading alone is none
    lines = [f"{second} {value}\n" for second, value in enumerate(values)]
    (tmp_path / "sensors/a").write_text("".join(lines) + "200 5.")  # the last is still being written
    watching = asyncio.create_task(
        asyncio.to_thread(run, "sensors/sensors", "/sensors", folder=tmp_path, SKREI_STOP_FILE="/stop")
    )
    try:
        await eventually(lambda: " over " in told(tmp_path))
    finally:
        (tmp_path / "stop").touch()
        code, said = await watching
    assert code == 0
    alarm, over = re.findall(r"^a at (\d+) s: (?:ALARM|over) ", said, re.MULTILINE)
    assert (alarm, over) == ("102", "112")
    assert said.splitlines()[-1] == "a: 200 readings, 11 of them strange"


def test_what_was_learned_apart_and_averaged_holds_for_all(tmp_path: Path) -> None:
    for site in ("oslo", "lisbon", "ship"):
        made("federated/make_patients.py", tmp_path / site, "400", site)
        (tmp_path / "parts" / site).mkdir(parents=True)
        code, said = run("federated/train", f"/{site}", f"/parts/{site}", folder=tmp_path)
        assert (code, said) == (0, "learned from 400 rows, which stay here\n")
    (tmp_path / "model").mkdir()
    assert run("federated/train", "--average", "/parts", "/model", folder=tmp_path)[0] == 0
    models = [[float(line) for line in path.read_text().split()] for path in tmp_path.glob("parts/*/model.txt")]
    averaged = [float(line) for line in (tmp_path / "model/model.txt").read_text().split()]
    assert averaged[0] == 1200
    for weight, apart in zip(averaged[1:], list(zip(*models, strict=True))[1:], strict=True):
        assert weight == pytest.approx(sum(apart) / 3, rel=1e-6)
    made("federated/make_patients.py", tmp_path / "elsewhere", "1000", "bergen")
    _, said = run("federated/train", "--score", "/model/model.txt", "/elsewhere", folder=tmp_path)
    assert float(said.split(": ")[1].split(" %")[0]) > 80


def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    for name in ("at-once", "in-parts"):
        (tmp_path / name / "kept").mkdir(parents=True)
        (tmp_path / name / "wave").mkdir()
    words = ("/kept", "/wave")
    run("checkpoint/train", "3000", *words, folder=tmp_path / "at-once")
    (tmp_path / "in-parts/stop").touch()
    for kept in (100, 200, 300):
        _, said = run("checkpoint/train", "3000", *words, folder=tmp_path / "in-parts", SKREI_STOP_FILE="/stop")
        assert f"asked to end: kept step {kept}\n" in said
    (tmp_path / "in-parts/stop").unlink()
    _, said = run("checkpoint/train", "3000", *words, folder=tmp_path / "in-parts", SKREI_STOP_FILE="/stop")
    assert said.splitlines() == ["goes on after step 300", "done after 3000 steps"]
    ends = [(tmp_path / name / "wave/wave.txt").read_bytes() for name in ("at-once", "in-parts")]
    assert ends[0] == ends[1]


def test_what_is_no_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/checkpoint").write_text("somebody's letters")
    code, said = run("checkpoint/train", "100", "/kept", "/", folder=tmp_path)
    assert (code, "this is no checkpoint of ours" in said) == (1, True)
    assert (tmp_path / "kept/checkpoint").read_text() == "somebody's letters"


def test_digits_are_read_by_the_model_that_was_learned(tmp_path: Path) -> None:
    made("onnx/make_digits.py", tmp_path / "digits", "600")
    for output in ("model", "answers"):
        (tmp_path / output).mkdir()
    assert run("onnx/train", "/digits/learn.txt", "/model", folder=tmp_path)[0] == 0
    code, said = run("onnx/classify", "/model/model.onnx", "/digits/unread", "/answers", folder=tmp_path)
    assert code == 0, said
    right = [int(count) for count in re.findall(r": (\d+) of 60 digits", said)]
    assert len(right) == 4
    assert sum(right) > 0.85 * 240
    assert b"Gemm" in (tmp_path / "model/model.onnx").read_bytes()
    (tmp_path / "theirs").mkdir()
    words = (tmp_path / name for name in ("model/model.onnx", "digits/unread", "theirs"))
    subprocess.run([sys.executable, EXAMPLES / "onnx/read.py", *words], check=True, timeout=60)
    assert (tmp_path / "theirs/answers.txt").read_text() == (tmp_path / "answers/answers.txt").read_text()


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    for folder in ("digits", "answers"):
        (tmp_path / folder).mkdir()
    for number, model in enumerate((b"", b"no model", b"\x3a\xff\xff\x03short", bytes(range(256)))):
        (tmp_path / f"{number}.onnx").write_bytes(model)
        (tmp_path / "digits/0.txt").write_text(f"7 {'0' * 64}\n")
        code, said = run("onnx/classify", f"/{number}.onnx", "/digits", "/answers", folder=tmp_path)
        assert (code, said != "") == (1, True)


def png(width: int, height: int, pixels: bytes, *, channels: int = 3, level: int = 9) -> bytes:
    """A picture whose rows are as they are."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = width * channels
    raw = b"".join(b"\0" + pixels[at : at + row] for at in range(0, height * row, row))
    kind = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    data = zlib.compress(raw, level)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def unpacked(picture: bytes) -> tuple[int, int, bytes]:
    """Width, height and pixels of what the program wrote, each of its sums compared."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(picture):
        (length,) = struct.unpack(">I", picture[at : at + 4])
        kind, data = picture[at + 4 : at + 8], picture[at + 8 : at + 8 + length]
        assert struct.unpack(">I", picture[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + data),)
        chunks[kind] = data
        at += 12 + length
    width, height, _, kind_of = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    row = 1 + width * {0: 1, 2: 3, 4: 2, 6: 4}[kind_of]
    raw = zlib.decompress(chunks[b"IDAT"])
    return width, height, b"".join(raw[at + 1 : at + row] for at in range(0, height * row, row))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_small_picture_stays_as_it_is(channels: int, level: int, tmp_path: Path) -> None:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    chance = random.Random(level)
    noise = [chance.randbytes(40 * channels) for _ in range(10)]
    pixels = b"".join(noise[row % 10] if row % 3 else bytes(40 * channels) for row in range(50))
    (tmp_path / "in/a.png").write_bytes(png(40, 50, pixels, channels=channels, level=level))
    code, said = run("thumbnails/thumbnails", "50", "/in", "/out", folder=tmp_path)
    assert code == 0, said
    assert unpacked((tmp_path / "out/a.png").read_bytes()) == (40, 50, pixels)


def test_a_large_picture_is_made_of_means_and_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    pixels = bytes(channel for _ in range(40) for column in range(80) for channel in (column * 3, 0, 200))
    good = png(80, 40, pixels)
    (tmp_path / "in/a.png").write_bytes(good)
    (tmp_path / "in/cut.png").write_bytes(good[:90])
    (tmp_path / "in/text.png").write_bytes(b"no picture at all")
    code, said = run("thumbnails/thumbnails", "10", "/in", "/out", folder=tmp_path)
    assert code == 1
    assert said.splitlines() == [
        "a.png: 80 x 40, now 10 x 5",
        "cut.png is left out: it breaks off",
        "text.png is left out: it is no PNG",
    ]
    width, height, small = unpacked((tmp_path / "out/a.png").read_bytes())
    assert (width, height, small[:6]) == (10, 5, bytes((11, 0, 200, 35, 0, 200)))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_damaged_pictures_end_with_a_reason(tmp_path: Path) -> None:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    chance = random.Random(7)
    good = png(30, 30, chance.randbytes(900) + bytes(1800))
    for number in range(60):
        damaged = bytearray(good)
        for _ in range(3):
            damaged[chance.randrange(16, len(damaged))] = chance.randrange(256)
        (tmp_path / f"in/{number}.png").write_bytes(damaged)
    code, said = run("thumbnails/thumbnails", "10", "/in", "/out", folder=tmp_path)
    assert code in (0, 1)
    assert len(said.splitlines()) == 60


def test_a_program_that_is_told_nothing_says_how_it_is_used(tmp_path: Path) -> None:
    programs = {str(path.relative_to(EXAMPLES).with_suffix("")) for path in EXAMPLES.rglob("*.wasm")} - {"wasm/hello"}
    told = {name: run(name, folder=tmp_path) for name in programs}
    assert {name for name, (code, said) in told.items() if (code, said[:7]) != (2, "usage: ")} == set()
