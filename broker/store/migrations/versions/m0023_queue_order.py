"""The review queue is read in its order, whatever its state and whosever it is: most of what ever waited is decided."""

from alembic import op

revision = "0023_queue_order"
down_revision = "0022_durations"

INDEXES = """
CREATE INDEX holds_by_state ON holds (state, deadline_at, message_id);
CREATE INDEX holds_by_owner ON holds (owner, state, deadline_at, message_id);
CREATE INDEX holds_by_deadline ON holds (deadline_at, message_id);
CREATE INDEX retrospective_reviews_by_state ON retrospective_reviews (state, deadline_at, message_id);
CREATE INDEX retrospective_reviews_by_deadline ON retrospective_reviews (deadline_at, message_id);
"""


def upgrade() -> None:
    """Make the indexes."""
    op.execute(INDEXES)
