"""The console asks who knew what of one child, on two people's approvals; and keeps a form while the person confirms that it is they."""

from alembic import op

revision = "0020_console_pairs"
down_revision = "0019_configuration"

TABLES = """
CREATE TABLE console_kept_forms (
  session_id uuid PRIMARY KEY,
  sealed bytea NOT NULL,
  kept_at timestamptz NOT NULL
);
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON console_kept_forms TO safelane_console;
GRANT SELECT, INSERT ON approval_uses TO safelane_console;
GRANT SELECT (notice) ON messages TO safelane_console;
"""


def upgrade() -> None:
    """Create the table, and let the console use approvals up."""
    for script in (TABLES, GRANTS):
        op.execute(script)
