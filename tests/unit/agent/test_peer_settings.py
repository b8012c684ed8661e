"""Settings of the original's nodes that this node does not have yet: each is refused by its name, none is ignored."""

from pathlib import Path

import psutil
import pytest

from skrei_compute_agent.fingerprint import capacity, cores
from skrei_compute_agent.settings import Settings
from skrei_domain.errors import Invalid
from skrei_kit.settings import load


@pytest.mark.row("4.8/admission", "4.8/probes", "4.8/locality")
@pytest.mark.parametrize("name", ["reject_stateless_jobs", "probe_exec", "probe_http", "locality"])
def test_what_later_versions_bring_is_no_setting_yet(tmp_path: Path, name: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"{name}: anywhere\n")
    with pytest.raises(Invalid, match=f"unknown setting '{name}'"):
        load(Settings, config=config)


@pytest.mark.row("4.8/capacity")
def test_a_share_is_of_what_the_machine_has(tmp_path: Path) -> None:
    half = {"capacity_cpu": "50%", "capacity_memory": "12.5 %", "capacity_disk": "100%", "data_dir": tmp_path}
    offered = capacity(load(Settings, **half))  # type: ignore[arg-type]
    assert offered.cpu_milli == cores() * 500
    assert offered.memory_bytes == psutil.virtual_memory().total // 8
    assert offered.disk_bytes > 0


@pytest.mark.row("4.8/capacity")
@pytest.mark.parametrize("told", ["0%", "101%", "-1%", "lots%", "-1", "lots"])
def test_what_is_no_share_and_no_amount_is_refused(tmp_path: Path, told: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"capacity_cpu: '{told}'\n")
    with pytest.raises(Invalid, match="SKREI_CAPACITY_CPU"):
        load(Settings, config=config)
