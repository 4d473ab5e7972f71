"""The small certificate authority: who gets a certificate, for what, and under which name."""

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.local.files import read_or_make_secret
from deploy.local.pki import Pki, make_client_request
from schemas.errors import ConfigInvalid, MalformedMessage


def common_name(certificate: x509.Certificate) -> str:
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_client_and_server_certificates_are_for_one_use_each(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    authority = load(pki.ca_file)
    client, server = load(pki.issue_client("csc.test").cert_file), load(pki.issue_server("rabbitmq").cert_file)
    for certificate, name, use in (
        (client, "csc.test", ExtendedKeyUsageOID.CLIENT_AUTH),
        (server, "rabbitmq", ExtendedKeyUsageOID.SERVER_AUTH),
    ):
        certificate.verify_directly_issued_by(authority)
        assert common_name(certificate) == name
        assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [use]
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_what_was_issued_is_used_again_and_private(tmp_path: Path) -> None:
    first = Pki(tmp_path / "pki").issue_client("csc.test")
    before = first.cert_file.read_bytes()
    again = Pki(tmp_path / "pki").issue_client("csc.test")
    assert again == first
    assert again.cert_file.read_bytes() == before
    for key in (tmp_path / "pki").glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_name_in_a_request_is_ignored(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = x509.load_pem_x509_certificate(pki.sign_client_request(make_client_request(key, "hub"), "csc.test"))
    assert common_name(certificate) == "csc.test"
    assert certificate.public_key() == key.public_key()
    certificate.verify_directly_issued_by(load(pki.ca_file))


def test_request_must_prove_its_key_and_be_p256(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    honest = make_client_request(ec.generate_private_key(ec.SECP256R1()), "x")
    der = bytearray(x509.load_pem_x509_csr(honest).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    other = rsa.generate_private_key(65537, 2048)
    foreign = x509.CertificateSigningRequestBuilder().subject_name(name).sign(other, hashes.SHA256())
    for request in (
        broken,
        foreign.public_bytes(serialization.Encoding.PEM),
        b"",
        b"-----BEGIN CERTIFICATE REQUEST-----\n",
    ):
        with pytest.raises(MalformedMessage):
            pki.sign_client_request(request, "csc.test")


def test_damaged_authority_is_refused_not_replaced(tmp_path: Path) -> None:
    Pki(tmp_path / "pki")
    (tmp_path / "pki" / "ca.key").write_text("damaged")
    with pytest.raises(ConfigInvalid):
        Pki(tmp_path / "pki")
    assert (tmp_path / "pki" / "ca.key").read_text() == "damaged"


def test_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "x.secret"
    secret = read_or_make_secret(path)
    assert len(secret) >= 32
    assert read_or_make_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
