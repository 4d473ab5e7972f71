"""A small certificate authority for TLS inside the partnership: server certificates and one client certificate per agency and hub program.

Certificates are X.509v3 (RFC 5280) with P-256 keys. Keys are written with mode 0600. A client's common name is its RabbitMQ user name.
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.local.files import write_secret
from schemas.errors import ConfigInvalid, MalformedMessage

_AUTHORITY_LIFE = timedelta(days=3650)
_LEAF_LIFE = timedelta(days=397)
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Credential:
    """Files of one TLS party, in PEM."""

    cert_file: Path
    key_file: Path
    ca_file: Path


class Pki:
    """Issues certificates below one folder; what is there already is used again."""

    def __init__(self, folder: Path) -> None:
        """Open the authority in ``folder``, or make it; raise ``ConfigInvalid`` when what is there cannot be read."""
        self._folder = folder
        self.ca_file = folder / "ca.pem"
        key_file = folder / "ca.key"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if key_file.exists() and self.ca_file.exists():
            self._key, self._certificate = _read_authority(key_file, self.ca_file)
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Safelane partnership CA")
        self._certificate = (
            _builder(name, name, self._key.public_key(), _AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        write_secret(key_file, _key_pem(self._key))
        self.ca_file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue_server(self, name: str, hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")) -> Credential:
        """Return the server certificate ``name`` for ``hosts`` (names or addresses), made when missing or near its end."""
        return self._issue(f"server-{name}", name, ExtendedKeyUsageOID.SERVER_AUTH, hosts)

    def issue_client(self, common_name: str) -> Credential:
        """Return the client certificate of ``common_name``, made when missing or near its end."""
        return self._issue(f"client-{_file_part(common_name)}", common_name, ExtendedKeyUsageOID.CLIENT_AUTH, ())

    def sign_client_request(self, request_pem: bytes, common_name: str) -> bytes:
        """Return a client certificate (PEM) for the key of a PKCS #10 request (RFC 2986) made on the agency's own machine.

        The name comes from the enrolment, never from the request. Raises ``MalformedMessage`` for a request that is broken, not P-256, or
        does not prove possession of its key.
        """
        try:
            request = x509.load_pem_x509_csr(request_pem)
            key = request.public_key()
            proven = request.is_signature_valid
        except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise MalformedMessage("not a PKCS #10 request in PEM", field="csr") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1) or not proven:
            raise MalformedMessage("the request must carry a P-256 key and be signed with it", field="csr")
        return self._sign(common_name, key, ExtendedKeyUsageOID.CLIENT_AUTH, ()).public_bytes(
            serialization.Encoding.PEM
        )

    def _issue(self, stem: str, name: str, purpose: x509.ObjectIdentifier, hosts: tuple[str, ...]) -> Credential:
        credential = Credential(self._folder / f"{stem}.pem", self._folder / f"{stem}.key", self.ca_file)
        if credential.cert_file.exists() and credential.key_file.exists():
            certificate = x509.load_pem_x509_certificate(credential.cert_file.read_bytes())
            if certificate.not_valid_after_utc - datetime.now(UTC) > _LEAF_LIFE / 10:
                return credential
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name, key.public_key(), purpose, hosts)
        write_secret(credential.key_file, _key_pem(key))
        credential.cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return credential

    def _sign(
        self, name: str, key: ec.EllipticCurvePublicKey, purpose: x509.ObjectIdentifier, hosts: tuple[str, ...]
    ) -> x509.Certificate:
        builder = (
            _builder(_name(name), self._certificate.subject, key, _LEAF_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())


def make_client_request(key: ec.EllipticCurvePrivateKey, common_name: str) -> bytes:
    """Return a PKCS #10 request (PEM) for ``key``; the authority puts the enrolled name in, whatever the request says."""
    request = x509.CertificateSigningRequestBuilder().subject_name(_name(common_name)).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def _read_authority(key_file: Path, cert_file: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate(cert_file.read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigInvalid("the certificate authority's files cannot be read", field="pki") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigInvalid("the certificate authority's key is not an elliptic-curve key", field="pki")
    return key, certificate


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _file_part(name: str) -> str:
    return name.replace("/", "_").replace(":", "_")
