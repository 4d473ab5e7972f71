"""Settings of the hub's HTTP API, a part of the hub's configuration file."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from broker.amqp.administration import AdministrationSettings


class ApiSettings(BaseModel):
    """Where the API listens, under which name agencies call it, and what it tells them about RabbitMQ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    public_url: str = Field(
        pattern=r"^https://[A-Za-z0-9.-]+(:\d+)?$",
        description="The URL that agencies call, without a path: the only audience that access tokens may name.",
    )
    listen_host: str = Field(default="127.0.0.1", description="Address to listen on.")
    listen_port: int = Field(default=8443, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    certificate_file: Path = Field(description="TLS server certificate (PEM), issued by the partnership's CA.")
    key_file: Path = Field(description="Private key of that certificate (PEM).")
    agencies_amqp_host: str = Field(default="localhost", description="RabbitMQ's host name as agencies reach it.")
    agencies_amqp_port: int = Field(
        default=5671, ge=1, le=65535, description="RabbitMQ's TLS port as agencies reach it."
    )
    agencies_amqp_vhost: str = Field(default="safelane", description="RabbitMQ's virtual host.")
    administration: AdministrationSettings | None = Field(
        default=None,
        description="RabbitMQ's management API, to make users and queues of enrolled agencies; absent: an operator does it.",
    )
    concurrent_requests: int = Field(default=256, ge=8, description="Requests served at once; more are answered 503.")
    pool_size: int = Field(default=8, ge=1, le=64, description="Connections to PostgreSQL.")
