"""A real Kubernetes of one node of the tests' own: in a network namespace, with an own containerd and folder.

Its programs come from `make tools-k8s`; etcd, containerd, runc and the plain network plugins from Debian. Images are
imported, nothing is pulled. `python -m tests.support.kubernetes_node` keeps one until it is interrupted, for people.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.environment import ROOT
from tests.support.docker_daemon import busybox_root

PROGRAMS = ROOT / ".cache/kubernetes"
NETWORK_PLUGINS = Path("/usr/lib/cni")
NEEDED = (
    *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubeadm", "coredns"),
    "traefik",
)
DEBIAN = {"etcd": "etcd-server", "containerd": "containerd", "runc": "runc", "ip": "iproute2", "iptables": "iptables"}
START_SECONDS = 180.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.2
BUSYBOX = "skrei.test/busybox:1"
PAUSE = "skrei.test/pause:1"
NODE = "node-1"
DNS = "10.96.0.10"
CLASS = "by-hand"
"""The class of the volumes that `volume` makes: nothing provisions here."""


def why_no_kubernetes() -> str:
    """Why no Kubernetes can be had here; empty when it can."""
    if os.geteuid() != 0:
        return "a kubelet wants root"
    if missing := [tool for tool in NEEDED if not (PROGRAMS / tool).exists()]:
        return f"not built: {', '.join(missing)} (`make tools-k8s`, ten minutes)"
    packages = [package for tool, package in DEBIAN.items() if shutil.which(tool, path=_PATH) is None]
    packages += [] if (NETWORK_PLUGINS / "ptp").exists() else ["containernetworking-plugins"]
    packages += [] if shutil.which("busybox") else ["busybox-static"]
    return f"not installed: {', '.join(packages)} (Debian's names)" if packages else ""


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass
class KubernetesNode:
    """A cluster that runs, and its command line."""

    folder: Path
    name: str
    number: int
    others: frozenset[str] = frozenset()
    """Networks of pods that were there before."""
    processes: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"10.213.{self.number}.2"

    @property
    def door(self) -> str:
        """Its node, as this machine reaches it: where ports of all nodes are."""
        server = self.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
        return server.removeprefix("https://").rpartition(":")[0]

    @property
    def host(self) -> str:
        """This machine, as pods reach it."""
        return f"{self.door.rpartition('.')[0]}.1"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kube/super-admin.conf"

    @property
    def config(self) -> Path:
        """A kubeconfig as JSON, as the engine takes it."""
        path = self.folder / "kube/config.json"
        if not path.exists():
            path.touch(0o600)
            path.write_text(self.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        return path

    # ------------------------------------------------------------ start

    def start(self) -> None:
        """Start all of it, and wait until its node takes pods."""
        self._network()
        self._keys()
        self._spawn("etcd", *self._etcd())
        self._spawn("containerd", "containerd", "--config", str(self._containerd()))
        self._spawn("kube-apiserver", *self._apiserver())
        self._until("the API answers", lambda: self._works("get", "--raw", "/readyz"))
        admins = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "kubeadm:cluster-admins"}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
        self.apply(  # the API itself is one of them, where it asks a kubelet
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "admins"},
             "roleRef": role, "subjects": [admins]}
        )  # fmt: skip
        common = ("--v=0",)
        manager, scheduler = self.folder / "kube/controller-manager.conf", self.folder / "kube/scheduler.conf"
        pki = self.folder / "pki"
        self._spawn(
            "kube-controller-manager", "kube-controller-manager", *common,
            f"--kubeconfig={manager}", f"--authentication-kubeconfig={manager}",
            f"--authorization-kubeconfig={manager}",
            "--use-service-account-credentials=true", f"--service-account-private-key-file={pki}/sa.key",
            f"--root-ca-file={pki}/ca.crt", f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key", "--leader-elect=false", "--bind-address=127.0.0.1",
        )  # fmt: skip
        self._spawn(
            "kube-scheduler", "kube-scheduler", *common, f"--kubeconfig={scheduler}", "--leader-elect=false",
            f"--authentication-kubeconfig={scheduler}", f"--authorization-kubeconfig={scheduler}",
            "--bind-address=127.0.0.1",
        )  # fmt: skip
        self._until("containerd answers", lambda: self._ctr("version", check=False) == 0)
        self.load(PAUSE, archive(busybox_root(), {"Entrypoint": ["/bin/sleep", "2147483647"]}, PAUSE))
        self.load(BUSYBOX, archive(busybox_root(), {"Env": ["PATH=/bin"]}, BUSYBOX))
        self._spawn("kubelet", *self._kubelet())
        self._spawn("kube-proxy", "kube-proxy", f"--config={self._proxy()}", "--v=0")
        self._until("its node is ready", self._ready)
        self._dns()

    def _network(self) -> None:
        here, there = f"{self.name}h"[-15:], f"{self.name}n"[-15:]
        _run("ip", "netns", "add", self.name)
        _run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", self.name)
        _run("ip", "addr", "add", f"10.213.{self.number}.1/24", "dev", here)
        _run("ip", "link", "set", here, "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{self.address}/24", "dev", there),
            ("link", "set", there, "up"),
            ("route", "add", "default", "via", f"10.213.{self.number}.1"),
        ):
            _run("ip", "-n", self.name, *words)
        _run(*self._inside("sysctl", "-q", "-w", "net.ipv4.ip_forward=1"))
        # What pods call beyond the cluster (a database of this machine) sees the node, as behind most networks of pods.
        _run(*self._inside("iptables", "-t", "nat", "-A", "POSTROUTING", "-o", there, "-j", "MASQUERADE"))

    def _keys(self) -> None:
        pki, kube = self.folder / "pki", self.folder / "kube"
        where = (f"--cert-dir={pki}", f"--apiserver-advertise-address={self.address}")
        program = str(PROGRAMS / "kubeadm")
        version = "--kubernetes-version=v1.34.4"
        _run(program, "init", "phase", "certs", "all", *where, version)
        _run(program, "init", "phase", "kubeconfig", "all", *where, version, f"--node-name={NODE}",
             f"--kubeconfig-dir={kube}")  # fmt: skip

    def _etcd(self) -> list[str]:
        url, peers = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        return [
            "etcd", f"--data-dir={self.folder}/etcd", f"--listen-client-urls={url}", f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        ]  # fmt: skip

    def _containerd(self) -> Path:
        own = self.folder / "containerd"
        own.mkdir()
        networks = self.folder / "networks"
        networks.mkdir()
        # Routed, not bridged: answers of services take the way back through their address.
        plugins = [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {"type": "host-local", "dataDir": str(self.folder / "addresses"),
                         "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ]  # fmt: skip
        (networks / "10-ptp.conflist").write_text(
            json.dumps({"cniVersion": "0.5.0", "name": self.name, "plugins": plugins})
        )
        path = own / "config.toml"
        path.write_text(
            textwrap.dedent(f"""
            version = 2
            root = "{own}/root"
            state = "{own}/state"
            [grpc]
              address = "{own}/sock"
            [debug]
              level = "warn"
            [plugins."io.containerd.grpc.v1.cri"]
              sandbox_image = "{PAUSE}"
              restrict_oom_score_adj = true
              [plugins."io.containerd.grpc.v1.cri".cni]
                bin_dir = "{NETWORK_PLUGINS}"
                conf_dir = "{networks}"
              [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
                runtime_type = "io.containerd.runc.v2"
                [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
                  SystemdCgroup = false
            """)
        )
        return path

    def _apiserver(self) -> list[str]:
        pki = self.folder / "pki"
        return [
            "kube-apiserver", f"--advertise-address={self.address}", f"--bind-address={self.address}",
            "--secure-port=6443", "--etcd-servers=http://127.0.0.1:2379", "--service-cluster-ip-range=10.96.0.0/16",
            f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt", "--authorization-mode=Node,RBAC", "--allow-privileged=true",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet-client.key", "--enable-admission-plugins=NodeRestriction",
            f"--service-account-key-file={pki}/sa.pub", f"--service-account-signing-key-file={pki}/sa.key",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--profiling=false",
            "--v=0",
        ]  # fmt: skip

    def _kubelet(self) -> list[str]:
        names = self.folder / "resolv.conf"
        names.write_text("")
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                               "x509": {"clientCAFile": str(self.folder / "pki/ca.crt")}},
            "authorization": {"mode": "Webhook"},
            "clusterDomain": "cluster.local",
            "clusterDNS": [DNS],
            "resolvConf": str(names),
            "containerRuntimeEndpoint": f"unix://{self.folder}/containerd/sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": "/",
            "failSwapOn": False,
            "failCgroupV1": False,
            "enforceNodeAllocatable": [],
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "oomScoreAdj": 0,
            "podLogsDir": str(self.folder / "pod-logs"),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "registerNode": True,
            "syncFrequency": "10s",  # when Secrets that were changed come to pods: a minute is long for tests
        }  # fmt: skip
        path = self.folder / "kubelet.json"
        path.write_text(json.dumps(config))
        return [
            "kubelet", f"--config={path}", f"--kubeconfig={self.folder}/kube/kubelet.conf", "--v=0",
            f"--root-dir={self.folder}/kubelet", f"--node-ip={self.address}", f"--hostname-override={NODE}",
        ]  # fmt: skip

    def _proxy(self) -> Path:
        config = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clusterCIDR": "10.244.0.0/16",
            "hostnameOverride": NODE,
            "bindAddress": self.address,
            "clientConnection": {"kubeconfig": str(self.kubeconfig)},
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "oomScoreAdj": 0,
        }
        path = self.folder / "proxy.json"
        path.write_text(json.dumps(config))
        return path

    def _dns(self) -> None:
        """Serve names beside the node, behind the address that pods ask."""
        core = self.folder / "Corefile"
        core.write_text(
            f"cluster.local:5353 {{\n  bind {self.address}\n  errors\n"
            f"  kubernetes cluster.local {{\n    kubeconfig {self.kubeconfig}\n  }}\n  cache 1\n}}\n"
        )
        self._spawn("coredns", "coredns", "-conf", str(core))
        ports = [{"name": proto.lower(), "port": 53, "targetPort": 5353, "protocol": proto} for proto in ("UDP", "TCP")]
        ends = [{"name": one["name"], "port": 5353, "protocol": one["protocol"]} for one in ports]
        self.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns", "namespace": "kube-system"},
             "spec": {"clusterIP": DNS, "ports": ports}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {"name": "dns-1", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "dns"}},
             "endpoints": [{"addresses": [self.address]}], "ports": ends},
        )  # fmt: skip

    # ------------------------------------------------------------ use

    def kubectl(self, *words: str, data: str | None = None, seconds: float = 60) -> str:
        """Run kubectl as the cluster's owner, and return what it says."""
        command = [str(PROGRAMS / "kubectl"), f"--kubeconfig={self.kubeconfig}", *words]
        done = subprocess.run(command, input=data, capture_output=True, text=True, check=False, timeout=seconds)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        """Make objects, or change them."""
        self.kubectl("apply", "-f", "-", data="\n---\n".join(map(json.dumps, objects)))

    def listed(self, kind: str, *words: str) -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        return list(json.loads(self.kubectl("get", kind, "-o", "json", *words))["items"])

    def load(self, name: str, image: bytes | Path) -> None:
        """Import an image, as `docker save` writes one."""
        if isinstance(image, Path):
            assert self._ctr("images", "import", "--local", str(image), check=False) == 0 or not self._ctr(
                "images", "import", str(image)
            ), name
            return
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tar") as file:
            file.write(image)
            file.flush()
            self._ctr("images", "import", file.name)

    def volume(self, name: str, size: str = "1Gi") -> None:
        """Make a volume that a claim of the class CLASS can have."""
        place = self.folder / "volumes" / name
        place.mkdir(parents=True)
        place.chmod(0o777)
        self.apply(
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
             "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                      "storageClassName": CLASS, "persistentVolumeReclaimPolicy": "Retain",
                      "hostPath": {"path": str(place)}}}
        )  # fmt: skip

    def until(self, what: str, true: Callable[[], bool], seconds: float = 120) -> None:
        """Wait until something is so, and say what is not after so long."""
        self._until(what, true, seconds)

    @contextlib.contextmanager
    def ingress(self, port: int) -> Iterator[None]:
        """Have Traefik serve the cluster's Ingresses, with TLS at a port of the node: it runs in the node's network."""
        kubelet = next(pid for pid in _pids_below(str(self.folder)) if _name_of(pid) == "kubelet")
        words = (
            "--providers.kubernetesingress", f"--entrypoints.websecure.address={self.door}:{port}",
            "--entrypoints.websecure.http.tls=true", "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
        )  # fmt: skip
        with (self.folder / "traefik.log").open("ab") as log:
            process = subprocess.Popen(
                ["nsenter", f"--net=/proc/{kubelet}/ns/net", str(PROGRAMS / "traefik"), *words],
                stdout=log, stderr=log, env={"PATH": _PATH, "KUBECONFIG": str(self.kubeconfig)},
            )  # fmt: skip
        try:
            self.until("Traefik serves", lambda: _listens(self.door, port))
            yield
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)

    # ------------------------------------------------------------ end

    def stop(self) -> None:
        """End everything, and leave nothing: no process, no mount, no network."""
        for _, process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for _, process in reversed(self.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            if process.poll() is None:
                process.kill()
                process.wait(STOP_SECONDS)
        for pid in _pids_below(str(self.folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)  # what was killed lets its mounts go
        for _ in range(3):
            for mount in sorted(_mounts_below(str(self.folder)), reverse=True):
                subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
        for name in {self.name, *(_pod_networks() - self.others)}:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", f"{self.name}h"[-15:]], capture_output=True, check=False)
        _remove_cgroups(self.name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def logs(self) -> str:
        """Return the end of what every program of the cluster says."""
        return "\n".join(f"--- {file.name}\n{file.read_text()[-1500:]}" for file in sorted(self.folder.glob("*.log")))

    def _inside(self, *words: str) -> list[str]:
        # The network alone: `ip netns exec` would hide the control groups.
        return ["nsenter", f"--net=/var/run/netns/{self.name}", *words]

    def _spawn(self, name: str, *words: str) -> None:
        program = shutil.which(words[0], path=f"{PROGRAMS}:{_PATH}")
        assert program is not None, words[0]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self._inside(program, *words[1:]),
                stdout=log, stderr=log, start_new_session=True, env=os.environ | {"PATH": _PATH},
            )  # fmt: skip
        self.processes.append((name, process))

    def _until(self, what: str, true: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        until = time.monotonic() + seconds
        while not true():
            dead = [name for name, process in self.processes if process.poll() is not None]
            if dead or time.monotonic() > until:
                raise AssertionError(f"not within {seconds:g} s: {what}; ended: {dead}\n{self.logs()}")
            time.sleep(LOOK_SECONDS)  # other processes: there is nothing here to wait for

    def _works(self, *words: str) -> bool:
        try:
            self.kubectl(*words)
        except AssertionError:
            return False
        return True

    def _ready(self) -> bool:
        try:
            conditions = json.loads(self.kubectl("get", "node", NODE, "-o", "json"))["status"]["conditions"]
        except AssertionError:
            return False
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def _ctr(self, *words: str, check: bool = True) -> int:
        command = ["ctr", f"--address={self.folder}/containerd/sock", "--namespace=k8s.io", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert not check or done.returncode == 0, (words, done.stderr)
        return done.returncode


def archive(root: bytes, config: dict[str, Any], name: str) -> bytes:
    """Return an image of one layer, as `docker save` writes it."""
    layer = hashlib.sha256(root).hexdigest()
    about = json.dumps(
        {
            "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
            "history": [{"created": "1970-01-01T00:00:00Z"}],
        }
    ).encode()
    named = f"{hashlib.sha256(about).hexdigest()}.json"
    manifest = json.dumps([{"Config": named, "RepoTags": [name], "Layers": [f"{layer}.tar"]}]).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, data in ((f"{layer}.tar", root), (named, about), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


@contextlib.contextmanager
def a_cluster() -> Iterator[KubernetesNode]:
    """A cluster that is there while the context is open; SKREI_TEST_KUBERNETES names the folder of one that runs."""
    if running := os.environ.get("SKREI_TEST_KUBERNETES"):
        yield KubernetesNode(Path(running), "", 0)
        return
    number = _free_number()
    folder = Path(tempfile.mkdtemp(prefix="skk8s-", dir="/tmp"))  # short: sockets' paths have 108 bytes
    node = KubernetesNode(folder, f"sk{os.getpid()}", number, _pod_networks())
    try:
        node.start()
        yield node
    finally:
        node.stop()


def _free_number() -> int:
    """A number of a network that nobody here has: others run clusters and daemons beside this one."""
    taken = subprocess.run(["ip", "-4", "address"], capture_output=True, text=True, check=False).stdout
    return next(number for number in range(os.getpid() % 200 + 1, 250) if f" 10.213.{number}.1/" not in taken)


def _pod_networks() -> frozenset[str]:
    return frozenset(path.name for path in Path("/var/run/netns").glob("cni-*"))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, (command, done.stderr)


def _pids_below(folder: str) -> Iterator[int]:
    """Processes that were started with this folder in their words, or that are in pods of it."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
                mounts = (entry / "mountinfo").read_text() if "skrei" not in words else ""
                if folder in words or f" {folder}/" in mounts.partition("\n")[0]:
                    yield int(entry.name)


def _listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False


def _name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _mounts_below(folder: str) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(folder)]


def _remove_cgroups(_: str) -> None:
    """Remove the empty control groups of pods that are gone."""
    for root in Path("/sys/fs/cgroup").glob("*/kubepods*"):
        for folder in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            root.rmdir()


def _main() -> None:
    with a_cluster() as node:
        sys.stdout.write(f"KUBECONFIG={node.kubeconfig}\n{PROGRAMS}/kubectl --kubeconfig={node.kubeconfig} get nodes\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    if reason := why_no_kubernetes():
        sys.exit(reason)
    _main()
