"""How Alembic reaches the database: over the connection that `skrei_store.alembic_steps` hands it, or, for what all
migrations say together, not at all.
"""

from alembic import context

from skrei_store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    dialect_name="postgresql",
    literal_binds=context.is_offline_mode(),
    target_metadata=Base.metadata,
    compare_type=True,
    compare_server_default=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
