"""`make tools-k8s`: a real Kubernetes of one node, built below `.cache/kubernetes`, for `make e2e-k8s`.

Kubernetes publishes binaries on a site of its own; its source comes from Go's module proxy, which keeps the digest of
every version public (sum.golang.org). Its main module names its parts by folders that a module does not have, so they
are named here by their versions. A quarter of an hour and 4 GB of Go's caches, once; what is there in the wanted
version stays.
What Debian packages (etcd, containerd, runc, the plain network plugins) is not built: `.ci/k8s` installs it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.environment import ROOT, one_at_a_time

FOLDER = ROOT / ".cache/kubernetes"
OURS = {"GOFLAGS": "-mod=mod -buildvcs=false -trimpath", "GOWORK": "off", "CGO_ENABLED": "0", "GOTOOLCHAIN": "auto"}
STEP_SECONDS = 3600  # six minutes on two idle cores; a compiler may have to be fetched
PART = re.compile(r"^\s*(?:replace\s+)?(k8s\.io/\S+) => \./staging/", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Source:
    """A Go module, and the commands that are built of it: the names of their packages inside the module.

    `parts_version`: the version of the modules that its own go.mod takes from folders beside it. `as_it_is`: it is
    built where it lies, by what its own go.mod puts in the place of others, which counts for nobody who only wants it.
    """

    module: str
    version: str
    commands: tuple[str, ...]
    parts_version: str = ""
    as_it_is: bool = False

    @property
    def title(self) -> str:
        """What the module is called: the last part of its path that is no version."""
        return re.sub(r"/v\d+$", "", self.module).rsplit("/", 1)[-1]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what is built: a package's last part, or the module's where it is the module itself."""
        return tuple((command or self.module).rsplit("/", 1)[-1] for command in self.commands)


_KUBERNETES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubeadm",
    "kubectl",
)
SOURCES = (
    # 1.35 and newer refuse cgroup v1, which many machines that run tests still have.
    Source("k8s.io/kubernetes", "v1.34.4", tuple(f"cmd/{name}" for name in _KUBERNETES), "v0.34.4"),
    # The names of services, inside the cluster.
    Source("github.com/coredns/coredns", "v1.12.4", ("",)),
    # What acts on an Ingress.
    Source("github.com/traefik/traefik/v3", "v3.5.4", ("cmd/traefik",), as_it_is=True),
)


@dataclass(frozen=True, slots=True)
class Kinds:
    """Kinds of objects that a cluster learns from others: files of a Go module, each a CustomResourceDefinition."""

    module: str
    version: str
    files: tuple[str, ...]


KINDS = (
    Kinds("sigs.k8s.io/gateway-api", "v1.4.0",
          ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",)),
    Kinds("github.com/prometheus-operator/prometheus-operator", "v0.85.0",
          ("example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",)),
)  # fmt: skip
"""What the chart makes where a cluster has it: the kinds as their makers publish them."""
KINDS_FOLDER = FOLDER / "kinds"


def main() -> int:
    """Build what is missing; 1 and a sentence on stderr where that fails, or where no compiler is.

    Kinds that cannot be had are said, and no more: a cluster that is built works without them.
    """
    go = shutil.which("go")
    with one_at_a_time(FOLDER):
        missing = [source for source in SOURCES if not built(source)]
        if missing and go is None:
            sys.stderr.write("No `go` command here, so Kubernetes cannot be built; `make e2e-k8s` will skip.\n")
            return 1
        done = max((build(source, str(go)) for source in missing), default=0)
        for kinds in unknown():
            fetch(kinds, go)
        return done


def unknown() -> list[Kinds]:
    """Return the kinds that are not here: tests of objects of these skip."""
    return [kinds for kinds in KINDS if not _kinds_stamp(kinds).exists()]


def built(source: Source) -> bool:
    """Whether all its commands are there in the wanted version."""
    stamp = _stamp(source)
    there = all((FOLDER / name).exists() for name in source.names)
    return there and stamp.exists() and stamp.read_text() == source.version


def build(source: Source, go: str) -> int:
    """Build one module's commands, and say so: it takes minutes."""
    sys.stderr.write(f"Building {', '.join(source.names)} {source.version} into .cache/kubernetes ...\n")
    FOLDER.mkdir(parents=True, exist_ok=True)
    work = FOLDER / "source"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        packages = [_package(source, command) for command in source.commands]
        if source.as_it_is:
            packages = [f"./{command}" for command in source.commands]
            place = _folder_of(source, go, work)
        else:
            (work / "go.mod").write_text(go_mod(source, _parts(source, go, work)))
            (work / "tools.go").write_text(tools_go(source))
            _go(go, work, "mod", "tidy", "-e")
            place = work
        flags = "-s -w" if not source.parts_version else f"-s -w {_version_flags(source.version)}"
        for name, package in zip(source.names, packages, strict=True):
            how = "readonly" if source.as_it_is else "mod"
            _go(go, place, "build", f"-mod={how}", "-ldflags", flags, "-o", str(FOLDER / name), package)
    except (OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"{source.module} could not be built: {error}; `make e2e-k8s` will skip.\n")
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _stamp(source).write_text(source.version)
    return 0


def fetch(kinds: Kinds, go: str | None) -> None:
    """Take the files of one module out of Go's cache of modules, or say why not."""
    KINDS_FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        if go is None:
            raise FileNotFoundError("no `go` command here")
        said = _go(go, KINDS_FOLDER, "mod", "download", "-json", f"{kinds.module}@{kinds.version}")
        for file in kinds.files:
            path = Path(json.loads(said)["Dir"]) / file
            (KINDS_FOLDER / path.name).write_bytes(path.read_bytes())
    except (OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"The kinds of {kinds.module} cannot be had: {error}; their tests will skip.\n")
        return
    _kinds_stamp(kinds).touch()


def _kinds_stamp(kinds: Kinds) -> Path:
    return KINDS_FOLDER / f".{kinds.module.rsplit('/', 1)[-1]}-{kinds.version}"


def go_mod(source: Source, parts: list[str]) -> str:
    """Return a module that wants `source`, and its parts by their version."""
    lines = ["module skrei.test/tools", "", "go 1.24", "", f"require {source.module} {source.version}"]
    lines += [f"replace {part} => {part} {source.parts_version}" for part in parts]
    return "\n".join(lines) + "\n"


def tools_go(source: Source) -> str:
    """Return the file that makes the commands' packages wanted, without which their modules are not fetched."""
    imports = "\n".join(f'\t_ "{_package(source, command)}"' for command in source.commands)
    return f"//go:build tools\n\npackage tools\n\nimport (\n{imports}\n)\n"


def _parts(source: Source, go: str, work: Path) -> list[str]:
    """Return the modules that `source` takes from folders beside it."""
    if not source.parts_version:
        return []
    said = _go(go, work, "mod", "download", "-json", f"{source.module}@{source.version}")
    return PART.findall(Path(json.loads(said)["GoMod"]).read_text())


def _folder_of(source: Source, go: str, work: Path) -> Path:
    """Return where Go keeps a module's source."""
    said = _go(go, work, "mod", "download", "-json", f"{source.module}@{source.version}")
    return Path(json.loads(said)["Dir"])


def _version_flags(version: str) -> str:
    """Return what tells Kubernetes which version it is: kubeadm and the kubelet compare it."""
    major, minor, _ = version.removeprefix("v").split(".")
    value = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return " ".join(f"-X k8s.io/component-base/version.{name}={text}" for name, text in value.items())


def _package(source: Source, command: str) -> str:
    return f"{source.module}/{command}".rstrip("/")


def _stamp(source: Source) -> Path:
    return FOLDER / f".{source.title}"


def _go(go: str, work: Path, *command: str) -> str:
    """Run go in `work` and return what it said. Raises SubprocessError, OSError."""
    done = subprocess.run(
        [go, *command],
        cwd=work,
        env=os.environ | OURS,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=STEP_SECONDS,
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
