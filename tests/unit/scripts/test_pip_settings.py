"""What the bootstrap takes from pip's files and variables."""

from pathlib import Path

from scripts import pip_settings
from scripts.pip_settings import DEFAULT_INDEX_URL, PipSettings

MIRROR = "https://mirror.example/simple"
OTHER = "https://other.example/simple"


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_nothing_said_means_the_default_index_and_leaves_uv_its_own_default() -> None:
    settings = pip_settings.read({}, ())
    assert settings.indexes == (DEFAULT_INDEX_URL,)
    assert settings.uv_environment() == {}


def test_variables_win_over_files_and_later_files_over_earlier_ones(tmp_path: Path) -> None:
    system = written(tmp_path / "system", f"[global]\nindex-url = {OTHER}\ntimeout = 20\ncert = /system.pem\n")
    user = written(tmp_path / "user", f"[global]\nindex_url = {MIRROR}\n")
    settings = pip_settings.read({"PIP_CERT": "/mine.pem"}, (system, user, tmp_path / "absent"))
    assert settings.index_url == MIRROR
    assert settings.certificates == "/mine.pem"
    assert settings.timeout_seconds == 20


def test_the_install_section_wins_over_the_global_one(tmp_path: Path) -> None:
    file = written(tmp_path / "pip.conf", f"[install]\nindex-url = {MIRROR}\n[global]\nindex-url = {OTHER}\n")
    assert pip_settings.read({}, (file,)).index_url == MIRROR


def test_find_links_that_do_not_exist_are_left_out(tmp_path: Path) -> None:
    remote = "https://mirror.example/wheels/"
    settings = pip_settings.read({"PIP_FIND_LINKS": f"{tmp_path} /does/not/exist {remote}"}, ())
    assert settings.find_links == (str(tmp_path), remote)


def test_no_index_leaves_no_index_to_ask() -> None:
    assert pip_settings.read({"PIP_NO_INDEX": "true", "PIP_INDEX_URL": MIRROR}, ()).indexes == ()
    assert pip_settings.read({"PIP_NO_INDEX": "0", "PIP_INDEX_URL": MIRROR}, ()).indexes == (MIRROR,)


def test_uv_is_told_the_same(tmp_path: Path) -> None:
    settings = PipSettings(
        index_url=MIRROR, extra_index_urls=(OTHER,), certificates=str(tmp_path), proxy="http://proxy.example:3128"
    )
    assert settings.uv_environment() == {
        "UV_DEFAULT_INDEX": MIRROR,
        "UV_INDEX": OTHER,
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_DIR": str(tmp_path),
        "HTTPS_PROXY": "http://proxy.example:3128",
        "HTTP_PROXY": "http://proxy.example:3128",
    }


def test_the_files_are_those_that_pip_reads_in_its_order() -> None:
    told = {"HOME": "/h", "VIRTUAL_ENV": "/v", "PIP_CONFIG_FILE": "/own.conf", "XDG_CONFIG_DIRS": "/x"}
    names = [str(file) for file in pip_settings.config_files(told)]
    assert [names.index(name) for name in ("/etc/pip.conf", "/h/.pip/pip.conf", "/h/.config/pip/pip.conf")] == sorted(
        names.index(name) for name in ("/etc/pip.conf", "/h/.pip/pip.conf", "/h/.config/pip/pip.conf")
    )
    assert names[-2:] == ["/v/pip.conf", "/own.conf"]


def test_a_config_file_named_devnull_switches_all_files_off() -> None:
    assert pip_settings.config_files({"HOME": "/h", "PIP_CONFIG_FILE": "/dev/null"}) == ()
