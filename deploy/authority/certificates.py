"""Client certificates for agencies, issued by the partnership's CA from a request that the agency made itself.

The request gives the public key and proves possession of its private key. Everything else in the certificate is the authority's choice.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from schemas.errors import ConfigInvalid, Rejected

CERTIFICATE_LIFETIME = timedelta(days=397)
MIN_RSA_BITS = 3072
_CURVES = ("secp256r1", "secp384r1")


class CertificateRequestInvalid(Rejected):
    """The certificate request is not one that the partnership's CA may answer."""

    code = "certificate-request-invalid"
    public_message = "The certificate request cannot be accepted. Make a new one."


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """The partnership's CA: its certificate and private key, which stay with the authority."""

    certificate: x509.Certificate
    private_key: EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey

    @property
    def pem(self) -> str:
        """The CA certificate, PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def load_ca(certificate_path: Path, key_path: Path) -> CertificateAuthority:
    """Load the CA from two PEM files.

    Raises:
        ConfigInvalid: a file is missing, unreadable or not what it should be.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigInvalid("the CA's certificate or key cannot be read", field="ca") from None
    if not isinstance(key, EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey):
        raise ConfigInvalid("is not a key of a permitted type", field="ca")
    return CertificateAuthority(certificate, key)


def issue_client_certificate(csr_pem: str, agency_id: str, ca: CertificateAuthority, *, now: datetime) -> str:
    """Issue a TLS client certificate for ``agency_id`` and return it as PEM; its common name is the agency id, whatever the request says.

    Raises:
        CertificateRequestInvalid: it is not a request, its signature is wrong, its name is another's, or its key is too weak.
    """
    request = read_request(csr_pem, agency_id)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, agency_id)]))
        .issuer_name(ca.certificate.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(min(now + CERTIFICATE_LIFETIME, ca.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_dns_label(agency_id))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.private_key.public_key()), critical=False)
    )
    digest = None if isinstance(ca.private_key, Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(ca.private_key, digest).public_bytes(serialization.Encoding.PEM).decode("ascii")


def read_request(csr_pem: str, agency_id: str) -> x509.CertificateSigningRequest:
    """Check a PKCS #10 request for ``agency_id``: signed by its own key, common name the agency's id, a key that is strong enough.

    Raises:
        CertificateRequestInvalid: it is not.
    """
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode("ascii"))
        signed = request.is_signature_valid
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = request.public_key()
    except (ValueError, TypeError, UnicodeEncodeError, UnsupportedAlgorithm, InvalidSignature):
        raise CertificateRequestInvalid("is not a PKCS #10 request in PEM", field="csr_pem") from None
    if not signed:
        raise CertificateRequestInvalid("is not signed by its own key", field="csr_pem")
    if [name.value for name in names] != [agency_id]:
        raise CertificateRequestInvalid("its common name is not the agency's id", field="csr_pem")
    strong = (
        isinstance(key, Ed25519PublicKey)
        or (isinstance(key, EllipticCurvePublicKey) and key.curve.name in _CURVES)
        or (isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS)
    )
    if not strong:
        raise CertificateRequestInvalid("its key must be P-256, P-384, Ed25519 or RSA of 3072 bits", field="csr_pem")
    return request


def _dns_label(agency_id: str) -> str:
    # A client certificate needs no host name; RabbitMQ's and uvicorn's TLS stacks want some alternative name to be present.
    return f"{agency_id.replace('_', '-').replace(':', '-')}.agency.invalid"
