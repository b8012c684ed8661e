"""Write a migration: `make migrate m="what it does"` compares the tables with a fresh database at the newest schema.

The database is a bundled Postgres in a folder of its own, gone afterwards: nothing has to run, nothing can be harmed.
`--whole` (`make schema`) writes what all migrations do together to `whole.sql`, which makes new databases.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from skrei_domain.errors import SkreiError
from skrei_embedded.postgres import Postgres
from skrei_embedded.processes import Spawner
from skrei_store import alembic_steps, migrate, schema


def main(arguments: Sequence[str]) -> int:
    """Write what is asked for; 1 or 2 and a sentence on stderr when that fails."""
    if list(arguments) == ["--whole"]:
        schema.WHOLE.write_text(alembic_steps.whole(), "utf-8")
        return 0
    message = " ".join(arguments).strip()
    if not message:
        sys.stderr.write('What does the migration do? make migrate m="add the colour of a node"\n')
        return 2
    return _revise(message)


def _revise(message: str) -> int:
    with tempfile.TemporaryDirectory(prefix="skrei-migrate-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)  # the database's account, which is not root, has to pass
        children = Spawner()
        postgres = Postgres(Path(folder), children)
        try:
            postgres.start()
            migrate.upgrade(postgres.url)
            migrate.revise(postgres.url, message)
        except SkreiError as error:
            sys.stderr.write(f"{error.message}; {error.hint}\n")
            return 1
        finally:
            postgres.stop()
            children.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
