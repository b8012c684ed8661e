"""The record: Postgres tables, migrations, and every query."""
