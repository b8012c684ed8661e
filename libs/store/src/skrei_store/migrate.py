"""Bring a database to the newest schema: `python -m skrei_store.migrate --database-url postgresql://…`.

Safe to run from many processes at once (an advisory lock lets one through), and again. An empty database is made in one
go, by what all migrations together would do. A migration that cannot get its lock within seconds gives up instead of
stopping everybody behind it. `revision "what it does"` writes the next
one from the difference between tables and migrations.
"""

import argparse
import asyncio
import os
import re
import sys

from skrei_domain.errors import SkreiError
from skrei_store import schema


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest schema. Raises Unavailable where it cannot be reached or locked."""
    with schema.reached("check --database-url"):
        if asyncio.run(schema.bring(url)):
            return
        from skrei_store import alembic_steps

        alembic_steps.upgrade(url)


def revise(url: str, message: str) -> None:
    """Write the migration that brings what the database at `url` has to what the tables say."""
    from skrei_store import alembic_steps

    with schema.reached("check --database-url"):
        alembic_steps.revise(url, message)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="skrei_store.migrate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--database-url", default=os.environ.get("SKREI_DATABASE_URL"), help="or SKREI_DATABASE_URL")
    parser.add_argument("action", nargs="?", choices=("upgrade", "revision"), default="upgrade")
    parser.add_argument("message", nargs="?", default="")
    given = parser.parse_args()
    if not given.database_url:
        parser.error("which database? Give --database-url or set SKREI_DATABASE_URL")
    if given.action == "revision" and not re.search(r"\w", given.message):
        parser.error("what does the revision do? Give a message")
    try:
        if given.action == "upgrade":
            upgrade(given.database_url)
        else:
            revise(given.database_url, given.message)
    except SkreiError as error:
        sys.exit(f"{error.message}; {error.hint}")


if __name__ == "__main__":
    main()
