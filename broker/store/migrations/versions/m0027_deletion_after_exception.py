"""What a recall's recipient kept for a reason can be deleted later: one entry that states an exception, then one without, for each delivery."""

from alembic import op

revision = "0027_deletion_after_exception"
down_revision = "0026_cheaper_rows"

CHANGES = """
ALTER TABLE deletions DROP CONSTRAINT deletions_recall_id_delivery_id_key;
CREATE UNIQUE INDEX deletions_by_delivery ON deletions (recall_id, delivery_id, (exceptions_code IS NULL));
"""


def upgrade() -> None:
    """Put the wider key in the place of the narrower one."""
    op.execute(CHANGES)
