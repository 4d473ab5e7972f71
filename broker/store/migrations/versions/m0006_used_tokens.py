"""A disclosure token is known by its sender too: no agency can use up another's by stating its reference."""

from alembic import op

revision = "0006_used_tokens"
down_revision = "0005_clocks"


def upgrade() -> None:
    """Add the sender to ``used_tokens`` and to its key."""
    op.execute("ALTER TABLE used_tokens ADD COLUMN sender text")
    op.execute("UPDATE used_tokens u SET sender = m.sender FROM messages m WHERE m.message_id = u.message_id")
    op.execute("ALTER TABLE used_tokens DROP CONSTRAINT used_tokens_pkey, ADD PRIMARY KEY (sender, scheme, ref)")
