"""Whose signature stands under a result: a certificate of the user's, or one made for development.

C2PA (specification 2.x, "X.509 certificates") wants a chain: a signer's certificate with the
purpose e-mail protection or document signing, issued by an authority; a certificate that signs
itself is refused. The development chain is made on first use; its authority's key is thrown away
at once, so nobody can issue another certificate under it.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dubcli.core.atomic_io import move_file
from dubcli.core.errors import ConfigError
from dubcli.core.paths import data_home

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate, KeyUsage, Name

DEVELOPMENT_NAME = "dub development certificate, not verified"
_AUTHORITY_NAME = "dub development authority, not verified"
_ORGANISATION = "dub development"
_YEARS = 10


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A private key and the certificates that go with it.

    Attributes:
        chain_pem: The signer's certificate first.
        key_pem: PKCS #8, not encrypted.
        algorithm: C2PA's name of it, such as es256.
        signer: The certificate's common name or organisation.
        is_development: Made by this tool, which vouches for nobody.
        origin: What a message about it names.
    """

    chain_pem: bytes
    key_pem: bytes
    algorithm: str
    signer: str
    is_development: bool
    origin: str

    def __repr__(self) -> str:
        return f"SigningKey({self.signer!r})"  # never the key


def development_path() -> Path:
    """Where the development certificate and its key lie."""
    return data_home() / "c2pa" / "development.pem"


def development_key(*, keep: bool = True) -> SigningKey:
    """The development certificate of this user, made where there is none that is valid now.

    Where it cannot be kept, it serves for this run alone.

    Args:
        keep: Write down one that was made.

    Raises:
        ConfigError: What lies there is damaged.
    """
    path = development_path()
    found = _read_development(path)
    if found is None:
        made = _make_development()
        if keep:
            with suppress(OSError):
                _write_private(path, made)
        found = _read_development(path) or made
    return _signing_key(found, found, f"'{path}'", is_development=True)


def development_anchor() -> str:
    """PEM of the authority behind the development certificate, '' where none was made yet."""
    try:
        chain = _certificates(development_path().read_bytes())
    except (OSError, ValueError):
        return ""
    return _pem(chain[-1]).decode() if chain else ""


def own_key(certificate: Path, key: Path) -> SigningKey:
    """The user's certificate chain and private key.

    Args:
        certificate: PEM: the signer's certificate, then those that issued it.
        key: PEM, not encrypted.

    Raises:
        ConfigError: One cannot be read, or they do not belong together.
    """
    chain, secret = _content_of(certificate), _content_of(key)
    return _signing_key(chain, secret, f"'{certificate}'", key_origin=f"'{key}'")


def _content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"'{path}' cannot be read: {error.strerror}.",
            "Give --c2pa-cert and --c2pa-key two PEM files.",
        ) from error


def _signing_key(
    chain: bytes,
    key: bytes,
    origin: str,
    *,
    key_origin: str | None = None,
    is_development: bool = False,
) -> SigningKey:
    from cryptography.hazmat.primitives import serialization

    again = "Delete it: a new one is made." if is_development else "See docs/marks.md."
    certificates = _parsed_chain(chain, origin, again)
    first = certificates[0]
    secret = _parsed_key(key, key_origin or origin, again)
    spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if secret.public_key().public_bytes(*spki) != first.public_key().public_bytes(*spki):
        raise ConfigError(
            f"The key in {key_origin or origin} does not belong to the first certificate in "
            f"{origin}.",
            "The signer's certificate comes first, then those that issued it.",
        )
    until = first.not_valid_after_utc
    if not first.not_valid_before_utc <= datetime.now(UTC) <= until:
        raise ConfigError(
            f"The certificate in {origin} is not valid today (it is until {until:%Y-%m-%d}).",
            again if is_development else "Renew it, or sign with another.",
        )
    return SigningKey(
        chain_pem=b"".join(_pem(one) for one in certificates),
        key_pem=_pkcs8(secret),
        algorithm=_algorithm(secret, key_origin or origin),
        signer=_name_of(first),
        is_development=is_development,
        origin=origin,
    )


def _parsed_chain(content: bytes, origin: str, step: str) -> list[Certificate]:
    try:
        found = _certificates(content)
    except ValueError as error:
        raise ConfigError(f"{origin} holds no PEM certificate that can be read.", step) from error
    return found


def _parsed_key(content: bytes, origin: str, step: str) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(content, password=None)
    except TypeError as error:
        raise ConfigError(
            f"The private key in {origin} is encrypted.",
            "Decrypt it into a file that only you can read: openssl pkey -in KEY -out PLAIN.",
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{origin} holds no PEM private key that can be read.", step) from error


def _algorithm(key: PrivateKeyTypes, origin: str) -> str:
    """C2PA's name of how a key signs.

    Raises:
        ConfigError: It does not allow such keys.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in curves:
        return curves[key.curve.name]
    raise ConfigError(
        f"Content Credentials cannot be signed with the kind of key in {origin}.",
        "Use an EC key (P-256, P-384, P-521), Ed25519, or RSA of at least 2048 bits.",
    )


def _read_development(path: Path) -> bytes | None:
    """The kept file; None where there is none, or it is not valid by this machine's clock."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        first = _certificates(content)[0]
    except ValueError:
        return content  # told as damaged
    # One of the future was made while the clock went ahead.
    is_valid = first.not_valid_before_utc <= datetime.now(UTC) < first.not_valid_after_utc
    return content if is_valid else None


def _make_development() -> bytes:
    """Key, certificate and authority as one PEM, so that they are replaced together."""
    from cryptography.hazmat.primitives.asymmetric import ec

    authority = ec.generate_private_key(ec.SECP256R1())
    own = ec.generate_private_key(ec.SECP256R1())
    issuer, subject = _name(_AUTHORITY_NAME), _name(DEVELOPMENT_NAME)
    chain = [
        _issue(subject, own.public_key(), issuer, authority, is_authority=False),
        _issue(issuer, authority.public_key(), issuer, authority, is_authority=True),
    ]
    return _pkcs8(own) + b"".join(_pem(one) for one in chain)


def _issue(
    subject: Name, public: object, issuer: Name, authority: object, *, is_authority: bool
) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )
    from cryptography.x509.oid import ExtendedKeyUsageOID

    assert isinstance(public, EllipticCurvePublicKey)
    assert isinstance(authority, EllipticCurvePrivateKey)
    # A day back: clocks of computers differ.
    begin = datetime.now(UTC) - timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(_usage(is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
            critical=False,
        )
    )
    if not is_authority:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(authority, hashes.SHA256())


def _usage(is_authority: bool) -> KeyUsage:
    from cryptography.x509 import KeyUsage

    return KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    names = ((NameOID.COMMON_NAME, common), (NameOID.ORGANIZATION_NAME, _ORGANISATION))
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in names])


def _name_of(certificate: Certificate) -> str:
    from cryptography.x509.oid import NameOID

    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        found = certificate.subject.get_attributes_for_oid(oid)
        if found:
            return str(found[0].value)
    return certificate.subject.rfc4514_string()


def _certificates(content: bytes) -> list[Certificate]:
    """PEM certificates.

    Raises:
        ValueError: There is none, or one is damaged.
    """
    from cryptography.x509 import load_pem_x509_certificates

    return load_pem_x509_certificates(content)


def _pem(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _pkcs8(key: PrivateKeyTypes) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_private(path: Path, content: bytes) -> None:
    """Write what only this user may read; a file that somebody else put there meanwhile stays.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        # A running dub beside this one may have made its own: both then use the same.
        if _read_development(path) is None:
            move_file(part, path)
    finally:
        part.unlink(missing_ok=True)
