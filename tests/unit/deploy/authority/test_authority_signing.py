"""The authority: two officers, approved enrolments, a verified directory, a pepper that only the agency can open."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from adapters.gateway.identity.directory_keeper import DirectoryKeeper
from deploy.authority.certificates import CertificateRequestInvalid
from deploy.authority.directory_building import add_person, remove_person, revoke_agency
from deploy.authority.key_file import WrongPassphrase
from deploy.authority.officers import create_person, open_officer
from deploy.authority.signing import APPROVALS, REQUESTS, read_signed, read_trust, read_trusted_keys, sign_next_version
from deploy.authority.succession import hand_over
from schemas.canonical import canonical_bytes, parse_object
from schemas.enrolment import request_digest, sign_enrolment, verify_enrolment, verify_welcome
from schemas.errors import ConfigInvalid, IntegrityBroken, MalformedMessage, NotFound, SignatureInvalid
from schemas.jose import jwe_decrypt
from schemas.signed_directory import is_active, verify_directory
from schemas.trust import digest_pair
from tests.support.authority import CHEAP, PASSPHRASES, AgencyKit, FoundedAuthority

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


@pytest.fixture
def authority(tmp_path: Path) -> FoundedAuthority:
    return FoundedAuthority.found(tmp_path)


def trusted(authority: FoundedAuthority):
    return read_trusted_keys(authority.folder / "trust.json")


def test_first_version_holds_the_partnership_and_no_keys(authority: FoundedAuthority) -> None:
    signed = authority.sign(now=NOW)
    directory = verify_directory(signed.body, trusted(authority))
    assert directory.version == 1
    assert directory.expires_at == NOW + timedelta(days=30)
    assert len(directory.agencies) == 15
    assert not any(is_active(agency) for agency in directory.agencies)
    assert {p.id for p in directory.people} == {"ann", "ben", "cai"}


@pytest.mark.parametrize("pair", [("ann", "ben"), ("ann", "cai"), ("ben", "cai")])
def test_any_two_officers_sign(authority: FoundedAuthority, pair: tuple[str, str]) -> None:
    verify_directory(authority.sign(now=NOW, officers=pair).body, trusted(authority))


@pytest.mark.parametrize(
    ("passphrases", "error"),
    [
        ({"ann": PASSPHRASES["ann"]}, ConfigInvalid),
        ({"ann": PASSPHRASES["ann"], "ben": PASSPHRASES["ann"]}, WrongPassphrase),
        (dict(PASSPHRASES), ConfigInvalid),
        ({"ann": PASSPHRASES["ann"], "zoe": PASSPHRASES["ben"]}, ConfigInvalid),
    ],
)
def test_one_officer_alone_or_a_stranger_cannot_sign(authority, passphrases, error) -> None:
    with pytest.raises(error):
        sign_next_version(authority.folder, passphrases, now=NOW)
    with pytest.raises(NotFound):
        read_signed(authority.folder)


def test_no_private_key_or_pepper_is_in_clear(authority: FoundedAuthority) -> None:
    authority.sign(now=NOW)
    stored = b"".join(p.read_bytes() for p in authority.folder.rglob("*") if p.is_file())
    for member in (b'"d":', b'"d": ', b'"priv"', b'"peppers"'):
        assert member not in stored


def test_enrolment_gives_keys_certificate_and_pepper(authority: FoundedAuthority) -> None:
    kit = AgencyKit.make("school.oakfield")
    request = kit.request("an invitation", now=NOW)
    authority.approve("enr_0123456789", request, now=NOW)
    signed = authority.sign(now=NOW)
    agency = verify_directory(signed.body, trusted(authority)).find_agency("school.oakfield")
    assert agency is not None
    assert is_active(agency)
    assert agency.keys.signing[0]["x"] == kit.signing_jwks[0]["x"]
    welcome = verify_welcome(signed.welcomes["enr_0123456789"], trusted(authority))
    assert (welcome.agency, welcome.request_sha256) == ("school.oakfield", request_digest(request))
    certificate = x509.load_pem_x509_certificate(welcome.certificate_pem.encode())
    assert certificate.subject.rfc4514_string() == "CN=school.oakfield"
    assert certificate.public_key() == kit.tls_key.public_key()
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(welcome.ca_pem.encode()))
    opened = json.loads(jwe_decrypt(welcome.sealed_pepper, kit.encryption_jwk))
    assert opened["agency"] == "school.oakfield"
    assert len(opened["pepper"]) == 43


def test_all_agencies_share_one_pepper(authority: FoundedAuthority) -> None:
    kits = [AgencyKit.make("school.oakfield"), AgencyKit.make("gp.millbrook")]
    signed = authority.enrol(*kits, now=NOW)
    keys = {kit.agency: kit.encryption_jwk for kit in kits}
    welcomes = [verify_welcome(jws, trusted(authority)) for jws in signed.welcomes.values()]
    peppers = {json.loads(jwe_decrypt(w.sealed_pepper, keys[w.agency]))["pepper"] for w in welcomes}
    assert len(peppers) == 1
    assert len(welcomes) == 2


def test_versions_count_up_and_a_lost_publication_can_be_repeated(authority: FoundedAuthority) -> None:
    first, second = authority.sign(now=NOW), authority.sign(now=NOW)
    assert (first.directory.version, second.directory.version) == (1, 2)
    assert read_signed(authority.folder).body == second.body


def test_a_request_nobody_approved_is_not_taken_in(authority: FoundedAuthority) -> None:
    mine, other = AgencyKit.make("school.oakfield"), AgencyKit.make("school.oakfield")
    authority.approve("enr_0123456789", mine.request("i", now=NOW), now=NOW)
    path = authority.folder / REQUESTS / "enr_0123456789.json"
    path.write_bytes(canonical_bytes(other.request("i", now=NOW)))
    with pytest.raises(IntegrityBroken):
        authority.sign(now=NOW)


def test_a_stranger_cannot_approve(authority: FoundedAuthority, tmp_path: Path) -> None:
    stranger = FoundedAuthority.found(tmp_path / "other")
    request = AgencyKit.make("school.oakfield").request("i", now=NOW)
    stranger.approve("enr_0123456789", request, now=NOW)
    for name in (REQUESTS, APPROVALS):
        (authority.folder / name).mkdir()
        theirs = stranger.folder / name / "enr_0123456789.json"
        (authority.folder / name / theirs.name).write_bytes(theirs.read_bytes())
    with pytest.raises(IntegrityBroken):
        authority.sign(now=NOW)


def test_revocation_of_a_key_and_of_an_agency(authority: FoundedAuthority) -> None:
    kit = AgencyKit.make("school.oakfield")
    authority.enrol(kit, now=NOW)
    one_key = revoke_agency(authority.state(), "school.oakfield", now=NOW, thumbprint=kit.api_jwk["kid"])
    agency = authority.sign(now=NOW, changed=one_key).directory.find_agency("school.oakfield")
    assert agency is not None
    assert agency.keys.revoked == (kit.api_jwk["kid"],)
    gone = revoke_agency(authority.state(), "school.oakfield", now=NOW)
    agency = authority.sign(now=NOW, changed=gone).directory.find_agency("school.oakfield")
    assert agency is not None
    assert not is_active(agency)


def test_enrolling_again_revokes_the_keys_before(authority: FoundedAuthority) -> None:
    before, after = AgencyKit.make("school.oakfield"), AgencyKit.make("school.oakfield")
    authority.enrol(before, now=NOW)
    agency = authority.enrol(after, now=NOW).directory.find_agency("school.oakfield")
    assert agency is not None
    assert before.api_jwk["kid"] in agency.keys.revoked
    assert after.api_jwk["kid"] not in agency.keys.revoked


def test_request_must_prove_possession_of_its_keys() -> None:
    mine, other = AgencyKit.make("school.oakfield"), AgencyKit.make("school.oakfield")
    request = verify_enrolment(mine.request("i", now=NOW))
    with pytest.raises(SignatureInvalid):
        verify_enrolment(sign_enrolment(request, other.signer))


def test_request_with_a_private_key_is_refused() -> None:
    kit = AgencyKit.make("school.oakfield")
    with pytest.raises(MalformedMessage):
        verify_enrolment(kit.request("i", now=NOW, api=(kit.api_jwk,)))


def test_request_for_a_certificate_in_another_name_is_refused(authority: FoundedAuthority) -> None:
    kit = AgencyKit.make("school.oakfield")
    other = AgencyKit.make("police.marchshire")
    stolen = parse_object(canonical_bytes(kit.request("i", now=NOW)), max_bytes=65536)
    assert verify_enrolment(stolen).fingerprint() != verify_enrolment(other.request("i", now=NOW)).fingerprint()
    csr = verify_enrolment(other.request("i", now=NOW)).csr_pem
    with pytest.raises(CertificateRequestInvalid):
        authority.approve("enr_0123456789", kit.request("i", now=NOW, csr_pem=csr), now=NOW)


def test_the_successor_takes_over_and_gateways_that_pinned_it_follow(
    authority: FoundedAuthority, tmp_path: Path
) -> None:
    kit = AgencyKit.make("school.oakfield")
    before = read_trust(authority.folder / "trust.json")
    first = authority.enrol(kit, now=NOW)
    (authority.folder / "authority.key.json").write_text(json.dumps({"public": [], "sealed": {}}))  # lost
    with pytest.raises(ConfigInvalid):
        hand_over(authority.folder, {"ann": PASSPHRASES["ann"]}, cost=CHEAP)
    hand_over(authority.folder, PASSPHRASES, cost=CHEAP)
    after = read_trust(authority.folder / "trust.json")
    assert digest_pair(after.authority) == before.successor
    assert after.successor != before.successor
    assert after.earlier == (before.authority,)

    other = AgencyKit.make("gp.millbrook")
    signed = authority.enrol(other, now=NOW)
    assert verify_directory(signed.body, after.authority_keys()).version == 2
    with pytest.raises(SignatureInvalid):
        verify_directory(signed.body, before.authority_keys())
    (welcome,) = (verify_welcome(jws, after.authority_keys()) for jws in signed.welcomes.values())
    (earlier,) = (verify_welcome(jws, before.authority_keys()) for jws in first.welcomes.values())
    assert (
        jwe_decrypt(welcome.sealed_pepper, other.encryption_jwk)[-60:]
        == jwe_decrypt(earlier.sealed_pepper, kit.encryption_jwk)[-60:]
    )

    keeper = DirectoryKeeper(tmp_path / "directory.json", before, None, lambda: NOW)
    keeper.accept({"directory": json.loads(first.body), "keys": []})
    served = {"directory": json.loads(signed.body), "keys": [], "authority": list(after.authority)}
    assert keeper.accept(served).version == 2


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4])
def test_a_crash_while_the_successor_takes_over_is_finished_by_running_it_again(
    authority: FoundedAuthority, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    pinned = read_trust(authority.folder / "trust.json").successor
    writes = 0
    replace = Path.replace

    def crash(self: Path, target: Path) -> Path:
        nonlocal writes
        if writes == stop_after:
            raise KeyboardInterrupt
        writes += 1
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            hand_over(authority.folder, PASSPHRASES, cost=CHEAP)
    hand_over(authority.folder, PASSPHRASES, cost=CHEAP)
    after = read_trust(authority.folder / "trust.json")
    assert digest_pair(after.authority) == pinned
    assert len(after.earlier) == 1
    verify_directory(authority.sign(now=NOW).body, after.authority_keys())
    assert authority.state().successor_thumbprint == after.successor


def test_people_who_approve_come_and_go(authority: FoundedAuthority, tmp_path: Path) -> None:
    person = create_person(tmp_path / "keys", "jo", "csc.marchshire", ["approver"], "a passphrase of jo", cost=CHEAP)
    authority.change(people=add_person(authority.state(), person).people)
    directory = authority.sign(now=NOW).directory
    assert {p.id for p in directory.people} == {"ann", "ben", "cai", "jo"}
    opened = open_officer(tmp_path / "keys", "jo", "a passphrase of jo")
    assert opened.signer.public.ed25519_kid == person.keys[0]["kid"]
    authority.change(people=remove_person(authority.state(), "jo").people)
    assert "jo" not in {p.id for p in authority.sign(now=NOW).directory.people}
    with pytest.raises(ConfigInvalid):
        remove_person(authority.state(), "jo")


def test_nobody_becomes_an_officer_or_brings_a_private_key_as_a_person(
    authority: FoundedAuthority, tmp_path: Path
) -> None:
    person = create_person(tmp_path / "keys", "jo", "csc.marchshire", ["approver"], "a passphrase of jo", cost=CHEAP)
    wrong = [
        person.model_copy(update={"roles": ("authority_officer",)}),
        person.model_copy(update={"keys": person.keys[:1]}),
        person.model_copy(update={"keys": (*person.keys, {"kty": "OKP", "d": "x"})}),
    ]
    for entry in wrong:
        with pytest.raises(ConfigInvalid):
            add_person(authority.state(), entry)
    authority.change(people=add_person(authority.state(), person.model_copy(update={"id": "ann"})).people)
    with pytest.raises(ConfigInvalid):
        authority.sign(now=NOW)
