"""New databases are made in one go, and so must be exactly what the migrations make step by step."""

from skrei_store import alembic_steps, schema


def test_new_databases_are_made_by_what_all_migrations_say() -> None:
    assert schema.WHOLE.read_text("utf-8") == alembic_steps.whole(), "a migration came or changed: run `make schema`"
