"""The pure parts of the Kubernetes engine: pods, what their states say, what an image starts, who we are."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_domain.resources import Resources
from skrei_plugin_api.container_params import DockerParams, Pull
from skrei_plugin_api.engine import FailureCode, Mount, Output, RunRequest
from skrei_plugin_kubernetes import disk
from skrei_plugin_kubernetes import pod as pods
from skrei_plugin_kubernetes.access import NoCluster, find
from skrei_plugin_kubernetes.cluster import Refused
from skrei_plugin_kubernetes.command import ended
from skrei_plugin_kubernetes.images import NothingToRun, Starts, words
from skrei_plugin_kubernetes.secrets import packed, unpack
from skrei_plugin_kubernetes.settings import KubernetesSettings
from skrei_plugin_kubernetes.verdicts import NoRoom, Phase, look, never_ran, refused, waited_too_long


def request(**given: Any) -> RunRequest:
    return RunRequest("e-1", 1, {"Image": "a"}, Path("/work"), **given)


def body(settings: KubernetesSettings | None = None, **given: Any) -> dict[str, Any]:
    made = settings or KubernetesSettings()
    asked = request(**given)
    return pods.pod(asked, DockerParams("a"), ("/bin/x",), pods.lay_out(asked, made.claims), made, node="n-1")


def restricted(spec: dict[str, Any]) -> bool:
    """Whether the restricted profile of Pod Security admits it, as far as these pods touch it."""
    whole = spec["securityContext"]
    each = [one["securityContext"] for one in (*spec["initContainers"], *spec["containers"])]
    return (
        whole.get("runAsNonRoot") is True
        and whole.get("runAsUser") != 0
        and whole["seccompProfile"] == {"type": "RuntimeDefault"}
        and all(one["allowPrivilegeEscalation"] is False for one in each)
        and all(one["capabilities"] == {"drop": ["ALL"]} for one in each)
        and all("hostPath" not in volume for volume in spec["volumes"])
        and not any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    )


def test_pods_are_such_as_restricted_namespaces_admit_unless_the_images_user_is_kept() -> None:
    assert restricted(body()["spec"])
    own = body(KubernetesSettings(user="image"))["spec"]
    assert "runAsUser" not in own["securityContext"]
    assert all(one["securityContext"]["allowPrivilegeEscalation"] is False for one in own["containers"])


def test_a_pod_has_no_account_no_restart_and_the_tasks_limits() -> None:
    spec = body(resources=Resources(cpu_milli=1500, memory_bytes=1 << 20, disk_bytes=7))["spec"]
    run = next(one for one in spec["containers"] if one["name"] == pods.RUN)
    assert (spec["automountServiceAccountToken"], spec["restartPolicy"]) == (False, "Never")
    wanted = {"cpu": "1500m", "memory": str(1 << 20), "ephemeral-storage": "7"}
    assert run["resources"]["limits"] == run["resources"]["requests"] == wanted
    assert {"name": "skrei-out", "emptyDir": {"sizeLimit": "7"}} in spec["volumes"]


@pytest.mark.parametrize(("gpus", "told"), [(0, "void"), (1, None)])
def test_no_job_names_the_gpus_that_its_pod_sees(gpus: int, told: str | None) -> None:
    spec = body(env={"NVIDIA_VISIBLE_DEVICES": "all", "A": "b"}, resources=Resources(gpu=gpus))["spec"]
    run = next(one for one in spec["containers"] if one["name"] == pods.RUN)
    env = {each["name"]: each["value"] for each in run["env"]}
    assert (env["A"], env.get("NVIDIA_VISIBLE_DEVICES")) == ("b", told)


@given(st.integers(1, 1 << 40), st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(1, 10_000)), max_size=5))
def test_inputs_and_streams_are_no_part_of_a_programs_disk(bytes_: int, inputs: list[tuple[int, int]]) -> None:
    """A cluster evicts a pod whose containers and volumes take more than its containers may together."""
    asked = request(resources=Resources(disk_bytes=bytes_))
    layout = pods.Layout(sent_bytes=disk.taken(inputs))
    spec = pods.pod(asked, DockerParams("a"), ("/bin/x",), layout, KubernetesSettings(), node="n")["spec"]
    both = [one["resources"] for one in spec["containers"]]
    may = sum(int(one["limits"]["ephemeral-storage"]) for one in both)
    assert may - bytes_ >= sum(size for size, _ in inputs) + 2 * asked.max_stream_bytes
    assert all(int(one["requests"][name]) <= int(one["limits"][name]) for one in both for name in [disk.RESOURCE])


def test_a_program_cannot_put_another_in_the_place_of_our_runner() -> None:
    """It would be run beside it, and in `keep`, with the cluster's network."""
    spec = body(network="None")["spec"]
    runners = [
        [one for one in container["volumeMounts"] if one["mountPath"] == pods.RUNNER]
        for container in (*spec["initContainers"], *spec["containers"])
    ]
    fixed = {"name": "skrei", "mountPath": pods.RUNNER, "subPath": "run", "readOnly": True}
    assert runners == [[], [fixed], [fixed]], "it is brought by the first"


def test_without_a_bound_on_disk_a_pod_has_one_for_result_paths_alone() -> None:
    spec = body(max_output_bytes=1000)["spec"]
    assert all(disk.RESOURCE not in one["resources"]["limits"] for one in spec["containers"])
    (room,) = (one["emptyDir"] for one in spec["volumes"] if one["name"] == "skrei-out")
    assert int(room["sizeLimit"]) > 2000


def test_an_input_is_measured_with_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/deep/file").write_bytes(b"12345")
    size, count = disk.measured(tmp_path / "in")
    assert (size >= 5, count) == (True, 3)
    assert disk.measured(tmp_path / "in/deep/file") == (5, 1)
    assert disk.measured(tmp_path / "gone") == (0, 0)
    (tmp_path / "link").symlink_to("in/deep/file")
    assert disk.measured(tmp_path / "link") == (5, 1), "what it leads to is what is sent"


@given(st.text(max_size=40))
def test_a_text_reaches_the_program_as_it_was(text: str) -> None:
    """By the rules of Kubernetes: `$$` is `$`, `$(NAME)` is replaced, any other `$` stays."""
    said, at, out = pods.verbatim(text), 0, ""
    while at < len(said):
        if said[at] == "$":
            assert said[at : at + 2] == "$$"
            out, at = out + "$", at + 2
        else:
            out, at = out + said[at], at + 1
    assert out == text


@given(st.text(min_size=1, max_size=300), st.text(max_size=300), st.integers(1, 10_000))
def test_names_and_labels_are_such_as_clusters_take(node: str, execution: str, start: int) -> None:
    name = pods.pod_name(node, execution, start)
    assert len(name) <= 253
    assert name.strip("abcdefghijklmnopqrstuvwxyz0123456789-") == ""
    assert not name.startswith("-")
    assert not name.endswith("-")
    assert len(pods.label(execution or "x")) <= 63


def test_two_nodes_in_one_namespace_have_pods_of_their_own() -> None:
    assert pods.pod_name("n-1", "e-1", 1) != pods.pod_name("n-2", "e-1", 1)
    assert pods.pod_name("n-1", "e-1", 1) != pods.pod_name("n-1", "e-1", 2)


def test_what_lies_on_a_claim_is_mounted_and_all_else_is_sent() -> None:
    mounts = (Mount(Path("/data/books"), "/in"), Mount(Path("/other"), "/b"), Mount(Path("/data"), "rw", True))
    layout = pods.lay_out(request(mounts=mounts, outputs=(Output("o", "/out"),)), {"/data": "books"})
    assert layout.sent == (("1", Path("/other")),)
    assert [(one["mountPath"], one.get("subPath"), one["readOnly"]) for one in layout.mounts] == [
        ("/in", "books", True),
        ("/b", "1", True),
        ("/rw", None, False),
        ("/out", "0", False),
    ]
    assert [volume["persistentVolumeClaim"]["claimName"] for volume in layout.volumes] == ["books"]


def test_an_input_to_be_written_in_place_needs_a_claim_and_the_message_says_which_option() -> None:
    layout = pods.lay_out(request(mounts=(Mount(Path("/data"), "/in", True),)), {})
    assert "kubernetes_volumes" in layout.refused


def test_a_pull_policy_is_what_the_job_says() -> None:
    given = request()
    for pull, told in ((Pull.MISSING, "IfNotPresent"), (Pull.ALWAYS, "Always"), (Pull.NEVER, "Never")):
        made = pods.pod(
            given, DockerParams("a", pull=pull), ("x",), pods.Layout(), KubernetesSettings(), node="n", owner=None
        )
        assert made["spec"]["containers"][0]["imagePullPolicy"] == told


@pytest.mark.parametrize(
    ("params", "image", "found"),
    [
        (DockerParams("a", ("x",), ("y",)), None, ("x", "y")),
        (DockerParams("a", ("x",)), None, ("x",)),
        (DockerParams("a", None, ("y",)), Starts(("e",), ("c",)), ("e", "y")),
        (DockerParams("a"), Starts(("e",), ("c",)), ("e", "c")),
        (DockerParams("a", ("",), ("y",)), None, ("y",)),
    ],
)
def test_the_program_is_found_by_dockers_rules(params: DockerParams, image: Starts | None, found: object) -> None:
    assert words(params, image) == found


def test_an_image_without_a_program_says_where_to_name_one() -> None:
    with pytest.raises(NothingToRun, match="names no program"):
        words(DockerParams("a"), Starts())


def pod(run: dict[str, Any] | None = None, stage: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    statuses = [{"name": "run", "imageID": "r@sha256:1", "state": run}] if run else []
    first = [{"name": "stage", "state": stage}] if stage else []
    spec = {"containers": [{"name": "run", "image": "the/image"}], "initContainers": []}
    return {"spec": spec, "status": {"containerStatuses": statuses, "initContainerStatuses": first, **status}}


def test_the_states_of_a_pod_as_clusters_tell_them() -> None:
    assert look(pod()).phase is Phase.WAITING
    assert look(pod(stage={"running": {}})).phase is Phase.STAGING
    assert look(pod(run={"running": {}}, stage={"terminated": {"exitCode": 0}})).phase is Phase.RUNNING
    over = look(pod(run={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}))
    assert (over.phase, over.code, over.oom, over.image) == (Phase.ENDED, 137, True, "r@sha256:1")


@pytest.mark.parametrize(
    ("waiting", "code"),
    [
        ({"reason": "ErrImagePull", "message": "manifest unknown"}, FailureCode.IMAGE_UNAVAILABLE),
        ({"reason": "ImagePullBackOff", "message": "401 unauthorized"}, FailureCode.IMAGE_UNAVAILABLE),
        ({"reason": "InvalidImageName", "message": "x"}, FailureCode.IMAGE_UNAVAILABLE),
        ({"reason": "ErrImageNeverPull", "message": "x"}, FailureCode.IMAGE_UNAVAILABLE),
        ({"reason": "CreateContainerError", "message": "mkdir /a: not a directory"}, FailureCode.INPUT_INVALID),
        ({"reason": "CreateContainerConfigError", "message": "x"}, FailureCode.CONTAINER_REFUSED),
    ],
)
def test_what_never_will_run_is_a_failure_at_once(waiting: dict[str, str], code: FailureCode) -> None:
    state = look(pod(run={"waiting": waiting}))
    assert state.failure is not None
    assert (state.phase, state.failure.code) == (Phase.FAILED, code)
    assert waiting["message"] in state.failure.message


def test_a_registry_that_is_away_is_waited_for_and_then_told() -> None:
    state = look(pod(run={"waiting": {"reason": "ErrImagePull", "message": "i/o timeout"}}))
    assert state.phase is Phase.WAITING
    assert "the/image" in waited_too_long(state, 60).message


def test_a_pod_without_room_waits_and_is_tried_elsewhere_after_that() -> None:
    conditions = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient memory"}]
    error = waited_too_long(look(pod(conditions=conditions)), 60)
    assert isinstance(error, NoRoom)
    assert error.retryable
    assert "Insufficient memory" in error.message


def test_an_eviction_is_the_programs_doing_only_where_it_wrote_too_much() -> None:
    much = look(pod(phase="Failed", reason="Evicted", message='Usage of EmptyDir volume "skrei-out" exceeds the limit'))
    away = look(pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory"))
    assert much.failure is not None
    assert away.failure is not None
    assert (much.failure.code, away.failure.code) == (FailureCode.DISK_LIMIT_EXCEEDED, FailureCode.ENGINE_LOST)


def test_a_quota_passes_and_other_refusals_say_what_to_do() -> None:
    with pytest.raises(NoRoom):
        refused(Refused(403, 'pods "x" is forbidden: exceeded quota: q'))
    assert "kubernetes_user" in refused(Refused(403, 'violates PodSecurity "restricted:latest"')).message
    assert "docs/KUBERNETES.md" in refused(Refused(403, "cannot create resource pods")).message
    twice = refused(Refused(422, 'mountPath: Invalid value: "/in": must be unique'))
    assert twice.code is FailureCode.INPUT_INVALID


def test_a_program_that_never_ran_is_told_from_one_that_ended_so() -> None:
    found = never_ran(127, b"exec nope: No such file or directory\n")
    assert found is not None
    assert found.code is FailureCode.EXECUTABLE_INVALID
    assert never_ran(127, b"sh: nope: not found\n") is None
    assert never_ran(1, b"exec nope: No such file or directory\n") is None


def test_the_end_of_a_command_is_read_from_its_status() -> None:
    assert ended(b'{"status":"Success"}') == (0, "")
    causes = [{"reason": "ExitCode", "message": "7"}]
    assert ended(json.dumps({"status": "Failure", "message": "m", "details": {"causes": causes}}).encode()) == (7, "m")
    assert ended(b"no json")[0] == -1


def test_a_pods_account_and_a_kubeconfig_are_found_and_what_is_neither_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoCluster) as error:
        find("", {}, tmp_path)
    assert "kubernetes_config" in error.value.hint
    for name, text in (("token", "t\n"), ("namespace", "ns"), ("ca.crt", "")):
        (tmp_path / name).write_text(text)
    access = find("", {"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": "6443"}, tmp_path)
    assert (access.server, access.namespace) == ("https://[::1]:6443", "ns")
    (tmp_path / "token").write_text("renewed")
    assert access.headers() == {"Authorization": "Bearer renewed"}
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "jobs"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://k:1/"}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    found = find(str(tmp_path / "config"))
    assert (found.server, found.namespace, "secret" in repr(found)) == ("https://k:1", "jobs", False)
    (tmp_path / "config").write_text("{}")
    with pytest.raises(NoCluster, match="cannot be used"):
        find(str(tmp_path / "config"))


def test_options_are_read_and_wrong_ones_refused() -> None:
    read = KubernetesSettings.from_options
    assert read({"kubernetes_volumes": "/data=books /x/=y"}).claims == {"/data": "books", "/x": "y"}
    for wrong in ({"kubernetes_user": "root"}, {"kubernetes_closed": "no"}, {"kubernetes_start_seconds": "soon"}):
        with pytest.raises(ValueError):
            read(wrong)


def test_a_folder_of_keys_survives_the_way_through_a_secret_for_its_user_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/key.pem").write_bytes(b"\x00secret\xff")
    (tmp_path / "a/below").mkdir()
    unpack(packed(tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "b/key.pem").read_bytes() == b"\x00secret\xff"
    assert ((tmp_path / "b/key.pem").stat().st_mode & 0o777, (tmp_path / "b").stat().st_mode & 0o777) == (0o600, 0o700)
    assert packed(tmp_path / "nowhere") == {}
    unpack(None, tmp_path / "c")
    assert not (tmp_path / "c").exists()
