"""The webhook: signed, idempotent, told apart by what a retry can mend."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from adapters.channels.webhook import CaseSystemRefused, Webhook, choose_wait, encode_body
from adapters.gateway.incoming.inbox_config import WebhookConfig
from schemas.errors import ConfigInvalid, DependencyUnavailable
from tests.support.received import make_received

NOW = datetime(2026, 11, 17, 9, 0, tzinfo=UTC)
SECRET = "s" * 40


@pytest.fixture
def config(tmp_path: Path) -> WebhookConfig:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    return WebhookConfig(url="http://127.0.0.1:1/referrals", secret_file=secret)


def answer_with(status: int, seen: list[httpx.Request]) -> httpx.MockTransport:
    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, headers={"Location": "https://elsewhere.example.org/"})

    return httpx.MockTransport(handle)


async def test_a_post_carries_the_delivery_id_and_a_signature_over_the_body(config: WebhookConfig) -> None:
    seen: list[httpx.Request] = []
    await Webhook(config, answer_with(201, seen)).post_delivery(make_received(), now=NOW)
    request = seen[0]
    assert request.headers["Idempotency-Key"] == make_received().delivery_id
    moment = int(NOW.timestamp())
    expected = hmac.new(SECRET.encode(), f"{moment}.".encode() + request.content, hashlib.sha256).hexdigest()
    assert request.headers["Safelane-Signature"] == f"t={moment},v1={expected}"
    assert request.content == encode_body(make_received())


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_passing_fault_is_worth_a_retry(config: WebhookConfig, status: int) -> None:
    with pytest.raises(DependencyUnavailable):
        await Webhook(config, answer_with(status, [])).post_delivery(make_received(), now=NOW)


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_a_refusal_needs_a_person(config: WebhookConfig, status: int) -> None:
    with pytest.raises(CaseSystemRefused):
        await Webhook(config, answer_with(status, [])).post_delivery(make_received(), now=NOW)


async def test_a_redirect_is_not_followed(config: WebhookConfig) -> None:
    seen: list[httpx.Request] = []
    with pytest.raises(CaseSystemRefused):
        await Webhook(config, answer_with(307, seen)).post_delivery(make_received(), now=NOW)
    assert len(seen) == 1


async def test_a_broken_connection_says_nothing_of_the_child(config: WebhookConfig) -> None:
    with pytest.raises(DependencyUnavailable) as caught:  # nothing listens on port 1
        await Webhook(config).post_delivery(make_received(), now=NOW)
    assert "Sampleford" not in repr(caught.value.diagnostics())


async def test_a_closed_connection_is_opened_again(config: WebhookConfig) -> None:
    seen: list[httpx.Request] = []
    webhook = Webhook(config, answer_with(200, seen))
    for _ in range(2):
        await webhook.post_delivery(make_received(), now=NOW)
        await webhook.close()
    assert len(seen) == 2


def test_waits_double_to_a_limit_and_differ(config: WebhookConfig) -> None:
    waits = {choose_wait(3, config) for _ in range(20)}
    assert len(waits) > 1
    assert all(timedelta(seconds=4) <= wait <= timedelta(seconds=8) for wait in waits)
    assert choose_wait(50, config) <= config.retry_longest


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("short")
    with pytest.raises(ConfigInvalid):
        Webhook(WebhookConfig(url="https://case.example.org/in", secret_file=secret))


@pytest.mark.parametrize("url", ["http://case.example.org/in", "ftp://127.0.0.1/x", "https://case.example.org"])
def test_plain_http_is_for_this_machine_only(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        WebhookConfig(url=url, secret_file=tmp_path / "s")
