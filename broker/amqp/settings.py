"""Where RabbitMQ is and with which client certificate to enter it."""

import ssl
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import ConfigInvalid


class AmqpSettings(BaseModel):
    """One party's way into RabbitMQ: TLS 1.3 with a client certificate, mechanism EXTERNAL.

    The user name is the common name of the certificate; there is no password. Durations are in seconds, as aiormq takes them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=5671, ge=1, le=65535)
    vhost: str = "safelane"
    ca_file: Path
    cert_file: Path
    key_file: Path
    server_name: str | None = None
    """Name that the server's certificate must carry when it differs from ``host`` (behind a proxy)."""
    heartbeat_seconds: int = Field(default=20, ge=1, le=600)
    connect_timeout_seconds: float = Field(default=10.0, gt=0)
    name: str = "safelane"
    """Connection name that operators see."""

    def tls_context(self) -> ssl.SSLContext:
        """Return a client context for TLS 1.3 that trusts only ``ca_file``; raise ``ConfigInvalid`` when a file is unusable."""
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_verify_locations(cafile=str(self.ca_file))
            context.load_cert_chain(str(self.cert_file), str(self.key_file))
        except (OSError, ssl.SSLError) as error:
            raise ConfigInvalid("the CA, client certificate or key file cannot be loaded", field="amqp") from error
        return context
