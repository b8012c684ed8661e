"""Where a job came from and who took it, as clients read it in its `Meta`."""

import uuid
from collections.abc import Mapping

from skrei_domain.job import JobSpec
from skrei_domain.job_diff import RESERVED_META

SERVER_ID = "skrei"
"""The node id of the control plane."""
INSTANCE_ID = str(uuid.uuid4())
"""This process."""
MAX_CLIENT_ID = 64
"""Characters of what a client says of itself: they send uuids; more is left out."""

_CLIENT = {"client.installation.id": "X-Bacalhau-InstallationID", "client.instance.id": "X-Bacalhau-InstanceID"}


def with_origin(spec: JobSpec, headers: Mapping[str, str], installation_id: str) -> JobSpec:
    """Return the spec with what a server writes into its `Meta`; the headers are those of its submission."""
    told = {
        "requester.id": SERVER_ID,
        "orchestrator.id": SERVER_ID,
        "server.installation.id": installation_id,
        "server.instance.id": INSTANCE_ID,
    }
    for key, header in _CLIENT.items():
        value = headers.get(header, "")
        if value and len(value) <= MAX_CLIENT_ID and value.isascii() and value.isprintable():
            told[key] = value
    meta = spec.meta | {f"{RESERVED_META}{key}": value for key, value in told.items()}
    return spec.model_copy(update={"meta": meta})
