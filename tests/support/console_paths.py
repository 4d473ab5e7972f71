"""Example values for the console's paths, so that tests can open every page. A page engineer adds a line where a path has a new value."""

import secrets
import string
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from broker.console.access import Role
from broker.console.app import list_policies
from broker.console.route_policy import RoutePolicy
from broker.console.sessions import digest_secret
from tests.support.console import AGENCY, ConsoleSite, ask_chronology, quarantine_message, record_consent

SKIPPED: Final = frozenset({"/overview/stream", "/static/{digest}/{name:path}", "/healthz", "/readyz"})
"""Not pages: streams, files, probes. They have tests of their own."""
FILES: Final = frozenset({"/log/proofs/{position}/file", "/log/proofs/{position}/event"})
"""Files to download, beside those that end in .csv or .zip: the role matrix tries them, a browser does not open them."""

ELSEWHERE: Final = frozenset(
    {
        "/",
        "/account/confirm/passkey",
        "/account/confirm/resume",
        *(p.path for p in list_policies() if "organisation" in p.path),
    }
)
"""They send people on to other pages, or to what these accounts have not: an identity provider, a passkey."""


def make_user(console: ConsoleSite) -> str:
    """Add an account that a test may change, and return its id."""
    return str(console.add_person(f"spare-{secrets.token_hex(4)}", Role.AUDITOR).user_id)


def make_link(console: ConsoleSite) -> str:
    """Invite somebody and return the secret of the one-time link."""
    secret = secrets.token_urlsafe(32)
    person = console.add_person(f"new-{uuid4().hex[:8]}", Role.AUDITOR)
    console.execute(
        "UPDATE console_users SET state = 'invited', password_hash = NULL, code_secret = NULL WHERE user_id = $1",
        person.user_id,
    )
    console.execute(
        "INSERT INTO console_links (secret_sha256, user_id, created_at, expires_at) VALUES ($1, $2, now(), now() + interval '1 day')",
        digest_secret(secret),
        person.user_id,
    )
    return secret


def make_sample(console: ConsoleSite) -> str:
    """Add an audit sample that is not drawn yet, and return its id."""
    sample_id = f"sample_{secrets.token_hex(8)}"
    console.execute(
        "INSERT INTO audit_samples (sample_id, seed, first_on, last_on, strata, size, created_by, created_at)"
        " VALUES ($1, $2, '2026-01-01', '2026-01-31', '{kind}', 10, 'ann', now())",
        sample_id,
        secrets.token_hex(32),
    )
    return sample_id


def find_hold(console: ConsoleSite, column: str) -> str:
    """Return a part of the key of the first open hold."""
    query = f"SELECT {column} FROM holds WHERE state = 'open' ORDER BY message_id LIMIT 1"  # noqa: S608 (two constants)
    return str(console.value(query))


EXAMPLES: Final[dict[str, Callable[[ConsoleSite], str]]] = {
    "agency_id": lambda _: AGENCY,
    "agreement_id": lambda _: "DSA-01",
    "consent_id": lambda console: str(console.run(record_consent)),
    "delivery_id": lambda console: find_hold(console, "delivery_id"),
    "credential": lambda _: "00" * 16,
    "digest": lambda _: "0" * 16,
    "name": lambda _: "safelane.css",
    "report_id": lambda _: "clocks",
    "sample_id": make_sample,
    "message_id": lambda console: find_hold(console, "message_id"),
    "policy_digest": lambda console: str(console.value("SELECT policy_digest FROM policy_packs LIMIT 1")),
    "position": lambda _: "7",
    "quarantine_id": lambda console: str(console.run(quarantine_message)),
    "searched_id": lambda console: console.referrals[0].referral_id,
    "secret": make_link,
    "subject": lambda console: str(console.run(ask_chronology)),
    "table": lambda _: "clocks",
    "session_id": lambda _: str(uuid4()),
    "user_id": make_user,
}
"""Name of a value in a path to what makes one."""


def fill_path(policy: RoutePolicy, console: ConsoleSite) -> str:
    """Return the path of a route with example values in it."""
    path = policy.path.replace(":path}", "}")
    names = [name for _, name, _, _ in string.Formatter().parse(path) if name]
    missing = set(names) - set(EXAMPLES)
    assert not missing, f"tests/support/console_paths.py has no example for {missing} of {policy.path}"
    return path.format(**{name: EXAMPLES[name](console) for name in names})


def list_pages() -> list[RoutePolicy]:
    """Return every page that a person can open, public ones included; files to download are no pages."""
    away = SKIPPED | ELSEWHERE | FILES
    found = [policy for policy in list_policies() if policy.method == "GET" and policy.path not in away]
    return [policy for policy in found if not policy.path.endswith((".csv", ".zip"))]
