"""Where the cluster's API is, and who we are to it: the pod's own service account, or a kubeconfig."""

import base64
import json
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skrei_domain.errors import SkreiError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MOST_BYTES = 1024 * 1024  # a kubeconfig has some KiB


class NoCluster(SkreiError):
    """Nothing says where a cluster is, or what does cannot be read."""

    code = "kubernetes-unconfigured"


@dataclass(frozen=True, slots=True)
class Access:
    """The API's address, the agent's namespace there, and how it shows who it is.

    `token_file` is read anew for each request: the cluster renews it.
    """

    server: str
    namespace: str = "default"
    ca: str = ""
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    client_cert: str = field(default="", repr=False)
    client_key: str = field(default="", repr=False)

    def headers(self) -> dict[str, str]:
        """Return what every request shows."""
        token = self.token_file.read_text("ascii").strip() if self.token_file is not None else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def tls(self) -> ssl.SSLContext:
        """Return what the server's certificate is checked with, and our own certificate where there is one."""
        context = ssl.create_default_context(cadata=self.ca or None)
        if self.client_cert:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as both:  # 0600; the library reads files alone
                both.write(f"{self.client_cert}\n{self.client_key}\n")
                both.flush()
                context.load_cert_chain(both.name)
        return context


def find(config: str, environ: Mapping[str, str] | None = None, account: Path = ACCOUNT) -> Access:
    """Return the access that the options name. Raises NoCluster, with what to do."""
    environ = os.environ if environ is None else environ
    if config:
        return _from_config(Path(config).expanduser())
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not (host and (account / "token").exists()):
        raise NoCluster(
            "this agent is in no cluster",
            hint="run it in one (the chart does), or name a kubeconfig as JSON in the option kubernetes_config",
        )
    where = f"[{host}]" if ":" in host else host
    namespace = account / "namespace"
    return Access(
        server=f"https://{where}:{port}",
        namespace=namespace.read_text("ascii").strip() if namespace.exists() else "default",
        ca=(account / "ca.crt").read_text("ascii"),
        token_file=account / "token",
    )


def _from_config(path: Path) -> Access:
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(MOST_BYTES))
        current = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], current["cluster"])["cluster"]
        user = _named(config["users"], current["user"])["user"]
        return Access(
            server=str(cluster["server"]).rstrip("/"),
            namespace=str(current.get("namespace") or "default"),
            ca=_text(cluster, "certificate-authority"),
            token=str(user.get("token") or ""),
            client_cert=_text(user, "client-certificate"),
            client_key=_text(user, "client-key"),
        )
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise NoCluster(
            f"the kubeconfig {path} cannot be used: {type(error).__name__}: {error}",
            hint="write it by `kubectl config view --raw --minify -o json`",
        ) from error


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _text(entry: Mapping[str, Any], name: str) -> str:
    """Return what is in the entry itself, or in the file that it names."""
    if data := entry.get(f"{name}-data"):
        return base64.b64decode(data).decode("ascii")
    return Path(entry[name]).read_text("ascii") if entry.get(name) else ""
