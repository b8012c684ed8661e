"""How Alembic reaches the database: over the connection that `skrei_store.alembic_steps` hands it."""

from alembic import context

from skrei_store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_type=True,
    compare_server_default=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
