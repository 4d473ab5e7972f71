"""Settings of the console, a part of the hub's configuration file."""

import sys
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_ASSETS = Path(sys.prefix) / "share" / "safelane-console"
"""Where set-up puts the design system's assets (``python -m deploy.console_assets``)."""


class OidcSettings(BaseModel):
    """The organisation's identity provider (OpenID Connect), which must ask for a second factor itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(
        pattern=r"^https://[^\s?#]+$",
        description="The provider's issuer, exactly as it writes it in its tokens.",
    )
    client_id: str = Field(min_length=1, max_length=200, description="The console's client id at the provider.")
    client_secret_file: Path = Field(description="File with the client's secret.")
    label: str = Field(
        default="your organisation’s account", max_length=60, description="What people call it, after 'Sign in with'."
    )
    ca_file: Path | None = Field(
        default=None, description="Certificate authorities (PEM) of the provider, where it is not a public one."
    )
    acr_values: tuple[str, ...] = Field(
        default=(),
        description="Authentication contexts (acr) that mean that a second factor was used; asked for, and checked.",
    )
    amr_values: tuple[str, ...] = Field(
        default=("mfa",), description="Authentication methods (amr) any of which means the same."
    )


class ConsoleSettings(BaseModel):
    """Where the console listens, under which address people open it, and how long a session may last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    public_url: str = Field(
        pattern=r"^https://[A-Za-z0-9.-]+(:\d+)?$",
        description="The address that people open, without a path: requests under any other are refused.",
    )
    listen_host: str = Field(default="127.0.0.1", description="Address to listen on.")
    listen_port: int = Field(default=8444, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    certificate_file: Path = Field(description="TLS server certificate (PEM).")
    key_file: Path = Field(description="Private key of that certificate (PEM).")
    secret_file: Path = Field(
        description="32 random bytes, base64: encrypts one-time-code secrets at rest and authenticates forms and cookies."
    )
    assets_folder: Path = Field(default=DEFAULT_ASSETS, description="The design system's assets, fetched at set-up.")
    partnership: str = Field(
        default="", max_length=80, description="The partnership's name, shown beside the service's."
    )
    help_text: str = Field(
        default="Ask your partnership's operator.",
        max_length=200,
        description="One sentence on sign-in and error pages: whom to ask for help.",
    )
    session_idle: timedelta = Field(
        default=timedelta(minutes=30),
        ge=timedelta(seconds=1),
        le=timedelta(hours=1),
        description="A session ends after this long without a request.",
    )
    session_longest: timedelta = Field(
        default=timedelta(hours=10),
        ge=timedelta(seconds=1),
        le=timedelta(hours=12),
        description="A session ends this long after it began, whatever happens.",
    )
    confirmed_for: timedelta = Field(
        default=timedelta(minutes=10),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=30),
        description="How long a person counts as confirmed after a second factor, for approvals and changes of keys and users.",
    )
    local_accounts: bool = Field(
        default=True, description="Whether accounts with a password and one-time codes, or a passkey, may sign in."
    )
    oidc: OidcSettings | None = Field(default=None, description="Sign-in through an identity provider; absent: none.")
    concurrent_requests: int = Field(default=128, ge=8, description="Requests served at once; more are answered 503.")
    pool_size: int = Field(default=6, ge=2, le=64, description="Connections to PostgreSQL.")
