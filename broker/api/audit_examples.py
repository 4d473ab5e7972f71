"""What the audit's endpoints answer, by example, for OpenAPI. Everything in it is made up."""

from typing import Any, Final

EVENTS_EXAMPLE: Final[dict[str, Any]] = {
    "events": [
        {
            "position": 4711,
            "at": "2026-11-22T18:30:02+00:00",
            "event": "decided",
            "sender": "police.marchshire",
            "recipient": "csc.marchshire",
            "kind": "CP_S47",
            "state": "delivered",
            "rule": "D3",
            "referral_id": "ref_3kq9x2vw",
            "message_id": "01930000-0000-7000-8000-000000000001",
            "delivery_id": "d-8fj2k1mz",
        }
    ],
    "complete": {"position": 4720, "at": "2026-11-22T18:31:00+00:00", "behind": 0},
    "total": 812,
    "next_cursor": "eyJhc19vZiI6NDcyMH0",
}
PROOFS_EXAMPLE: Final[dict[str, Any]] = {
    "format": "safelane-event-proofs-1",
    "checkpoint": "log.example.org/marchshire\n4720\nroot hash, base64\n\n— log.example.org/marchshire signature\n",
    "events": [
        {
            "position": 4711,
            "kind": "decided",
            "event": "base64url",
            "salt": "base64url",
            "proof": "c2sp.org/tlog-proof@v1\n…",
        }
    ],
    "left_out": [],
    "directory": {"authority": [], "versions": []},
}
REFERRAL_EXAMPLE: Final[dict[str, Any]] = {
    "searched_id": "ref_3kq9x2vw",
    "whole": True,
    "messages": [
        {
            "message_id": "01930000-0000-7000-8000-000000000001",
            "sender": "police.marchshire",
            "kind": "CP_S47",
            "position": 4710,
            "deliveries": [
                {
                    "delivery_id": "d-8fj2k1mz",
                    "recipient": "csc.marchshire",
                    "state": "opened",
                    "decisions": [
                        {
                            "outcome": "delivered",
                            "row": "D3",
                            "cells": [
                                {
                                    "compartment": "C10",
                                    "title": "Source in confidence",
                                    "result": "held",
                                    "sent": False,
                                    "row": "D12",
                                    "words": "Held until an approver releases it: A source in confidence needs an approver.",
                                }
                            ],
                        }
                    ],
                    "receipts": [{"state": "opened", "logged_at": "2026-11-22T18:40:00+00:00", "position": 4715}],
                }
            ],
        }
    ],
    "timeline": [{"words": "The hub took the message in.", "event": {"position": 4710, "event": "accepted"}}],
    "complete_position": 4720,
}
ACCESS_EXAMPLE: Final[dict[str, Any]] = {
    "since": "2026-11-01T00:00:00+00:00",
    "until": "2026-12-01T00:00:00+00:00",
    "people": [{"person": "p.ann", "reads": 12, "searches": 30, "exports": 1, "decisions": 0, "referrals": 9}],
    "unusual": [
        {"person": "p.ann", "day": "2026-11-22", "rule": "outside_hours", "words": "3 times between 20:00 and 07:00."}
    ],
    "cut": False,
}
OVERVIEW_EXAMPLE: Final[dict[str, Any]] = {
    "since": "2026-11-22T00:00:00+00:00",
    "flow": {"accepted": {"": 41}, "decided": {"delivered": 96, "held": 4}},
    "referrals": {"CP_S47": 5, "PPN": 30},
    "clocks_running": 38,
    "clocks_breached": 2,
    "holds_open": 4,
    "holds_overdue": 1,
    "quarantine_open": 0,
}
SAVED_EXAMPLE: Final[dict[str, Any]] = {
    "name": "Held this week",
    "search": {"event": ["decided"], "state": ["held"]},
    "saved_at": "2026-11-22T18:30:00+00:00",
}
