"""What two people must approve together: a chronology of one child, erasing a referral, lifting a legal hold. Each approval serves once."""

from alembic import op

revision = "0015_pairs"
down_revision = "0014_retention"

TABLES = """
ALTER TABLE approvals ADD COLUMN subject_digest text;
CREATE INDEX approvals_by_subject ON approvals (action, subject_digest) WHERE subject_digest IS NOT NULL;
CREATE TABLE approval_uses (
  object_digest text PRIMARY KEY REFERENCES approvals,
  used_at timestamptz NOT NULL
);
"""

GRANTS = """
GRANT SELECT, INSERT ON approval_uses TO safelane_api, safelane_eraser;
GRANT SELECT ON approval_uses TO safelane_reader;
GRANT SELECT (notice) ON messages TO safelane_api;
GRANT SELECT ON approvals, directory_versions, key_announcements, registry_change TO safelane_eraser;
"""


def upgrade() -> None:
    """Create the table and the column."""
    for script in (TABLES, GRANTS):
        op.execute(script)
