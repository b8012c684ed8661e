"""The chart as helm renders it: valid by its own schema, pods that restricted namespaces admit, doors that are shut."""

import json
import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.environment import ROOT
from scripts.tools import FOLDER

CHART = ROOT / "helm/skrei"
FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # megabytes of YAML are read here
HELM = shutil.which("helm", path=str(FOLDER)) or shutil.which("helm")
EVERYTHING = (
    *("api.autoscaling.enabled=true", "ingress.enabled=true", "ingress.apiHost=a.test", "ingress.resultsHost=r.test"),
    *("gateway.enabled=true", "gateway.name=g", "gateway.apiHost=a.test", "gateway.resultsHost=r.test"),
    *("serviceMonitor.enabled=true", "agents.docker.enabled=true", "agents.kubernetes.autoscaling.enabled=true"),
    *("nats.websocket.enabled=true", "ingress.natsHost=n.test", "gateway.natsHost=n.test"),
    *("nats.leaf.enabled=true", "nats.leaf.hub=tls://n.test:7422", "nats.leaf.sites.farm={farm.lan,10.1.0.1}"),
)
OUTSIDE = ("nats.bundled=false", "nats.external.url=tls://n.test:4222")

pytestmark = pytest.mark.skipif(HELM is None, reason="no helm here: `make tools` builds it")


def helm(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(HELM), *words], capture_output=True, text=True, check=False, timeout=60)


@lru_cache
def rendered(*values: str) -> tuple[dict[str, Any], ...]:
    flags = [flag for value in values for flag in ("--set", value)]
    done = helm("template", "skrei", str(CHART), "--namespace", "n", "--kube-version", "1.34.0", *flags)
    assert done.returncode == 0, done.stderr
    return tuple(one for one in yaml.load_all(done.stdout, FAST) if one)


def pods(*values: str) -> dict[str, dict[str, Any]]:
    found = {}
    for one in rendered(*values):
        spec = one["spec"] if one["kind"] == "Pod" else one.get("spec", {}).get("template", {}).get("spec")
        if isinstance(spec, dict) and "containers" in spec:
            found[one["metadata"]["name"]] = spec
    return found


def restricted(spec: dict[str, Any]) -> bool:
    whole = spec["securityContext"]
    each = [one["securityContext"] for one in (*spec.get("initContainers", ()), *spec["containers"])]
    return (
        whole.get("runAsNonRoot") is True
        and whole["seccompProfile"] == {"type": "RuntimeDefault"}
        and all(one["allowPrivilegeEscalation"] is False for one in each)
        and all(one["capabilities"] == {"drop": ["ALL"]} and one["readOnlyRootFilesystem"] for one in each)
        and not any("hostPath" in volume for volume in spec.get("volumes", ()))
    )


def test_it_has_no_faults_that_helm_knows_of() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


def test_all_pods_are_such_as_restricted_namespaces_admit_but_the_docker_agents() -> None:
    found = {name: restricted(spec) for name, spec in pods(*EVERYTHING).items()}
    assert [name for name, fine in found.items() if not fine] == ["skrei-agent-docker"]
    assert len(found) >= 9


def test_only_agents_with_pods_and_the_keeper_of_keys_have_an_account() -> None:
    have = {name for name, spec in pods().items() if spec.get("automountServiceAccountToken") is not False}
    assert have == {"skrei-agent-kubernetes", "skrei-keys", "skrei-forget-keys"}


def test_no_pod_is_told_of_services_by_variables_that_are_settings_of_ours() -> None:
    assert [name for name, spec in pods(*EVERYTHING).items() if spec.get("enableServiceLinks") is not False] == []


def test_probes_reach_what_they_ask() -> None:
    """Images listen on loopback, where no kubelet comes."""
    asked = [one for spec in pods(*EVERYTHING).values() for one in spec["containers"]
             if any(port.get("name") == "health" for port in one.get("ports", ()))]  # fmt: skip
    assert len(asked) >= 6
    for one in asked:
        told = {each["name"]: each.get("value") for each in one["env"]}
        assert told["SKREI_HEALTH_LISTEN"] == "0.0.0.0:1236"


def test_nothing_is_published_unless_somebody_says_so() -> None:
    kinds = {one["kind"] for one in rendered()}
    assert not kinds & {"Ingress", "HTTPRoute", "ServiceMonitor", "HorizontalPodAutoscaler"}
    assert {one["spec"].get("type", "ClusterIP") for one in rendered() if one["kind"] == "Service"} == {"ClusterIP"}
    assert {"Ingress", "HTTPRoute", "ServiceMonitor", "HorizontalPodAutoscaler"} <= {
        one["kind"] for one in rendered(*EVERYTHING)
    }


WAYS = "tls://nats.example.org:30422\\,tls://198.51.100.7:4222\\,wss://ws.example.org"
EDGE = (
    f"nats.publicUrl={WAYS}", "nats.service.type=NodePort", "nats.service.nodePort=30422",
    "nats.websocket.enabled=true", "api.url=https://a.test", "api.resultsUrl=https://r.test",
    "publisher.service.type=LoadBalancer", "ingress.enabled=true", "ingress.apiHost=a.test",
    "ingress.resultsHost=r.test", "ingress.natsHost=ws.example.org", "ingress.tlsSecret=t",
)  # fmt: skip
"""What lets nodes outside of the cluster in, by every way."""


def variables(pod: dict[str, Any]) -> dict[str, str]:
    every = (*pod.get("initContainers", ()), *pod["containers"])
    return {each["name"]: each.get("value", "") for one in every for each in one.get("env", ())}


def test_nodes_outside_are_told_a_way_in_that_is_open_and_named_by_the_certificate() -> None:
    assert variables(pods(*EDGE)["skrei-api"])["SKREI_NATS_PUBLIC_URL"] == WAYS.replace("\\", "")
    assert "SKREI_NATS_PUBLIC_URL" not in variables(pods()["skrei-api"])
    hosts = variables(pods()["skrei-keys"])["SKREI_NATS_HOSTS"]
    named = variables(pods(*EDGE)["skrei-keys"])["SKREI_NATS_HOSTS"]
    assert named == f"{hosts},nats.example.org,198.51.100.7", "TLS of a WebSocket is the ingress'"
    found = {(one["kind"], one["metadata"]["name"]): one["spec"] for one in rendered(*EDGE) if "spec" in one}
    assert (found["Service", "skrei-nats"]["type"], found["Service", "skrei-nats"]["ports"]) == (
        "NodePort", [{"name": "nats", "port": 4222, "targetPort": "nats", "nodePort": 30422}],
    )  # fmt: skip
    assert found["Service", "skrei-publisher"]["type"] == "LoadBalancer"
    assert found["NetworkPolicy", "skrei-nats"]["ingress"] == [{"ports": [{"port": 4222}]}, {"ports": [{"port": 8080}]}]
    backends = {
        one["host"]: one["http"]["paths"][0]["backend"]["service"] for one in found["Ingress", "skrei"]["rules"]
    }
    assert backends["ws.example.org"] == {"name": "skrei-nats-websocket", "port": {"number": 8080}}
    assert set(found["Ingress", "skrei"]["tls"][0]["hosts"]) == set(backends)
    by_gateway = ("gateway.enabled=true", "gateway.name=g", "gateway.apiHost=a.test", "gateway.resultsHost=r.test",
                  "nats.websocket.enabled=true", "gateway.natsHost=ws.test")  # fmt: skip
    routes = {one["metadata"]["name"] for one in rendered(*by_gateway) if one["kind"] == "HTTPRoute"}
    assert routes == {"skrei-api", "skrei-publisher", "skrei-nats-websocket"}


def test_sites_come_in_where_it_is_asked_for_by_a_server_that_the_certificate_names() -> None:
    leaf = (
        *("nats.leaf.enabled=true", "nats.leaf.hub=tls://hub.test:30742", "nats.leaf.nodePort=30742"),
        *("nats.service.type=NodePort", "nats.leaf.sites.ship={ship.lan}", "nats.leaf.sites.farm={farm.lan,10.1.0.1}"),
    )

    def config(*values: str) -> str:
        (found,) = (one for one in rendered(*values) if one["kind"] == "ConfigMap")
        return str(found["data"]["nats.conf"])

    assert "leafnodes" not in config()
    assert 'leafnodes { listen: "0.0.0.0:7422"' in config(*leaf)
    assert "domain: skrei" in config(*leaf), "what its nodes ask of streams comes under that name"
    told = variables(pods(*leaf)["skrei-keys"])
    assert told["SKREI_SITES"] == "farm=farm.lan+10.1.0.1,ship=ship.lan"
    assert told["SKREI_NATS_HOSTS"].endswith(",hub.test")
    gone = variables(pods(*leaf, "nats.leaf.sites.ship=null")["skrei-keys"])
    assert gone["SKREI_SITES"] == "farm=farm.lan+10.1.0.1"
    assert "SKREI_SITES" not in variables(pods()["skrei-keys"])
    assert variables(pods()["skrei-keys"])["SKREI_SITES_ARCHIVES"] == "true", "who is not named is let in no more"
    (service,) = (one for one in rendered(*leaf) if (one["kind"], one["metadata"]["name"]) == ("Service", "skrei-nats"))
    assert {"name": "leaf", "port": 7422, "targetPort": "leaf", "nodePort": 30742} in service["spec"]["ports"]


def test_each_node_is_told_the_door_of_results_as_it_reaches_it() -> None:
    inside = "http://skrei-publisher:1235"
    for values, told in ((EDGE, "https://r.test"), ((), inside), (("api.resultsUrl=https://r.test",), inside)):
        assert variables(pods(*values)["skrei-scheduler"])["SKREI_PUBLISHER_URL"] == told
        for agent in ("skrei-agent-wasm", "skrei-agent-kubernetes"):
            assert variables(pods(*values)[agent])["SKREI_PUBLISHER_URL"] == inside


def test_nats_starts_again_where_it_says_that_it_cannot_store() -> None:
    (container,) = pods()["skrei-nats"]["containers"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}


def test_nats_starts_again_for_other_hosts_or_ports_and_for_nothing_else() -> None:
    def listens(*values: str) -> str:
        (found,) = (
            one for one in rendered(*values) if one["kind"] == "StatefulSet" and "nats" in one["metadata"]["name"]
        )
        return str(found["spec"]["template"]["metadata"]["annotations"]["skrei/listens"])

    public = ("nats.publicUrl=tls://n.test:4222", "api.url=https://a.test", "api.resultsUrl=https://r.test")
    assert len({listens(), listens(*public), listens("nats.websocket.enabled=true")}) == 3
    assert listens("logLevel=debug", "nats.service.type=LoadBalancer") == listens()


def test_what_the_api_says_of_itself_is_for_the_cluster_alone() -> None:
    for kind in ("NodePort", "LoadBalancer"):
        (service,) = (one["spec"] for one in rendered(f"api.service.type={kind}", "api.service.nodePort=30123")
                      if one["kind"] == "Service" and one["metadata"]["name"] == "skrei-api")  # fmt: skip
        assert service["ports"] == [{"name": "api", "port": 1234, "targetPort": "api", "nodePort": 30123}]


def test_every_secret_that_is_mounted_is_one_that_the_keeper_of_keys_makes() -> None:
    from skrei_plugin_kubernetes.secrets import NAMES

    mounted = {
        volume["secret"]["secretName"] for spec in pods().values() for volume in spec["volumes"] if "secret" in volume
    }
    assert mounted <= {f"skrei-keys-{name}" for name in NAMES}


def in_space(kind: str, space: str, *values: str) -> list[dict[str, Any]]:
    return [one for one in rendered(*values) if one["kind"] == kind and one["metadata"].get("namespace", "n") == space]


def test_who_takes_the_agent_whose_jobs_are_pods_gets_at_nothing_where_the_keys_are() -> None:
    ruled = {name for one in in_space("Role", "n") for rule in one["rules"] for name in rule["resources"]}
    assert ruled == {"secrets"}, "the keeper of keys' alone"
    (space,) = (one for one in rendered() if one["kind"] == "Namespace")
    assert space["metadata"]["name"] == "n-jobs"
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    (role,) = in_space("Role", "n-jobs")
    assert {name for rule in role["rules"] for name in rule["resources"]} == {"pods", "pods/exec"}
    (binding,) = in_space("RoleBinding", "n-jobs")
    assert [(one["name"], one["namespace"]) for one in binding["subjects"]] == [("skrei-agent-kubernetes", "n")]
    (agent,) = pods()["skrei-agent-kubernetes"]["containers"]
    (options,) = (one["value"] for one in agent["env"] if one["name"] == "SKREI_PLUGIN_OPTIONS")
    assert "kubernetes_namespace=n-jobs," in options


def test_the_namespace_of_jobs_admits_what_their_user_needs_and_is_made_where_none_is_named() -> None:
    (space,) = (one for one in rendered("agents.kubernetes.pods.user=image") if one["kind"] == "Namespace")
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"
    named = "agents.kubernetes.pods.namespace=theirs"
    assert [one for one in rendered(named) if one["kind"] == "Namespace"] == []
    assert len(in_space("Role", "theirs", named)) == 1
    assert [one for one in rendered("agents.kubernetes.enabled=false") if one["kind"] == "Namespace"] == []


def test_pods_of_jobs_reach_no_address_where_clouds_give_machines_their_credentials() -> None:
    rules = [one["spec"] for one in in_space("NetworkPolicy", "n-jobs") if "Egress" in one["spec"]["policyTypes"]]
    closed, opened = sorted(rules, key=lambda spec: "egress" in spec)
    assert closed["podSelector"] == {"matchLabels": {"skrei.network": "none"}}
    assert opened["podSelector"] == {"matchLabels": {"skrei.network": "open"}}, "rules add up: never for closed ones"
    blocks = [to["ipBlock"] for to in opened["egress"][0]["to"] if "ipBlock" in to]
    assert {block["cidr"]: set(block["except"]) for block in blocks} == {
        "0.0.0.0/0": {"169.254.0.0/16", "100.100.100.200/32"},
        "::/0": {"fe80::/10", "fd00:ec2::254/128"},
    }


def test_a_docker_agent_keeps_what_it_knows_of_containers_that_outlive_its_pod() -> None:
    on, path = "agents.docker.enabled=true", "agents.docker.dataPath=/srv/skrei"
    for values, folder in (((on,), "/var/lib/skrei-agents/n-skrei-docker"), ((on, path), "/srv/skrei")):
        (data,) = (one for one in pods(*values)["skrei-agent-docker"]["volumes"] if one["name"] == "data")
        assert data == {"name": "data", "hostPath": {"path": folder, "type": "DirectoryOrCreate"}}


@pytest.mark.parametrize(("works_at", "code", "tries"), [(3, 0, 3), (1000, 1, 60)])
def test_a_record_that_cannot_be_made_is_told_and_not_tried_for_ever(
    tmp_path: Path, works_at: int, code: int, tries: int
) -> None:
    (first,) = pods()["skrei-scheduler"]["initContainers"]
    assert first["terminationMessagePolicy"] == "FallbackToLogsOnError"
    (tmp_path / "python").write_text(f"""#!/bin/sh
echo x >> {tmp_path}/tries
echo "no such revision" >&2
[ "$(wc -l < {tmp_path}/tries)" -ge {works_at} ]
""")
    (tmp_path / "date").write_text(f"#!/bin/sh\ncat {tmp_path}/tries 2>/dev/null | wc -l\n")  # a second for each try
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    for name in ("python", "date", "sleep"):
        (tmp_path / name).chmod(0o755)
    told = {"PATH": f"{tmp_path}:{os.defpath}"}
    done = subprocess.run(first["command"], env=told, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (code, "no such revision")
    assert len((tmp_path / "tries").read_text().splitlines()) == tries


def test_an_agent_waits_for_the_api_only_where_it_never_joined(tmp_path: Path) -> None:
    (first,) = pods()["skrei-agent-wasm"]["initContainers"]
    shell, flag, script = first["command"]
    (tmp_path / "python").write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\n")
    (tmp_path / "python").chmod(0o755)
    joined = tmp_path / "keys/joined.json"
    near = script.replace("/var/lib/skrei/", f"{tmp_path}/")
    assert near != script
    for asked in (True, False):
        subprocess.run([shell, flag, near], env={"PATH": f"{tmp_path}:{os.defpath}"}, check=True, timeout=30)
        assert (tmp_path / "asked").exists() == asked
        (tmp_path / "asked").unlink(missing_ok=True)
        joined.parent.mkdir(exist_ok=True)
        joined.touch()
    compile(script.partition("-c '")[2].rstrip("'\n"), "wait", "exec")


def test_what_the_owner_is_told_of_keys_names_this_release_and_no_variable_of_kubernetes() -> None:
    (api,) = (one for one in pods(*OUTSIDE)["skrei-api"]["containers"] if one["name"] == "orchestrator-api")
    told = {one["name"]: one.get("value", "") for one in api["env"]}
    for hint in (told["SKREI_ROTATE_HINT"], told["SKREI_REVOKE_HINT"]):
        assert "kubectl -n n patch secret skrei-keys-" in hint
        assert hint.count("--patch-file /dev/stdin") == 1
        assert re.search(r"(?<!\$)\$\(", hint) is None, "Kubernetes would look for a variable of that name"
    assert "{keys}" in told["SKREI_REVOKE_HINT"]
    assert "SKREI_REVOKED_KEYS_ASKED" not in told
    assert "skrei-keep-out" not in pods(*OUTSIDE), "it could tell a server of somebody else nothing"


def test_the_releases_own_nats_hears_which_keys_are_revoked_and_leaves_nothing_to_do() -> None:
    told = variables(pods()["skrei-api"])
    assert (told["SKREI_REVOKED_KEYS_ASKED"], "SKREI_REVOKE_HINT" in told) == ("true", False)
    assert variables(pods()["skrei-keys"])["SKREI_NATS_ACCOUNTS_FOLDER"] == "/var/lib/nats/accounts"
    assert "SKREI_NATS_ACCOUNTS_FOLDER" not in variables(pods(*OUTSIDE)["skrei-keys"])
    founders = {
        name: volume["secret"]["items"]
        for name, spec in pods(*EVERYTHING).items()
        for volume in spec["volumes"]
        if volume.get("secret", {}).get("secretName") == "skrei-keys-founder"
    }
    assert set(founders) == {"skrei-keep-out"}, "nobody else has what signs the cluster"
    assert {one["key"] for one in founders["skrei-keep-out"]} == {
        "authority.json", "trust.conf", "nats-ca.pem", "internal.token",
    }  # fmt: skip


KUBECTL = """#!/bin/sh
case "$*" in *" get secret "*) printf 'UHAND %s\\n' "$HAND" | base64; exit;; esac
{ echo "$*"; cat; echo; } >> "$SAID"
"""


def test_what_the_owner_is_told_takes_no_revoked_key_away_and_shows_no_token_among_arguments(tmp_path: Path) -> None:
    (api,) = (one for one in pods(*OUTSIDE)["skrei-api"]["containers"] if one["name"] == "orchestrator-api")
    told = {one["name"]: (one.get("value") or "").replace("$$(", "$(") for one in api["env"]}
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "openssl").write_text("#!/bin/sh\necho ab12\n")
    for name in ("kubectl", "openssl"):
        (tmp_path / name).chmod(0o755)
    by_hand, known = "U" + "H" * 55, "U" + "A" * 55
    environment = {"PATH": f"{tmp_path}:{os.defpath}", "SAID": str(tmp_path / "said"), "HAND": f"{by_hand}\n{known}"}

    def said(hint: str, command: str) -> list[str]:
        (tmp_path / "said").unlink(missing_ok=True)
        found = re.search(command, hint)
        assert found is not None, hint
        subprocess.run(["sh", "-c", found[1]], env=environment, check=True, timeout=30)
        return (tmp_path / "said").read_text().splitlines()

    revoke = told["SKREI_REVOKE_HINT"].replace("{keys}", f"{known} U{'B' * 55}")
    call, body = said(revoke, r"(keys=.*/dev/stdin); then")
    assert call == "-n n patch secret skrei-keys-orchestrator-api --patch-file /dev/stdin"
    assert json.loads(body)["stringData"]["revoked"].split() == [known, f"U{'B' * 55}", by_hand]
    rotated = said(told["SKREI_ROTATE_HINT"], r"(token=.*; done);")
    assert [json.loads(body) for body in rotated[1::2]] == [{"stringData": {"join.token": "ab12"}}] * 2
    assert [call.split()[4] for call in rotated[::2]] == ["skrei-keys-orchestrator-api", "skrei-keys-compute-agent"]
    assert "ab12" not in "".join(rotated[::2])


def test_the_scaling_signal_is_what_the_leader_tells() -> None:
    scalers = [one for one in rendered(*EVERYTHING) if one["kind"] == "HorizontalPodAutoscaler"]
    names = {metric["external"]["metric"]["name"] for one in scalers for metric in one["spec"]["metrics"]
             if metric["type"] == "External"}  # fmt: skip
    assert names == {"skrei_waiting_cpu_cores"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("api.replica=3", "replica"),
        ("agents.wasm.kind=Deployment", "kind"),
        ("logLevel=loud", "logLevel"),
        ("settings.retention=1d", "SKREI_"),
        ("postgres.bundled=false", "postgres.external.secret"),
        ("nats.bundled=false", "nats.external.url"),
        ("nats.publicUrl=nats.example.org", "publicUrl"),
        ("nats.publicUrl=tls://n.test:4222", "api.url"),
        ("nats.publicUrl=tls://n.test:4222,api.url=https://a.test", "api.resultsUrl"),
        ("nats.publicUrl=wss://n.test,api.url=https://a.test,api.resultsUrl=https://r.test", "nats.websocket.enabled"),
        ("ingress.natsHost=n.test", "nats.websocket.enabled"),
        ("nats.service.nodePort=70000", "nodePort"),
        ("nats.leaf.enabled=true", "nats.leaf.hub"),
        ("nats.leaf.sites.Farm={farm.lan}", "Farm"),
        ("agents.kubernetes.pods.namespace=default", "agents.kubernetes.pods.namespace: default is the release's own"),
        ("agents.docker.dataPath=here", "dataPath"),
        ("networkPolicies.jobsNever={everything}", "jobsNever"),
    ],
)
def test_wrong_values_are_refused_by_name(value: str, said: str) -> None:
    done = helm("template", "skrei", str(CHART), "--kube-version", "1.34.0", "--set", value)
    assert done.returncode != 0
    assert said in done.stderr


def test_the_schema_knows_every_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(yaml.safe_load((CHART / "values.yaml").read_text())) <= set(schema["properties"])


def schemas() -> Path:
    return ROOT / ".cache/kubernetes-schemas"


@pytest.mark.skipif(not (FOLDER / "kubeconform").exists() or not schemas().exists(), reason="`make tools` builds it")
def test_what_it_renders_fits_kubernetes_own_schemas() -> None:
    documents = "\n---\n".join(map(json.dumps, rendered(*EVERYTHING)))
    done = subprocess.run(
        [FOLDER / "kubeconform", "-strict", "-summary", "-skip", "HTTPRoute,ServiceMonitor", "-schema-location",
         f"{schemas()}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", "-"],
        input=documents, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "Invalid: 0, Errors: 0" in done.stdout
