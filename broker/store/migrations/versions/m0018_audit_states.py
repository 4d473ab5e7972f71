"""Streams are found by state too: a search by state alone, and the gate that asks whether a typed word is a state."""

from alembic import op

revision = "0018_audit_states"
down_revision = "0017_console_deciding"


def upgrade() -> None:
    """Make the index."""
    op.execute("CREATE INDEX audit_streams_by_state ON audit_streams (state)")
