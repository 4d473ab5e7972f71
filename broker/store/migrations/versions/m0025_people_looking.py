"""Who used the audit in a period is read from an index alone: their events lie far apart among everybody's."""

from alembic import op

revision = "0025_people_looking"
down_revision = "0024_standing_now"

INDEX = """
CREATE INDEX audit_events_of_people ON audit_events (stream, at) INCLUDE (person, referral_id) WHERE person IS NOT NULL
"""


def upgrade() -> None:
    """Make the index."""
    op.execute(INDEX)
