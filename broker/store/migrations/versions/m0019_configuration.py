"""The last configuration that was logged is found without reading the log."""

from alembic import op

revision = "0019_configuration"
down_revision = "0018_audit_states"


def upgrade() -> None:
    """Index what is rare."""
    op.execute("CREATE INDEX log_entries_configuration ON log_entries (position) WHERE kind = 'configuration'")
