"""Tokens that make a repeated submission the same job: what was answered under them, and until when that is known."""

from collections.abc import Mapping

from skrei_domain.errors import Conflict
from skrei_store.db import Connection
from skrei_store.submission import Submitted, Tokened

TOKEN_HOURS = 24
"""How long a token brings the same answer: longer than any client goes on retrying."""
PURGED = 1_000
"""Expired tokens deleted at once."""


async def known(connection: Connection, batch: Mapping[int, Tokened]) -> dict[int, Submitted | Exception]:
    """Answer submissions and reruns whose token was answered before.

    Which version that was is told by its moment: the statement that made it wrote both with one.
    """
    with_token = {index: submission for index, submission in batch.items() if submission.token}
    if not with_token:
        return {}
    keys = list(zip(*(submission.key for submission in with_token.values()), strict=True))
    rows = await connection.fetch(
        f"""
        SELECT known.* FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (namespace, caller, token)
        CROSS JOIN LATERAL (
            SELECT i.*, (
                SELECT v.version FROM job_versions AS v
                WHERE v.job_id = i.job_id AND v.created_at = i.expires_at - interval '{TOKEN_HOURS} hours'
            ) AS version
            FROM idempotency AS i
            WHERE i.namespace = asked.namespace AND i.caller = asked.caller AND i.token = asked.token OFFSET 0
        ) AS known
        """,
        *keys,
    )
    now = await connection.fetchval("SELECT now()") if rows else None
    found = {(row["namespace"], row["caller"], row["token"]): row for row in rows if row["expires_at"] > now}
    expired = [row for row in rows if row["expires_at"] <= now]
    for row in expired:  # rare: the housekeeping deletes them in bulk
        await connection.execute(
            "DELETE FROM idempotency WHERE namespace = $1 AND caller = $2 AND token = $3 AND expires_at <= now()",
            *(row["namespace"], row["caller"], row["token"]),
        )
    answers: dict[int, Submitted | Exception] = {}
    for index, submission in with_token.items():
        row = found.get(submission.key)
        if row is None:
            continue
        if row["digest"] == submission.digest:
            answers[index] = Submitted(row["job_id"], row["evaluation_id"], None, row["version"] or 1)
        else:
            answers[index] = Conflict(
                f"the idempotency token was used for another body, which made job {row['job_id']}",
                hint="send a fresh token with each new job",
                job_id=row["job_id"],
            )
    return answers


async def purge_tokens(connection: Connection) -> int:
    """Delete tokens that have expired, a bounded number at once; return how many."""
    status = await connection.execute(
        """
        DELETE FROM idempotency WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM idempotency WHERE expires_at <= now() ORDER BY expires_at LIMIT $1
        ))
        """,
        PURGED,
    )
    return int(status.rpartition(" ")[2])
