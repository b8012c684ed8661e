"""What a node says of itself, and how its settings change it."""

from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from skrei_compute_agent.fingerprint import architecture, capacity, cores, fingerprint, operating_system
from skrei_compute_agent.settings import Settings
from skrei_domain.node import Gpu, NodeInfo, Plugin
from skrei_domain.resources import Resources
from skrei_kit.settings import load


def info(tmp_path: Path, *, gpus: tuple[Gpu, ...] = (), **changes: object) -> NodeInfo:
    settings = load(Settings, data_dir=tmp_path / "not" / "yet", **changes)  # type: ignore[arg-type]
    return fingerprint(
        settings,
        "n-1",
        engines=[Plugin(name="wasm")],
        storages=[Plugin(name="local")],
        version="1",
        room=capacity(settings),
        gpus=gpus,
    )


@pytest.mark.row("4.8/capacity")
def test_a_node_offers_all_cores_and_most_of_its_memory_and_free_disk(tmp_path: Path) -> None:
    capacity = info(tmp_path).capacity
    assert capacity.cpu_milli == cores() * 1000
    assert capacity.memory_bytes == psutil.virtual_memory().total * 80 // 100
    assert 0 < capacity.disk_bytes < psutil.disk_usage(str(tmp_path)).total


@pytest.mark.row("4.8/capacity")
def test_settings_decide_what_is_offered(tmp_path: Path) -> None:
    made = info(tmp_path, capacity_cpu="1500m", capacity_memory="1GiB", capacity_disk="2Gb")
    assert made.capacity == Resources(cpu_milli=1500, memory_bytes=2**30, disk_bytes=2 * 10**9)


@pytest.mark.row("2.6/node-labels")
def test_labels_say_what_it_is_and_what_its_owner_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKREI_LABELS", "region=north, disk=ssd")
    made = info(tmp_path, name="box")
    assert made.labels == {
        "os_type": operating_system(),
        "os_arch": architecture(),
        "name": "box",
        "region": "north",
        "disk": "ssd",
    }


@pytest.mark.row("2.6/node-labels")
def test_gpus_are_counted_and_labelled_by_name_and_memory(tmp_path: Path) -> None:
    made = info(tmp_path, gpus=(Gpu(index=0, name="Tesla T4", vendor="NVIDIA", memory_bytes=15360 * 2**20),))
    assert made.capacity.gpu == 1
    assert (made.labels["GPU-0"], made.labels["GPU-0-Memory"]) == ("Tesla-T4", "15360-MiB")


def test_a_setting_that_is_no_amount_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="capacity_memory"):
        Settings(capacity_memory="lots")


def test_data_sets_come_from_the_environment_by_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKREI_DATA", "books=/srv/books, out=/srv/out:rw")
    settings = load(Settings)
    assert settings.data == {"books": "/srv/books:ro", "out": "/srv/out:rw"}
    assert settings.data_file == settings.data_dir / "data-sets.json"
    with pytest.raises(ValidationError, match="no name of a data set"):
        Settings(data={"My Books": "/srv"})


def test_lists_come_from_the_environment_by_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKREI_ALLOW_LOCAL", "/data/**, /mnt/x:rw")
    monkeypatch.setenv("SKREI_ALLOW_ENV", "REGION")
    settings = load(Settings)
    assert (settings.allow_local, settings.allow_env) == (("/data/**", "/mnt/x:rw"), ("REGION",))
