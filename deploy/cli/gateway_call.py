"""Calls of the running gateway's local API, for the commands of ``safelane gateway``."""

import json
from pathlib import Path
from typing import Any

from schemas.errors import DependencyUnavailable, NotFound, Rejected

CALL_SECONDS = 60.0


class GatewayRefused(Rejected):
    """The gateway would not do it; its own code and detail say why."""

    code = "gateway-refused"
    public_message = "The gateway refused this. Nothing was changed."


def call_gateway(
    config_file: Path, agency: str | None, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Call the running gateway's local API with the agency's local token; a problem becomes our error.

    Raises:
        DependencyUnavailable: the gateway does not answer, or cannot do it now.
        NotFound: it has no such thing.
        GatewayRefused: it refused.
    """
    content = None if body is None else json.dumps(body).encode()
    status, answer = request_gateway(config_file, agency, method, path, content=content)
    if status < 400:
        return answer
    code, detail = answer.get("code", status), answer.get("detail", "")
    family = {404: NotFound, 503: DependencyUnavailable}.get(status, GatewayRefused)
    raise family(f"{code}: {detail}" if family is GatewayRefused else str(detail), field=answer.get("field"))


def request_gateway(
    config_file: Path,
    agency: str | None,
    method: str,
    path: str,
    *,
    content: bytes | None = None,
    media_type: str = "application/json",
) -> tuple[int, dict[str, Any]]:
    """Return status and answer of a call, whatever they are.

    Raises:
        ConfigInvalid: the configuration cannot be read, or does not say which agency.
        DependencyUnavailable: the gateway does not answer.
    """
    import httpx

    from adapters.gateway.config import load_config

    config = load_config(config_file)
    token = config.find_agency(agency).api_token_file.read_text().strip()
    host = f"[{config.listen_host}]" if ":" in config.listen_host else config.listen_host
    headers = {"Authorization": f"Bearer {token}"} | ({} if content is None else {"Content-Type": media_type})
    try:
        response = httpx.request(
            method,
            f"http://{host}:{config.listen_port}{path}",
            content=content,
            headers=headers,
            timeout=CALL_SECONDS,
            trust_env=False,
        )
        answer: dict[str, Any] = response.json()
    except (httpx.HTTPError, ValueError):
        raise DependencyUnavailable(
            "the gateway does not answer: does `safelane gateway serve` run?", field="listen_port"
        ) from None
    return response.status_code, answer
