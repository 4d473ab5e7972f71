"""What stands open now is counted from indexes alone: clocks that ran out or were not met, not all that ever ran; deliveries that nobody has opened."""

from alembic import op

revision = "0024_standing_now"
down_revision = "0023_queue_order"

INDEXES = """
CREATE INDEX report_clocks_overdue ON report_clocks (clock, due_at) INCLUDE (met_at, area, counted) WHERE met_at IS NULL OR met_at > due_at;
CREATE INDEX report_deliveries_waiting ON report_deliveries (released_at) INCLUDE (recipient, reached, area, kind, counted)
  WHERE outcome = 'delivered' AND reached IN ('open', 'taken');
DROP INDEX report_clocks_by_due;
DROP INDEX report_deliveries_unopened;
"""


def upgrade() -> None:
    """Make the indexes in place of those that had to look at every row."""
    op.execute(INDEXES)
