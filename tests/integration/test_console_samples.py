"""An inspector's audit sample in the console: seed, draw, grade, file; and what is typed wrongly is said beside its field."""

import csv
import re

from tests.support.console import ConsoleSite

DAYS = {
    "first-day": "1",
    "first-month": "1",
    "first-year": "2026",
    "last-day": "31",
    "last-month": "1",
    "last-year": "2026",
}


def add_referrals(console: ConsoleSite, count: int) -> None:
    console.execute(
        "INSERT INTO report_referrals (message_id, referral_id, conversation, sender, kind, accepted_at, area, event, header_known, grade, tool,"
        " art6, consent, consent_reason, tell, tell_reason, children, persons, heard, flags, routed, rso_child, repeat, after_no_action,"
        " reassessed, counted) SELECT gen_random_uuid(), 'ref-' || n, 'conv-' || n, 'police.one', CASE n % 2 WHEN 0 THEN 'PPN' ELSE 'FGM' END,"
        " '2026-01-10T12:00Z', 'E1', '', true, 'high', '', 'c', 'given', '', 'tell', '', true, true, true, '{}', '', '', '', '', '', true"
        " FROM generate_series(1, $1::int) AS n",
        count,
    )


def test_a_sample_is_seeded_drawn_graded_and_taken_away(console: ConsoleSite) -> None:
    add_referrals(console, 30)
    before = console.log_size()
    with console.client(console.people["inspector"]) as client:
        wrong = console.post(client, "/audit-samples", **DAYS | {"first-month": "13"}, size="many")
        assert wrong.status_code == 422
        assert "Enter a real date" in wrong.text
        assert "Enter a whole number" in wrong.text
        future = console.post(client, "/audit-samples", **DAYS | {"last-year": "2999"}, size="5")
        assert future.status_code == 422
        assert "period must be over" in future.text
        seeded = console.post(client, "/audit-samples", **DAYS, strata="kind", size="6")
        assert seeded.status_code == 303, seeded.text
        path = seeded.headers["location"]
        assert "Draw the sample" in client.get(path).text
        assert console.post(client, f"{path}/draw").status_code == 303
        assert console.post(client, f"{path}/draw").status_code == 409
        assert (
            console.post(client, f"{path}/grade", number="99", grade="good", theme="risk", action="none").status_code
            == 422
        )
        assert (
            console.post(client, f"{path}/grade", number="1", grade="good", theme="risk", action="training").status_code
            == 422
        )
        assert (
            console.post(client, f"{path}/grade", number="1", grade="good", theme="risk", action="none").status_code
            == 303
        )
        rows = list(csv.DictReader(client.get(f"{path}/list.csv").text.splitlines()))
        page = client.get(path).text
    assert [row["Number"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert sorted(row["Stratum"] for row in rows) == ["FGM"] * 3 + ["PPN"] * 3
    assert rows[0]["Grade"] == "good"
    (event,) = console.events("sample_seeded", before)
    assert event["seed"] in page
    assert re.fullmatch(r"[0-9a-f]{64}", event["seed"])
    assert [e["grade"] for e in console.events("sample_graded", before)] == ["good"]


def test_reports_are_the_partnerships_and_their_files_are_their_tables(console: ConsoleSite) -> None:
    with console.client(console.people["inspector"]) as client:
        page = client.get("/reports/agreements?from=2026-01-01&to=2026-01-31")
        assert page.status_code == 200
        assert "What this report cannot say" not in page.text
        file = client.get("/reports/agreements/agreements.csv?from=2026-01-01&to=2026-01-31")
        assert (
            file.headers["content-disposition"]
            == 'attachment; filename="agreements-agreements-2026-01-01-2026-01-31.csv"'
        )
        for row in list(csv.reader(file.text.splitlines()))[1:]:
            assert row[0].split()[0] in page.text
        assert "The first day is after the last" in client.get("/reports/clocks?from=2026-02-01&to=2026-01-01").text
        typed = "from-day=1&from-month=1&from-year=2026&to-day=31&to-month=1&to-year=2026"
        shown = " ".join(re.sub(r"<[^>]+>", "", client.get(f"/reports/agreements?{typed}").text).split())
        assert "1 January 2026 to 31 January 2026, both included" in shown
        assert client.get(f"/reports/agreements/agreements.csv?{typed}").text == file.text
        wrong = client.get("/reports/agreements?from-day=31&from-month=2&from-year=2026").text
        assert "Must be a real date, for example 27 3 2026" in wrong
        before = console.log_size()
        client.get(f"/reports/chronology?referral=Some%20Name&{typed}")
        (event,) = console.events("audit_read", before)
        assert event["subject"] == "chronology 2026-01-01 2026-01-31"
    with console.client(console.people["agency-auditor"]) as client:
        assert client.get("/reports").status_code == 404
