"""Results of earlier tasks as inputs: what lies where, what may be named, and what an archive may not do."""

import asyncio
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from skrei_plugin_api.engine import Mount
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.storage import SourceSpec, StageFailed, StageLimits, StageProblem
from skrei_plugin_basic.task import TaskStorage
from tests.support.task_results import Results, packed

LEFT = {"stdout": b"said\n", "stderr": b"", "exitCode": b"0", "out/deep/a.csv": b"1,2\n"}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path)


def stage(results: Results, tmp_path: Path, limits: StageLimits | None = None, **params: Any) -> Mount:
    storage = TaskStorage(PluginContext(tmp_path))
    source = SourceSpec("task", {"Task": "a", **params}, "/in")
    return asyncio.run(storage.stage(source, tmp_path / "staged", limits or StageLimits(), results))  # type: ignore[arg-type]


def found(mount: Mount) -> dict[str, bytes]:
    root = mount.source
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refusal(results: Results, tmp_path: Path, limits: StageLimits | None = None, **params: Any) -> StageFailed:
    with pytest.raises(StageFailed) as raised:
        stage(results, tmp_path, limits, **params)
    return raised.value


def test_a_task_of_one_partition_is_there_as_it_left_it(results: Results, tmp_path: Path) -> None:
    results.put("a", LEFT)
    mount = stage(results, tmp_path)
    assert found(mount) == LEFT
    assert (mount.target, mount.read_write) == ("/in", False)


def test_of_several_partitions_each_has_a_folder_of_its_index(results: Results, tmp_path: Path) -> None:
    results.put("a", *({"stdout": f"{n}".encode(), "out/x": b"x"} for n in range(3)))
    assert found(stage(results, tmp_path)) == {
        name: content
        for n in range(3)
        for name, content in {f"{n}/stdout": str(n).encode(), f"{n}/out/x": b"x"}.items()
    }


@pytest.mark.parametrize("path", ["out/deep", "./out/deep/", "out//deep"])
def test_a_path_names_a_folder_whose_content_is_the_input(results: Results, tmp_path: Path, path: str) -> None:
    results.put("a", LEFT)
    assert found(stage(results, tmp_path, Path=path)) == {"a.csv": b"1,2\n"}


@pytest.mark.parametrize("several", [False, True])
def test_a_result_whose_paths_went_to_several_places_is_put_together(
    results: Results, tmp_path: Path, several: bool
) -> None:
    rest, more = {"stdout": b"said", "b/x": b"B"}, {"m/y": b"M"}
    results.put("a", *[rest] * (2 if several else 1))
    results.beside("a", more)
    folders = ("0/", "1/") if several else ("",)
    whole = {f + name: content for f in folders for name, content in (rest | more).items()}
    assert found(stage(results, tmp_path / "1")) == whole
    assert found(stage(results, tmp_path / "2", Path="m")) == {f"{f}y": b"M" for f in folders}
    results.beside("a", more)
    assert "twice" in str(refusal(results, tmp_path / "3"))


def test_a_path_names_a_file_which_is_the_input(results: Results, tmp_path: Path) -> None:
    results.put("a", LEFT)
    mount = stage(results, tmp_path, path="out/deep/a.csv")
    assert mount.source.read_bytes() == b"1,2\n"


def test_a_path_is_looked_up_in_each_of_several_results(results: Results, tmp_path: Path) -> None:
    results.put("a", LEFT, LEFT)
    assert found(stage(results, tmp_path, Path="out")) == {"0/deep/a.csv": b"1,2\n", "1/deep/a.csv": b"1,2\n"}


def test_a_file_of_several_results_keeps_its_name_in_each_folder(results: Results, tmp_path: Path) -> None:
    results.put("a", LEFT, LEFT)
    assert found(stage(results, tmp_path, Path="stdout")) == {"0/stdout": b"said\n", "1/stdout": b"said\n"}


def test_a_path_that_is_not_there_is_told_with_what_is(results: Results, tmp_path: Path) -> None:
    results.put("a", LEFT)
    error = refusal(results, tmp_path, Path="outputs")
    assert error.code is StageProblem.MISSING
    assert error.message == "the result of task 'a' has no 'outputs'; it holds exitCode, out, stderr, stdout"


def test_of_several_the_partition_is_named_that_lacks_it(results: Results, tmp_path: Path) -> None:
    results.put("a", LEFT, {"stdout": b""})
    error = refusal(results, tmp_path, Path="out")
    assert error.message == "the result of partition 1 of task 'a' has no 'out'; it holds stdout"


def test_a_result_that_is_gone_is_said_so(results: Results, tmp_path: Path) -> None:
    assert refusal(results, tmp_path).code is StageProblem.MISSING


def test_an_archive_with_a_link_is_refused_also_where_only_a_part_of_it_is_wanted(
    results: Results, tmp_path: Path
) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        entry = tarfile.TarInfo("out")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(entry)
    results.put("a", made.getvalue())
    assert refusal(results, tmp_path, Path="out").code is StageProblem.INVALID


def test_what_would_lie_elsewhere_is_refused(results: Results, tmp_path: Path) -> None:
    results.put("a", packed({"../escaped": b"x"}))
    assert refusal(results, tmp_path).code is StageProblem.INVALID
    assert not (tmp_path / "escaped").exists()


def test_the_limits_count_over_all_partitions(results: Results, tmp_path: Path) -> None:
    results.put("a", *({"x": bytes(300_000)} for _ in range(4)))
    error = refusal(results, tmp_path, StageLimits(max_bytes=1_000_000))
    assert error.code is StageProblem.TOO_LARGE
    results.put("a", *({f"{n}": b"" for n in range(30)} for _ in range(4)))
    assert refusal(results, tmp_path / "again", StageLimits(max_files=100)).code is StageProblem.TOO_LARGE


@pytest.mark.parametrize(
    ("params", "path"), [({}, "Task"), ({"Task": 3}, "Task"), ({"Task": "a", "Path": "/x"}, "Path")]
)
def test_wrong_params_are_named(params: dict[str, Any], path: str) -> None:
    assert [each.path for each in TaskStorage(PluginContext(Path())).validate(params)] == [path]
