"""Alembic's entry: it only ever writes SQL here; ``broker.store.migrate`` runs it."""

from alembic import context

context.configure(
    dialect_name="postgresql", literal_binds=True, transactional_ddl=True, dialect_opts={"paramstyle": "named"}
)
with context.begin_transaction():
    context.run_migrations()
