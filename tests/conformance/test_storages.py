"""Every storage against the contract of storages."""

import asyncio
import base64
import io
import tarfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.registry import storages
from skrei_plugin_api.storage import BlobReader, SourceSpec, StageProblem, Storage
from skrei_plugin_api.testing import StorageContract
from tests.support.faulty_web import FaultyWeb, faulty_web
from tests.support.s3_server import S3Server, s3_server
from tests.support.task_results import Results


class TestInline(StorageContract):
    invalid: ClassVar[Mapping[str, Params]] = {"URL": {"url": "http://example.org"}}

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return storages().load("Inline")(PluginContext(tmp_path / "state"))

    def source(self, files: Mapping[str, bytes], folder: Path) -> SourceSpec:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        url = f"data:application/gzip;base64,{base64.b64encode(packed.getvalue()).decode()}"
        return SourceSpec("inline", {"URL": url}, "/in")

    def unavailable(self, folder: Path) -> tuple[SourceSpec, StageProblem]:
        return SourceSpec("inline", {"URL": "data:application/gzip,nothing"}, "/in"), StageProblem.INVALID


class TestTask(StorageContract):
    invalid: ClassVar[Mapping[str, Params]] = {"Task": {"Task": ""}, "Path": {"Task": "a", "Path": "../up"}}

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return storages().load("task")(PluginContext(tmp_path / "state"))

    def source(self, files: Mapping[str, bytes], folder: Path) -> SourceSpec:
        self.left = Results(folder)
        self.left.put("a", files)
        return SourceSpec("task", {"Task": "a"}, "/in")

    def blobs(self, folder: Path) -> BlobReader:
        return self.left

    def unavailable(self, folder: Path) -> tuple[SourceSpec, StageProblem]:
        self.left = Results(folder)
        return SourceSpec("task", {"Task": "gone"}, "/in"), StageProblem.MISSING


class TestLocal(StorageContract):
    invalid: ClassVar[Mapping[str, Params]] = {
        "SourcePath": {"SourcePath": "not/absolute"},
        "ReadWrite": {"SourcePath": "/x", "ReadWrite": "yes"},
        "CreateAs": {"SourcePath": "/x", "CreateAs": "link"},
    }

    @pytest.fixture(params=["local", "localDirectory", "LOCALDIRECTORY"])
    def storage(self, request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
        allowed = (f"{tmp_path}/**",)
        return storages().load(request.param)(PluginContext(tmp_path / "state", allow_local=allowed))

    def source(self, files: Mapping[str, bytes], folder: Path) -> SourceSpec:
        root = folder / "host"
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        return SourceSpec("local", {"SourcePath": str(root)}, "/in")

    def unavailable(self, folder: Path) -> tuple[SourceSpec, StageProblem]:
        return SourceSpec("local", {"SourcePath": "/etc/passwd"}, "/in"), StageProblem.DENIED


class TestData(StorageContract):
    invalid: ClassVar[Mapping[str, Params]] = {
        "Name": {"Name": "/srv/books"},
        "Path": {"Name": "books", "Path": "../x"},
        "ReadWrite": {"Name": "books", "ReadWrite": "yes"},
    }

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return storages().load("data")(PluginContext(tmp_path / "state", data={"books": f"{tmp_path}/host"}))

    def source(self, files: Mapping[str, bytes], folder: Path) -> SourceSpec:
        root = folder / "host"
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        return SourceSpec("data", {"Name": "books"}, "/in")

    def unavailable(self, folder: Path) -> tuple[SourceSpec, StageProblem]:
        (folder / "host").mkdir(exist_ok=True)
        return SourceSpec("data", {"Name": "books", "Path": "gone"}, "/in"), StageProblem.MISSING


class TestUrlDownload(StorageContract):
    files: ClassVar[Mapping[str, bytes]] = {"a.txt": b"A" * 100_000}
    invalid: ClassVar[Mapping[str, Params]] = {
        "URL": {"URL": "ftp://h.example/a"},
        "Checksum": {"URL": "http://h.example/a", "Checksum": "md5:0"},
        "MaxRetryCount": {"URL": "http://h.example/a", "MaxRetryCount": -1},
    }

    @pytest.fixture
    async def site(self) -> AsyncIterator[FaultyWeb]:
        async with faulty_web() as made:
            yield made

    @pytest.fixture
    async def storage(self, site: FaultyWeb, tmp_path: Path) -> AsyncIterator[Storage]:
        self.site = site
        made = storages().load("urldownload")(PluginContext(tmp_path / "state", allow_addresses=("127.0.0.0/8",)))
        yield made
        await made.close()

    def source(self, files: Mapping[str, bytes], folder: Path) -> SourceSpec:
        ((name, content),) = files.items()
        self.site.files[f"/{name}"] = content
        return SourceSpec("urlDownload", {"URL": self.site.url(f"/{name}")}, "/in")

    def unavailable(self, folder: Path) -> tuple[SourceSpec, StageProblem]:
        return SourceSpec("urlDownload", {"URL": self.site.url("/gone")}, "/in"), StageProblem.MISSING


@pytest.fixture(scope="module")
def objects() -> Iterator[S3Server]:
    with s3_server() as made:
        yield made


class TestS3(StorageContract):
    invalid: ClassVar[Mapping[str, Params]] = {
        "Bucket": {"Key": "a"},
        "Endpoint": {"Bucket": "data", "Endpoint": "h:9000"},
        "Partition.Type": {"Bucket": "data", "Partition": {"Type": "size"}},
        "Regoin": {"Bucket": "data", "Regoin": "eu-west-1"},
    }

    @pytest.fixture
    async def storage(
        self, objects: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[Storage]:
        for name, value in objects.environment.items():
            monkeypatch.setenv(name, value)
        self.objects = objects
        made = storages().load("S3")(PluginContext(tmp_path / "state", allow_addresses=("127.0.0.0/8",)))
        yield made
        await made.close()

    def source(self, files: Mapping[str, bytes], folder: Path) -> SourceSpec:
        bucket = f"b-{uuid.uuid4().hex}"

        async def fill() -> None:
            await self.objects.make_bucket(bucket)
            await self.objects.put(bucket, {f"in/{name}": content for name, content in files.items()})

        with ThreadPoolExecutor(1) as aside:
            aside.submit(asyncio.run, fill()).result()
        return SourceSpec("s3", {"Bucket": bucket, "Key": "in/*", "Endpoint": self.objects.url}, "/in")

    def unavailable(self, folder: Path) -> tuple[SourceSpec, StageProblem]:
        wanted = {"Bucket": "gone", "Key": "x", "Endpoint": self.objects.url}
        return SourceSpec("s3", wanted, "/in"), StageProblem.MISSING
