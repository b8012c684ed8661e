"""A cluster's keys as Secrets: `python -m skrei_plugin_kubernetes.secrets read|write|remove`, in jobs of the chart.

Below `--folder` is a folder for each service, as `skrei-cluster-init` makes and takes them; each is a Secret, called
`--prefix` and the folder's name. `read` brings what is there into the folders, `write` makes the Secrets hold what is
in them, `remove` forgets them all. What only the founder needs is kept in a Secret of which one program alone has a
part: what tells the transport which keys were revoked.
"""

import argparse
import asyncio
import base64
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skrei_domain.errors import SkreiError
from skrei_plugin_kubernetes.access import find
from skrei_plugin_kubernetes.cluster import Cluster, Refused

NAMES = ("founder", "orchestrator-api", "scheduler", "publisher", "nats", "postgres", "s3", "compute-agent", "sites")
"""The folders; the chart's role lists the Secrets of these."""
FOUNDER, KEYS = "founder", "keys"
"""What the founder has lies one folder deeper."""
DEEPER = "_"
"""What stands in a Secret's key for the `/` of a folder in a folder; no name of ours has one."""
ANSWER_SECONDS = 30.0
"""One answer of the cluster: this runs while a release is installed, and is run again where it fails."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Do it; exit 1 with one sentence where it cannot be done."""
    parser = argparse.ArgumentParser(prog="skrei_plugin_kubernetes.secrets", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("act", choices=("read", "write", "remove"))
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        asyncio.run(_act(given.act, given.prefix, given.folder))
    except SkreiError as error:
        sys.exit(f"skrei: {error.message}; {error.hint}")
    except Refused as refused:
        sys.exit(f"skrei: the cluster refuses it: {refused.message}; see the Role of this Job's service account")


async def _act(act: str, prefix: str, folder: Path) -> None:
    access = find("")
    cluster = Cluster(access, access.namespace, answer_seconds=ANSWER_SECONDS)
    try:
        for name in NAMES:
            if act == "read":
                unpack(await cluster.secret(prefix + name), _place(folder, name))
            elif act == "write":
                await cluster.keep_secret(prefix + name, packed(_place(folder, name)))
            else:
                await cluster.forget_secret(prefix + name)
    finally:
        await cluster.close()


def packed(folder: Path) -> dict[str, str]:
    """Return the files of a folder as the data of a Secret."""
    if not folder.is_dir():
        return {}
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        DEEPER.join(name.parts): base64.b64encode(path.read_bytes()).decode("ascii") for name, path in files.items()
    }


def unpack(data: Mapping[str, Any] | None, folder: Path) -> None:
    """Write the data of a Secret as files of a folder, for this user alone; None: there is none."""
    if not data:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in data.items():
        path = folder.joinpath(*(part for part in name.split(DEEPER) if part.strip(".")))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(0o600)
        path.write_bytes(base64.b64decode(text))


def _place(folder: Path, name: str) -> Path:
    return folder / name / KEYS if name == FOUNDER else folder / name


if __name__ == "__main__":
    main()
