"""Counts of durations get a table of their own, kept also over all areas and over all kinds: a median of years is read from few rows.

``*`` stands for all. Old programs would go on counting under ``stage`` in ``report_cells``: a constraint makes them fail and try again, so that nothing is
counted in two places or lost; the projector's lock keeps a batch that is under way out of the move.
"""

from alembic import op

revision = "0022_durations"
down_revision = "0021_fsck_reading"

TABLE = """
CREATE TABLE report_durations (
  code text COLLATE "C" NOT NULL,
  area text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  span text NOT NULL CHECK (span IN ('day', 'month')),
  starts_on date NOT NULL,
  bucket smallint NOT NULL,
  n bigint NOT NULL
) WITH (fillfactor = 90)
"""
MOVE = """
INSERT INTO report_durations (code, area, kind, span, starts_on, bucket, n)
SELECT code, coalesce(area, '*'), coalesce(kind, '*'), span, starts_on, bucket, sum(n) FROM report_cells WHERE measure = 'stage'
GROUP BY code, span, starts_on, bucket, CUBE (area, kind) ORDER BY 1, 2, 3, 4, 5, 6
"""
KEY = "ALTER TABLE report_durations ADD PRIMARY KEY (code, area, kind, span, starts_on, bucket) INCLUDE (n)"
GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON report_durations TO safelane_api;
GRANT SELECT ON report_durations TO safelane_reader, safelane_console;
"""


def upgrade() -> None:
    """Move the counts and see that none comes to where they were."""
    op.execute("SELECT pg_advisory_xact_lock(1526636753)")
    op.execute("SET LOCAL work_mem = '256MB'")
    op.execute("SET LOCAL maintenance_work_mem = '256MB'")
    op.execute("LOCK TABLE report_cells IN SHARE ROW EXCLUSIVE MODE")
    for script in (TABLE, MOVE, KEY):
        op.execute(script)
    op.execute("DELETE FROM report_cells WHERE measure = 'stage'")
    op.execute("ALTER TABLE report_cells ADD CONSTRAINT durations_apart CHECK (measure <> 'stage')")
    op.execute(GRANTS)
