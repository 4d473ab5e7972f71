"""Who knew what about one child, and when: question 16."""

from collections.abc import Mapping
from typing import Any, Final

from broker.reports.report import Answer, LookContext, Made, OwnFilter, Report, ReportData
from broker.reports.tables import Column, Sort, Table
from broker.reports.words import COMPARTMENTS, say

_MOST_STEPS: Final = 500
_STEPS: Final = """
WITH chosen AS (
  SELECT DISTINCT s.message_id FROM report_subjects mine JOIN report_subjects s USING (token)
  JOIN report_referrals r ON r.message_id = mine.message_id WHERE r.referral_id = $1
  UNION SELECT message_id FROM report_referrals WHERE referral_id = $1
  UNION SELECT o.message_id FROM report_referrals r JOIN report_referrals o USING (conversation) WHERE r.referral_id = $1
)
SELECT at, what, who, whom, kind, told FROM (
  SELECT accepted_at AS at, 'sent' AS what, sender AS who, '' AS whom, kind, ARRAY[]::text[] AS told
    FROM report_referrals JOIN chosen USING (message_id)
  UNION ALL SELECT released_at, 'released', sender, recipient, kind, compartments FROM report_deliveries JOIN chosen USING (message_id)
    WHERE outcome = 'delivered' AND released_at IS NOT NULL
  UNION ALL SELECT accepted_at, first_outcome, sender, recipient, kind, ARRAY[]::text[] FROM report_deliveries JOIN chosen USING (message_id)
    WHERE first_outcome <> 'delivered'
  UNION ALL SELECT taken_at, 'received', recipient, '', kind, ARRAY[]::text[] FROM report_deliveries JOIN chosen USING (message_id)
    WHERE taken_at IS NOT NULL
  UNION ALL SELECT opened_at, 'opened', recipient, '', kind, compartments FROM report_deliveries JOIN chosen USING (message_id)
    WHERE opened_at IS NOT NULL
  UNION ALL SELECT actioned_at, 'acted on', recipient, '', kind, ARRAY[]::text[] FROM report_deliveries JOIN chosen USING (message_id)
    WHERE actioned_at IS NOT NULL
  UNION ALL SELECT refused_at, 'refused', recipient, '', kind, ARRAY[refusal] FROM report_deliveries JOIN chosen USING (message_id)
    WHERE refused_at IS NOT NULL
  UNION ALL SELECT recalled_at, 'recalled', sender, recipient, kind, ARRAY[recall] FROM report_deliveries JOIN chosen USING (message_id)
    WHERE recalled_at IS NOT NULL
  UNION ALL SELECT breached_at, 'clock ran out', recipient, '', kind, ARRAY[clock] FROM report_clocks JOIN chosen USING (message_id)
    WHERE breached_at IS NOT NULL
) AS steps ORDER BY at, array_position(ARRAY['sent', 'held', 'withheld', 'rejected', 'undeliverable', 'released', 'received', 'opened', 'acted on',
  'refused', 'recalled', 'clock ran out'], what), who, whom LIMIT $2
"""


async def _look_chronology(context: LookContext) -> Mapping[str, Any]:
    wanted = context.filters.find("referral")
    if not wanted:
        return {"steps": []}
    return {"steps": await context.connection.fetch(_STEPS, wanted, _MOST_STEPS)}


def _build_chronology(data: ReportData) -> Made:
    columns = (
        Column("label", "When", Sort.MOMENT),
        Column("who", "Who"),
        Column("what", "What"),
        Column("whom", "To whom"),
        Column("kind", "Kind"),
        Column("told", "What was in it, or why"),
    )
    rows = tuple(
        {
            "label": step["at"],
            "who": data.name(step["who"]) if step["who"] else "–",
            "what": say(step["what"]),
            "whom": data.name(step["whom"]) if step["whom"] else "–",
            "kind": say(step["kind"]),
            "told": _say_told(step["told"]),
        }
        for step in data.found["steps"]
    )
    notes = (
        []
        if data.filters.find("referral")
        else ["Enter a referral's id to see every step of it, and of every other referral about the same child."]
    )
    if len(rows) == _MOST_STEPS:
        notes.append(f"Only the first {_MOST_STEPS} steps are shown.")
    return Made(tables=(Table("steps", "Who knew what, when", columns, rows, protected=False, note="The period does not apply. It is about one child: nothing is counted, so nothing is suppressed."),), notes=tuple(notes))  # fmt: skip


def _say_told(told: list[str]) -> str:
    """Return what was sent of compartments, or a reason."""
    if any("=" in text for text in told):
        sent = [text.split("=")[0] for text in told if text.endswith("=sent")]
        return ", ".join(COMPARTMENTS.get(compartment, compartment) for compartment in sent) or "Nothing at first"
    return ", ".join(say(text) for text in told) or "–"


CHRONOLOGY = Report(
    id="chronology",
    number=16,
    title="Chronology of one child",
    question="Who knew what about this child, and when, across all agencies?",
    answer=Answer.PART,
    build=_build_chronology,
    filters=(),
    own_filters=(OwnFilter("referral", "Referral id", "Any referral about the child"),),
    look=_look_chronology,
    definitions=(
        ("The same child", "referrals that share a pseudonym with the one named, and messages in the same matter; pseudonyms are kept for 13 months"),
        ("What was in it", "the compartments that the first decision let go; the hub cannot see what they say"),
    ),
    cannot_say=(
        ("What was known, in words", "each agency from its own record; its gateway can prove what it opened"),
        ("What agencies told each other by telephone, at meetings or by other systems", "the agencies"),
    ),
)  # fmt: skip
