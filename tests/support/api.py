"""The API in this process over a real record and a real transport, and rows as the leader would have written them."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
from pydantic import SecretStr

from skrei_domain.node import NodeInfo, Plugin
from skrei_domain.resources import Resources
from skrei_kit.bus import Bus
from skrei_kit.nats_auth import Signer
from skrei_kit.signing_keys import new_key
from skrei_kit.tokens import TokenSigner, TokenVerifier
from skrei_orchestrator_api.__main__ import bind, new_server, serve_http
from skrei_orchestrator_api.app import build
from skrei_orchestrator_api.deps import Deps
from skrei_orchestrator_api.gate import Gate
from skrei_orchestrator_api.listeners import Listeners
from skrei_orchestrator_api.node_access import NodeAccess
from skrei_orchestrator_api.node_changes import NodeChanges
from skrei_orchestrator_api.record import Record
from skrei_orchestrator_api.settings import Settings
from skrei_orchestrator_api.submissions import Submissions
from tests.support.promises import checked

JOBS = "/api/v1/orchestrator/jobs"
NODES = "/api/v1/orchestrator/nodes"
INTERNAL_TOKEN = "internal-token"
OWNER_TOKEN = "owner-token"
JOIN_TOKEN = "join-token"

HELLO: dict[str, Any] = {
    "Type": "batch",
    "Tasks": [{"Name": "main", "Engine": {"Type": "wasm", "Params": {"EntryModule": "m"}}}],
}


@dataclass
class Api:
    """A running API: `http` speaks to the application in this process, `deps` are the parts behind it."""

    http: httpx2.AsyncClient
    deps: Deps
    rows: "Rows"

    async def submit(self, **job: Any) -> str:
        """Submit a job and return its id."""
        answer = await self.http.put(JOBS, json={"Job": HELLO | job})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["JobID"])


class Rows:
    """What the leader writes, written by hand."""

    def __init__(self, link: asyncpg.Connection) -> None:
        self.link = link

    async def state(self, job_id: str, state: str, **columns: Any) -> None:
        """Put a job into a state."""
        await self.link.execute("UPDATE jobs SET state = $2, units_won = $3 WHERE id = $1",
                                job_id, state, columns.get("units_won", 0))  # fmt: skip

    async def history(self, job_id: str, message: str, execution_id: str = "", **details: str) -> int:
        """Add a transition with the next number, and return the number."""
        seq: int = await self.link.fetchval(
            "UPDATE jobs SET history_seq = history_seq + 1 WHERE id = $1 RETURNING history_seq", job_id
        )
        await self.link.execute(
            "INSERT INTO history (job_id, seq, job_version, execution_id, topic, message, details, at)"
            " VALUES ($1, $2, 1, $3, 'Scheduling', $4, $5, now())",
            *(job_id, seq, execution_id, message, json.dumps(details)),
        )
        return seq

    async def execution(self, job_id: str, **columns: Any) -> str:
        """Add an execution and return its id."""
        row: dict[str, Any] = {
            "id": f"e-{uuid.uuid4()}", "job_id": job_id, "job_version": 1, "namespace": "default", "task": "main",
            "partition": 0, "attempt": 1, "node_id": "n-1", "incarnation": 1, "state": "running",
            "observed": "running", "want": "run", "revision": 1, "seen_revision": 1, "cpu_milli": 500,
            "memory_bytes": 512_000_000, "disk_bytes": 0, "gpu": 0, "revoked": False, "holds": True, "starts": 1,
            "changes": 3, "message": "", "reason": "", "evaluation_id": "v-1",
        }  # fmt: skip
        row |= columns
        names = ", ".join(row)
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        sql = f"INSERT INTO executions ({names}, created_at, modified_at) VALUES ({places}, now(), now())"
        await self.link.execute(sql, *row.values())
        return str(row["id"])

    async def result(
        self, job_id: str, execution_id: str, partition: int = 0, *, inline: bytes | None, committed: bool = True
    ) -> None:
        """Add a result; without bytes it is one that the publisher has taken over."""
        await self.link.execute(
            "INSERT INTO results (execution_id, job_id, job_version, task, partition, committed, digest, size, inline,"
            " created_at, stored_at) VALUES ($1, $2, 1, 'main', $3, $4, 'sha256:0', 1, $5, now(), $6)",
            *(execution_id, job_id, partition, committed, inline),
            None if inline is not None else await self.link.fetchval("SELECT now()"),
        )

    async def node(self, node_id: str, connection: str = "CONNECTED", **labels: str) -> None:
        """Add a node with four cores."""
        info = NodeInfo(
            node_id=node_id,
            name=node_id,
            version="0.5.0",
            labels=labels,
            engines=(Plugin(name="wasm"),),
            storages=(Plugin(name="inline"), Plugin(name="local")),
            capacity=Resources(cpu_milli=4000, memory_bytes=8 << 30, disk_bytes=1 << 40),
        )
        await self.link.execute(
            "INSERT INTO nodes (id, info, membership, connection, boot_id, incarnation, confirmed, confirmed_by,"
            " connected_since, error, modified_at) VALUES ($1, $2, 'APPROVED', $3, 'b', 1, 7, '', now(), '', now())",
            *(node_id, info.model_dump_json(), connection),
        )


@asynccontextmanager
async def running_api(
    database_url: str, nats_url: str, *, node_signer_keys: Signer | None = None, **changes: Any
) -> AsyncIterator[Api]:
    """The API until the block ends."""
    private, public = new_key()
    nowhere = Path("/nonexistent")
    values: dict[str, Any] = {
        "database_url": SecretStr(database_url),
        "nats_url": nats_url,
        "token_key": nowhere,
        "token_public_key": nowhere,
        "internal_token_file": nowhere,
        "publisher_url": "http://127.0.0.1:9",
        "log_silence_seconds": 0.3,
        "node_change_seconds": 0.0,
    }
    settings = Settings(**values | changes)
    bus = await Bus.connect(nats_url, name="api-test")
    link = await asyncpg.connect(database_url)
    try:
        async with Record.open(settings) as record:
            submissions = Submissions(record, bus, settings)
            verifier = TokenVerifier(public)
            gate = Gate(
                hosts=settings.hosts,
                owner_token=OWNER_TOKEN,
                join_token=JOIN_TOKEN,
                names_client=verifier.names_client,
            )
            deps = Deps(
                settings,
                record,
                submissions,
                bus,
                TokenSigner(private),
                verifier,
                INTERNAL_TOKEN,
                gate,
                NodeAccess(record, gate, token_file=settings.join_token_file, revoked_file=settings.revoked_keys_file),
                NodeChanges(record, submissions, settings.node_change_seconds),
                Listeners(bus, settings.event_listeners),
                node_signer=node_signer_keys,
                token_public_key=public.decode(),
            )
            storing = asyncio.create_task(submissions.run())
            transport = httpx2.ASGITransport(app=checked(build(deps)))
            try:
                async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:1234") as client:
                    yield Api(client, deps, Rows(link))
            finally:
                storing.cancel()
                await asyncio.gather(storing, return_exceptions=True)
    finally:
        await link.close()
        await bus.close()


@asynccontextmanager
async def listening(api: Api) -> AsyncIterator[int]:
    """The same API on a real port, for what an in-process client cannot ask; yields the port."""
    submissions = Submissions(api.deps.record, api.deps.bus, api.deps.settings)
    sock = bind("127.0.0.1", 0)
    server = new_server(api.deps)
    serving = asyncio.create_task(serve_http(server, [sock], submissions))
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0)
        yield sock.getsockname()[1]
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        sock.close()
