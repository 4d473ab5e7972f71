"""What the console may do besides reading: register approvals that people signed, claim holds, decide on the quarantine, invite agencies.

It adds what the API's role adds for the same acts. ``messages.body`` is read where a broken glass is reviewed: the sealed header says who broke it.
"""

from alembic import op

revision = "0017_console_deciding"
down_revision = "0016_timestamps"

GRANTS = """
GRANT INSERT ON approvals, redecide_due, signed_objects, outbox TO safelane_console;
GRANT UPDATE ON register_change TO safelane_console;
GRANT UPDATE (state, claimed_by, claimed_at, decided_by, decided_at, decision_reason) ON holds TO safelane_console;
GRANT UPDATE (state, claimed_by, claimed_at, decided_by, decided_at) ON retrospective_reviews TO safelane_console;
GRANT UPDATE (state, decided_by, decided_at, decision_reason) ON quarantine TO safelane_console;
GRANT SELECT (body) ON messages TO safelane_console;
GRANT SELECT ON enrolments TO safelane_console;
GRANT INSERT ON invitations TO safelane_console;
"""


def upgrade() -> None:
    """Grant it."""
    op.execute(GRANTS)
