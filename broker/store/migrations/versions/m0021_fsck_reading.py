"""``fsck`` reads which approvals were used, with the worker's login."""

from alembic import op

revision = "0021_fsck_reading"
down_revision = "0020_console_pairs"


def upgrade() -> None:
    """Grant it."""
    op.execute("GRANT SELECT ON approval_uses TO safelane_worker")
