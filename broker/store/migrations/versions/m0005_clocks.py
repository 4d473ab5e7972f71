"""Clocks of a conversation are found by it: later messages and receipts of a conversation meet, pause and resume them."""

from alembic import op

revision = "0005_clocks"
down_revision = "0004_witness"


def upgrade() -> None:
    """Index messages by conversation, and clocks by when they fall due."""
    op.execute("CREATE INDEX messages_by_conversation ON messages (conversation)")
    op.execute("CREATE INDEX clocks_by_due ON clocks (state, due_at)")
