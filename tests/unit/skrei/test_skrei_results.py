import io
import tarfile
from pathlib import Path

import httpx2
import pytest

from skrei.client import AsyncClient
from skrei.errors import ApiError, DownloadFailed
from skrei.results import fetch
from tests.support.fake_api import FakeApi, error, execution

BASE = "/api/v1/orchestrator/jobs/x"
DOOR = "http://127.0.0.1:8"


def archive(text: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        entry = tarfile.TarInfo("stdout")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def streamed(content: bytes, told: int | None = None) -> httpx2.Response:
    """A response that is still on its way, as a real one is."""
    return httpx2.Response(
        200, stream=httpx2.ByteStream(content), headers={"Content-Length": str(told or len(content))}
    )


def names_below(folder: Path, name: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(name))


def api_of(*executions: dict[str, object], **answers: object) -> FakeApi:
    items = [
        {"Type": "urlDownload", "Params": {"URL": f"{DOOR}/results/{one['ID']}.tar.gz?token=t"}} for one in executions
    ]
    base: dict[str, object] = {
        f"GET {BASE}/results": {"NextToken": "", "Items": items},
        f"GET {BASE}/executions": {"NextToken": "", "Items": list(executions)},
    }
    base |= {
        f"GET /results/{one['ID']}.tar.gz": streamed(archive(str(one.get("PartitionIndex")))) for one in executions
    }
    return FakeApi(base | answers)


async def fetched(api: FakeApi, target: Path) -> object:
    async with AsyncClient("http://127.0.0.1:9", transport=api.transport) as client:
        return await fetch(client, "x", target)


async def test_one_result_lies_in_the_folder_itself(tmp_path: Path) -> None:
    await fetched(api_of(execution(1)), tmp_path / "out")
    assert (tmp_path / "out" / "stdout").read_text() == "0"


async def test_several_results_lie_in_a_folder_for_each_partition(tmp_path: Path) -> None:
    await fetched(api_of(execution(1, 3), execution(2, 5)), tmp_path)
    assert names_below(tmp_path, "stdout") == ["3/stdout", "5/stdout"]
    assert (tmp_path / "5" / "stdout").read_text() == "5"


async def test_the_api_s_word_on_a_partition_counts(tmp_path: Path) -> None:
    api = api_of(execution(1), execution(2))
    for number, item in enumerate(api.answers[f"GET {BASE}/results"]["Items"]):
        item["Params"]["PartitionIndex"] = number + 7
    await fetched(api, tmp_path)
    assert names_below(tmp_path, "stdout") == ["7/stdout", "8/stdout"]
    assert not [one for one in api.requests if one.url.path.endswith("/executions")]


async def test_a_refused_download_is_one_error_not_a_group(tmp_path: Path) -> None:
    api = api_of(execution(1, 3), execution(2, 5))
    api.answers[f"GET /results/{execution(2)['ID']}.tar.gz"] = error(403, "the token has expired")
    with pytest.raises(ApiError, match="expired"):
        await fetched(api, tmp_path)


async def test_a_download_that_breaks_off_is_not_taken_for_a_result(tmp_path: Path) -> None:
    api = api_of(execution(1))
    api.answers[f"GET /results/{execution(1)['ID']}.tar.gz"] = streamed(archive("x")[:-10], told=4711)
    with pytest.raises(DownloadFailed, match="of 4711"):
        await fetched(api, tmp_path / "out")
    assert names_below(tmp_path, "stdout") == []
