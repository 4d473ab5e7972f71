"""An auditor finds a referral in the message log, proves one of its events, takes the proof away, and checks it without the hub."""

import csv
from pathlib import Path

from playwright.sync_api import Page

from deploy.evidence.event_checking import ProofsChecker
from schemas.checkpoint import read_proof, verify_proof
from schemas.event_proofs import split_proofs
from tests.support.browser import People, assert_accessible
from tests.support.console import ConsoleSite


def save_download(page: Page, link: str, folder: Path) -> Path:
    """Follow a link to a file, and return where the file was kept."""
    with page.expect_download() as coming:
        page.get_by_role("link", name=link).first.click()
    path = folder / coming.value.suggested_filename
    coming.value.save_as(path)
    return path


def find_referral(page: Page, referral_id: str) -> None:
    page.goto("/overview")
    page.get_by_role("link", name="Message log").first.click()
    page.get_by_label("Referral, message or delivery id").fill(referral_id)
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("Complete up to event").wait_for()


def test_an_auditor_finds_a_referral_and_proves_it_without_the_hub(
    people: People, console: ConsoleSite, tmp_path: Path
) -> None:
    before = console.log_size()
    referral_id = console.referrals[3].referral_id
    page = people.signed_in("auditor", accept_downloads=True)
    find_referral(page, referral_id)
    assert_accessible(page)
    found = page.get_by_role("table").locator("tbody tr")
    shown = found.count()
    assert shown > 1
    table = save_download(page, "Download as CSV", tmp_path)
    with table.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == shown
    assert {line["referral_id"] for line in lines} == {referral_id}

    found.first.get_by_role("link", name=referral_id).click()
    page.get_by_role("heading", level=1, name=f"Referral {referral_id}").wait_for()
    link = page.get_by_role("link", name="Event ").first
    position = int((link.text_content() or "").removeprefix("Event ").replace(",", ""))
    link.click()
    page.get_by_text("This event is in the log that was signed").wait_for()
    assert page.get_by_text("Proved", exact=True).is_visible()
    assert_accessible(page)

    # From here on neither the hub nor its console is asked: only the file, the event, and the log's public key.
    proof = read_proof(save_download(page, "Download the proof", tmp_path).read_text(encoding="utf-8"))
    entry = bytes(console.value("SELECT entry FROM log_entries WHERE position = $1", position))
    checkpoint = verify_proof(proof, entry, console.log)
    assert checkpoint is not None
    assert checkpoint.size > position == proof.index
    assert verify_proof(proof, entry[:-1] + bytes([entry[-1] ^ 1]), console.log) is None

    file = save_download(page, "Download the event with its proof", tmp_path).read_bytes()
    verdict = ProofsChecker(split_proofs(file), None).check()
    assert verdict.broken == []
    assert any(line.startswith(f'event {position}: {{"') for line in verdict.proved), verdict

    reads = [e["action"] for e in console.events("audit_read", before) if e["action"] != "overview_stream"]
    assert reads == ["overview", "search", "search", "export_csv", "show", "log_proof", "log_proof", "export_proofs"]


def test_an_agencys_auditor_finds_nothing_of_what_is_not_theirs(people: People, console: ConsoleSite) -> None:
    limit = console.people["agency-auditor"].agency
    seen = "SELECT 1 FROM deliveries d WHERE d.message_id = m.message_id AND d.recipient = $1"
    query = (
        f"SELECT referral_id FROM messages m WHERE sender <> $1 AND NOT EXISTS ({seen}) ORDER BY referral_id LIMIT 1"  # noqa: S608 (constants)
    )
    foreign = console.value(query, limit)
    page = people.signed_in("agency-auditor")
    find_referral(page, foreign)
    page.get_by_text("No event matches.").wait_for()
    for path in (f"/referrals/{foreign}", f"/referrals/{foreign}/evidence.zip", "/reports", "/reports/clocks"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status in {403, 404}, path
        assert foreign not in page.locator("main").inner_text()
