"""The pure parts of the docker engine: names, create bodies, frames, paths, credentials, archives."""

import asyncio
import base64
import json
import struct
import tarfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.node import Gpu
from skrei_domain.resources import Resources
from skrei_plugin_api import tar_streams as archive
from skrei_plugin_api.container_params import DockerParams, Pull, read_params
from skrei_plugin_api.engine import FailureCode, PortBinding, RunRequest, ServiceWay
from skrei_plugin_api.image_reference import DEFAULT_REGISTRY, digest_of, parse
from skrei_plugin_api.packing import OutputTooLarge
from skrei_plugin_api.registry_credentials import CredentialsBroken, credentials
from skrei_plugin_docker.create import Network, create_body, devices, network
from skrei_plugin_docker.failures import GpuNotGiven, NotBegun, Refusal, never_ran, pull_failed, start_failed
from skrei_plugin_docker.frames import PIECE_BYTES, Demultiplexer, Restored
from skrei_plugin_docker.images import progress
from skrei_plugin_docker.settings import DockerSettings, Staging
from skrei_plugin_docker.sight import own_container, translate
from skrei_plugin_docker.ways import filters, held, inside, surroundings

SETTINGS = DockerSettings()
HUB = DEFAULT_REGISTRY


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("busybox", f"{HUB}/library/busybox:latest"),
        ("busybox:1", f"{HUB}/library/busybox:1"),
        ("a/b", "docker.io/a/b:latest"),
        ("index.docker.io/a/b", "docker.io/a/b:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("127.0.0.1:5000/a:2", "127.0.0.1:5000/a:2"),
        ("ghcr.io/a/b@sha256:1", "ghcr.io/a/b@sha256:1"),
        ("a:1@sha256:1", f"{HUB}/library/a@sha256:1"),
    ],
)
def test_a_name_means_what_docker_says(name: str, full: str) -> None:
    assert str(parse(name)) == full


def test_an_image_is_known_by_the_digest_of_the_repository_that_was_named() -> None:
    image: dict[str, object] = {"Id": "sha256:1", "RepoDigests": ["other@sha256:2", "localhost:5000/a@sha256:3"]}
    assert digest_of(image, "localhost:5000/a:1") == "localhost:5000/a@sha256:3"
    assert digest_of(image, "elsewhere/a") == "other@sha256:2"
    assert digest_of({"Id": "sha256:1", "RepoDigests": None}, "a") == "sha256:1"


# ---------------------------------------------------------------- what is created


def a_request(**given: Any) -> RunRequest:
    return RunRequest(**{"execution_id": "e-1", "start_number": 2, "params": {}, "workdir": Path("/w")} | given)


def body(params: DockerParams | None = None, **given: Any) -> dict[str, Any]:
    mode = network("")
    made = params or DockerParams("a")
    return create_body(a_request(**given), made, (), SETTINGS, node="n-1", mode=mode, render_node=lambda _: "/dev/r")


@pytest.mark.row("5.1/params-in-any-case")
def test_params_are_read_in_any_case() -> None:
    found = read_params({"IMAGE": "a", "entrypoint": ["x"], "environmentvariables": ["A=b=c"], "PULL": "Never"})
    assert found == DockerParams("a", ("x",), None, (("A", "b=c"),), "", Pull.NEVER)


def test_what_is_not_said_is_left_to_the_image() -> None:
    assert body().keys() & {"Entrypoint", "Cmd", "WorkingDir"} == set()
    said = body(DockerParams("a", (), ("b",), working_dir="/x"))
    assert (said["Entrypoint"], said["Cmd"], said["WorkingDir"]) == ([], ["b"], "/x")


@pytest.mark.row("5.1/names-and-labels")
def test_a_container_carries_whose_it_is() -> None:
    assert body(env={"BACALHAU_JOB_ID": "j-1"})["Labels"] == {
        "skrei.node": "n-1",
        "skrei.execution": "e-1",
        "skrei.start": "2",
        "skrei.role": "run",
        "skrei.job": "j-1",
    }


KINDS = ["", "Default", "None", "HTTP", "Bridge", "Host", "Full"]
WAYS = st.lists(st.integers(1, 65_535), max_size=16).map(
    lambda ports: tuple(ServiceWay(f"SKREI_SERVICE_{n}", "127.0.0.1", port) for n, port in enumerate(ports))
)


@given(WAYS, st.sampled_from(KINDS), st.lists(st.integers(1024, 65_535), max_size=4))
def test_each_service_has_a_port_of_its_own_inside_that_nobody_else_has(
    ways: tuple[ServiceWay, ...], kind: str, targets: list[int]
) -> None:
    bindings = tuple(PortBinding(f"p{n}", "127.0.0.1", 20_000 + n, target) for n, target in enumerate(targets))
    request = a_request(services=ways, network=kind, ports=bindings)
    found = inside(request, (3128,))
    assert list(found) == [way.variable for way in ways]
    ports = list(found.values())
    assert len({*ports, 3128, *targets}) == len(ports) + len({3128, *targets})
    assert all(1024 <= port <= 65_535 for port in ports)
    for way in ways:
        first = ways[[each.port for each in ways].index(way.port)] is way
        if way.port >= 1024 and first and way.port not in (3128, *targets) and not _moved(found, ways, way):
            assert found[way.variable] == way.port, "where it can be had it is the service's own"


def _moved(found: dict[str, int], ways: tuple[ServiceWay, ...], way: ServiceWay) -> bool:
    """Whether another service, which had to be told under another port, got this one's before it."""
    return any(found[each.variable] == way.port for each in ways if each is not way)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_nobody_asked_for_is_not_opened_by_using_a_service(kind: str) -> None:
    way = (ServiceWay("SKREI_SERVICE_DB", "127.0.0.1", 5432),)
    mode = surroundings(a_request(services=way, network=kind))
    closed = kind in ("", "Default", "None", "HTTP")
    assert mode is (Network.FILTERED if closed else network(kind))
    assert held(a_request(services=way, network=kind)) is (mode is not Network.HOST)
    assert filters(a_request(services=way, network=kind)) is (kind == "HTTP")
    assert surroundings(a_request(network=kind)) is network(kind)


def test_a_container_whose_network_another_one_holds_says_nothing_of_its_own() -> None:
    port = PortBinding("web", "127.0.0.1", 20_000, 80)
    made = create_body(
        a_request(ports=(port,)),
        DockerParams("a"),
        (),
        SETTINGS,
        node="n-1",
        mode=Network.BRIDGE,
        render_node=lambda _: "/dev/r",
        holder="c-1",
    )
    host = made["HostConfig"]
    assert (host["NetworkMode"], host["PortBindings"], host["ExtraHosts"]) == ("container:c-1", {}, [])
    assert made["ExposedPorts"] == {}


def test_no_resource_is_no_limit_but_processes_always_have_one() -> None:
    host = body()["HostConfig"]
    assert "Memory" not in host
    assert "NanoCpus" not in host
    assert host["PidsLimit"] == SETTINGS.pids
    limited = body(resources=Resources(cpu_milli=100, memory_bytes=10**8))["HostConfig"]
    assert (limited["Memory"], limited["MemorySwap"], limited["NanoCpus"]) == (10**8, 10**8, 10**8)


def test_nothing_in_a_request_gives_more_rights() -> None:
    host = body()["HostConfig"]
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["AutoRemove"] is False


@pytest.mark.row("5.1/gpus")
def test_gpus_are_asked_for_as_their_vendor_wants() -> None:
    nvidia = [Gpu(index=0, vendor="NVIDIA", uuid="GPU-a"), Gpu(index=3, vendor="NVIDIA")]
    assert devices(nvidia, lambda _: "")["DeviceRequests"] == [
        {"Driver": "", "DeviceIDs": ["GPU-a", "3"], "Capabilities": [["gpu"]]}
    ]
    amd = devices([Gpu(index=1, vendor="AMD/ATI")], lambda gpu: f"/dev/dri/renderD{128 + gpu.index}")
    assert [device["PathOnHost"] for device in amd["Devices"]] == ["/dev/kfd", "/dev/dri/renderD129"]
    intel = devices([Gpu(index=0, vendor="Intel")], lambda _: "/dev/dri/renderD128")
    assert [device["PathOnHost"] for device in intel["Devices"]] == ["/dev/dri/renderD128"]
    assert devices([], lambda _: "") == {}


@pytest.mark.row("5.1/gpus")
def test_what_an_image_or_a_task_says_of_gpus_gives_it_none() -> None:
    wanted = {"NVIDIA_VISIBLE_DEVICES": "all"}
    for gpus in ((), (Gpu(index=0, vendor="Intel"),)):
        asked = body(DockerParams("a", env=tuple(wanted.items())), env=wanted, gpus=gpus)
        assert asked["Env"] == ["NVIDIA_VISIBLE_DEVICES=void"]
    own = body(env={"A": "1"}, gpus=(Gpu(index=0, vendor="NVIDIA", uuid="GPU-a"),))
    assert own["Env"] == ["A=1"], "the daemon sets it for the devices that it gives"


def test_options_are_read_and_wrong_ones_refused() -> None:
    found = DockerSettings.from_options(
        {"docker_pids": "7", "docker_staging": "volume", "docker_capabilities": "chown, kill", "wasm_x": "1"}
    )
    assert (found.pids, found.staging, found.capabilities) == (7, Staging.VOLUME, ("CHOWN", "KILL"))
    assert DockerSettings.from_options({"docker_capabilities": "none"}).capabilities == ()
    with pytest.raises(ValueError, match="many"):
        DockerSettings.from_options({"docker_pids": "many"})
    with pytest.raises(ValueError, match="magic"):
        DockerSettings.from_options({"docker_staging": "magic"})


# ---------------------------------------------------------------- output


def frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=50))), st.integers(1, 40))
def test_frames_come_out_whole_however_they_are_cut(frames: list[tuple[int, bytes]], size: int) -> None:
    wire = b"".join(frame(*one) for one in frames)
    cut = Demultiplexer()
    found = [one for start in range(0, len(wire), size) for one in cut.feed(wire[start : start + size])]
    assert found == frames


def logged(written: bytes) -> list[bytes]:
    """What the daemon's `local` driver gives back: lines, cut at 16 KiB, without the newline after the last piece."""
    frames = []
    for line in written.splitlines(keepends=True):
        text = line.removesuffix(b"\n")
        if len(text) < PIECE_BYTES:
            frames.append(line)
        else:
            frames += [text[start : start + PIECE_BYTES] for start in range(0, len(text), PIECE_BYTES)]
    return frames


LINES = st.lists(
    st.one_of(
        st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b"")),
        st.integers(1, 3 * PIECE_BYTES).filter(lambda n: n % PIECE_BYTES).map(lambda n: b"x" * n),
    ),
    max_size=6,
)


@given(LINES, st.booleans(), st.floats(0, 1))
def test_a_log_gives_exactly_what_is_missing(lines: list[bytes], unfinished: bool, share: float) -> None:
    lines = [line for line in lines if line]
    if unfinished and lines:
        written = b"\n".join(lines)
    else:
        written = b"".join(line + b"\n" for line in lines)
        if lines and len(lines[-1]) >= PIECE_BYTES:
            written += b"end\n"  # a newline at the very end of a long line is what no reader can know of
    here = written[: int(len(written) * share)]
    restored = Restored({1: len(here)})
    assert here + b"".join(restored.take(1, data) for data in logged(written)) == written


# ---------------------------------------------------------------- where the daemon sees files


def test_an_agents_own_container_is_found_by_what_docker_mounts_into_it() -> None:
    name = "0123456789abcdef" * 4
    mountinfo = f"1 2 254:0 /var/lib/docker/containers/{name}/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda rw\n"
    assert own_container(mountinfo, "") == name
    assert own_container("", f"12:pids:/docker/{name}\n") == name
    assert own_container("", f"0::/system.slice/docker-{name}.scope\n") == name
    assert own_container("1 2 254:0 / / rw - ext4 /dev/vda rw\n", "0::/user.slice\n") == ""


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/data/x", "/host/data/x"),
        ("/data", "/host/data"),
        ("/data/deep/y", "/volumes/deep/y"),
        ("/database", None),
        ("/etc/passwd", None),
    ],
)
def test_paths_are_translated_through_the_deepest_mount(path: str, there: str | None) -> None:
    assert translate(path, (("/data", "/host/data"), ("/data/deep", "/volumes/deep"))) == there


def test_a_daemon_on_this_machine_calls_paths_as_we_do() -> None:
    assert translate("/a/b", (("/", "/"),)) == "/a/b"


# ---------------------------------------------------------------- credentials


async def asked(config: object, image: str, tmp_path: Path, **environ: str) -> Any:
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return await credentials(parse(image), "", {"DOCKER_CONFIG": str(tmp_path)} | environ)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_credentials_are_those_of_the_images_registry(tmp_path: Path) -> None:
    config = {
        "auths": {
            "https://index.docker.io/v1/": {"auth": encoded("hub:h:colon")},
            "localhost:5000": {"auth": encoded("me:secret")},
            "ghcr.io": {"identitytoken": "t"},
        }
    }
    assert await asked(config, "busybox", tmp_path) == {"username": "hub", "password": "h:colon"}
    assert await asked(config, "localhost:5000/a", tmp_path) == {"username": "me", "password": "secret"}
    assert await asked(config, "ghcr.io/a/b", tmp_path) == {"identitytoken": "t"}
    assert await asked(config, "elsewhere.example/a", tmp_path) is None


@pytest.mark.row("5.1/registry-auth")
async def test_a_hubs_credentials_may_stand_in_the_environment(tmp_path: Path) -> None:
    environ = {"DOCKER_USERNAME": "u", "DOCKER_PASSWORD": "p"}
    assert await asked({}, "a/b", tmp_path, **environ) == {"username": "u", "password": "p"}
    assert await asked({}, "ghcr.io/a/b", tmp_path, **environ) is None


async def test_a_helper_is_asked_and_may_have_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text(
        '#!/bin/sh\nread host\n[ "$host" = ghcr.io ] || exit 1\n'
        '[ "$1" = get ] && echo "{\\"Username\\":\\"h\\",\\"Secret\\":\\"s\\"}"\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert await asked({"credsStore": "test"}, "ghcr.io/a/b", tmp_path) == {"username": "h", "password": "s"}
    assert await asked({"credsStore": "test"}, "other.example/a", tmp_path) is None
    assert await asked({"credHelpers": {"ghcr.io": "test"}}, "other.example/a", tmp_path) is None


@pytest.mark.parametrize(
    "config",
    [
        "{ no json",
        {"auths": {"ghcr.io": {"auth": "!!!"}}},
        {"auths": {"ghcr.io": {"auth": encoded("no colon, topsecret")}}},
        {"credsStore": "is-not-installed-anywhere"},
    ],
)
async def test_broken_credentials_are_said_and_no_secret_with_them(config: object, tmp_path: Path) -> None:
    with pytest.raises(CredentialsBroken) as raised:
        await asked(config, "ghcr.io/a", tmp_path)
    assert raised.value.hint
    assert "topsecret" not in f"{raised.value.message} {raised.value.hint}"


async def test_a_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    assert await credentials(parse("a"), "", {"DOCKER_CONFIG": str(tmp_path / "none")}) is None
    with pytest.raises(CredentialsBroken, match="not there"):
        await credentials(parse("a"), str(tmp_path / "none.json"), {})


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("said", "code", "passing", "words"),
    [
        ("toomanyrequests: You have reached your pull rate limit.", "registry-unavailable", True, "429"),
        ("Head https://r/v2/a: unauthorized: authentication required", "image-unavailable", False, "docker login"),
        ("pull access denied for a, repository does not exist", "image-unavailable", False, "docker login"),
        ("manifest for a:b not found: manifest unknown", "image-unavailable", False, "404"),
        ("no matching manifest for linux/arm64 in the manifest list", "image-platform", True, "platform"),
        ("Get https://r/v2/: http: server gave HTTP response to HTTPS client", "image-unavailable", False, "trust"),
        ("Get https://r/v2/: dial tcp: lookup r: no such host", "registry-not-found", True, "DNS"),
        ("Get https://r/v2/: dial tcp: lookup r on 1.1.1.1:53: server misbehaving", "registry-not-found", True, "DNS"),
        ("dial tcp: lookup r on [::1]:53: read udp [::1]:9->[::1]:53: refused", "registry-not-found", True, "DNS"),
        ("Temporary failure in name resolution", "registry-not-found", True, "DNS"),
        ("Get https://r/v2/: dial tcp 1.2.3.4:443: i/o timeout", "registry-unavailable", True, "tried again"),
        ("write /var/lib/x: no space left on device", "docker-disk-full", True, "prune"),
    ],
)
@pytest.mark.row("5.1/image-not-available")
def test_a_pull_that_fails_is_one_line_what_and_one_line_what_to_do(
    said: str, code: str, passing: bool, words: str
) -> None:
    error = pull_failed("a:b", f"{said}\n")
    assert (error.code, error.retryable) == (code, passing)
    assert words in f"{error.message} {error.hint}"
    assert "\n" not in error.message
    assert error.hint


def test_a_start_for_which_the_node_has_no_room_is_the_nodes_doing() -> None:
    with pytest.raises(Exception, match="no room") as raised:
        start_failed(Refusal(500, "mkdir /x: no space left on device"))
    assert raised.value.retryable  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', "nvidia-container-toolkit"),
        ("failed to discover GPU vendor from CDI: no known GPU vendor found", "nvidia-container-toolkit"),
        ("CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-1", "nvidia-ctk cdi generate"),
        (
            "failed to create task for container: OCI runtime create failed: runc create failed: error running prestart"
            " hook #0: exit status 1, stderr: nvidia-container-cli: initialization error: load library failed: unknown",
            "docker run --rm --gpus all",
        ),
    ],
)
@pytest.mark.row("5.1/gpus")
def test_a_gpu_that_docker_cannot_give_is_the_nodes_doing_and_says_what_to_install(said: str, words: str) -> None:
    with pytest.raises(GpuNotGiven, match="gives no GPU to containers") as raised:
        start_failed(Refusal(500, said))
    assert raised.value.retryable, "another node's daemon may"
    assert words in str(raised.value.hint)
    assert said.rpartition("stderr: ")[2].removesuffix(": unknown") in raised.value.message


@pytest.mark.parametrize(
    "said",
    [
        "cannot start a stopped process: unknown",
        "failed to start task: OCI runtime start failed: cannot start a container that has stopped: unknown",
        "OCI runtime start failed: cannot start a container that has run and stopped: unknown",
        "OCI runtime start failed: container process is already dead: unknown",
    ],
)
def test_a_process_that_was_gone_before_it_began_is_the_nodes_doing(said: str) -> None:
    with pytest.raises(NotBegun, match="gone before its program began") as raised:
        start_failed(Refusal(500, said))
    assert raised.value.retryable
    assert "dmesg" in str(raised.value.hint)


def test_what_a_program_says_itself_is_never_the_nodes_doing() -> None:
    failure = never_ran(126, b"exec of what cannot start a stopped process: permission denied\n")
    assert failure is not None
    assert failure.code is FailureCode.EXECUTABLE_INVALID


async def test_progress_is_told_now_and_then_and_at_the_end() -> None:
    async def items() -> AsyncIterator[dict[str, Any]]:
        for done in (1_000_000, 2_000_000, 4_000_000):
            yield {"status": "Downloading", "id": "a", "progressDetail": {"current": done, "total": 4_000_000}}
        yield {"status": "Download complete", "id": "a", "progressDetail": {}}

    moments = iter([10.0, 11.0, 13.0, 13.5])
    assert [line async for line in progress(items(), "img", lambda: next(moments))] == [
        "pulling img: 1.0 of 4.0 MB",
        "pulling img: 4.0 of 4.0 MB",
        "pulled img",
    ]


# ---------------------------------------------------------------- archives


async def stream(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


def a_tar(*entries: tuple[str, bytes | str]) -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            else:
                entry.size = len(content)
            tar.addfile(entry, BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


async def test_a_folder_survives_the_way_there_and_back(tmp_path: Path) -> None:
    source, into = tmp_path / "a", tmp_path / "b"
    (source / "deep").mkdir(parents=True)
    into.mkdir()
    (source / "deep" / "large").write_bytes(b"x" * 700_000)
    (source / "empty").touch()
    await archive.unpack(archive.packed(archive.folder(source)), into, 1_000_000)
    assert (into / "deep" / "large").read_bytes() == b"x" * 700_000
    assert (into / "empty").read_bytes() == b""


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a/../../x"])
async def test_nothing_is_unpacked_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(archive.ArchiveBroken):
        await archive.unpack(stream(a_tar((name, b"x"))), tmp_path, 1000)
    assert not (tmp_path.parent / "out").exists()


async def test_a_link_is_left_out_and_nothing_goes_through_it(tmp_path: Path) -> None:
    target, into = tmp_path / "target", tmp_path / "into"
    target.mkdir()
    into.mkdir()
    await archive.unpack(stream(a_tar(("link", str(target)), ("link/file", b"x"), ("other", b"y"))), into, 1000)
    assert list(target.iterdir()) == []
    assert not (into / "link").is_symlink()
    assert {path.name for path in into.iterdir()} == {"link", "other"}


async def test_more_than_the_limit_is_not_unpacked_and_the_sender_is_not_left_waiting(tmp_path: Path) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(OutputTooLarge):
            await archive.unpack(stream(a_tar(("a", b"x" * 3_000_000))), tmp_path, 1_000_000)


async def test_what_is_no_archive_says_so(tmp_path: Path) -> None:
    with pytest.raises(archive.ArchiveBroken):
        await archive.unpack(stream(b"no tar at all" * 1000), tmp_path, 10_000_000)


async def test_a_receiver_that_goes_away_ends_the_packing(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 5_000_000)
    async with asyncio.timeout(20):
        pieces = archive.packed(archive.folder(tmp_path))
        assert await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]
