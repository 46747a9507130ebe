"""Certificates of an authority and of a signer, as a user of Content Credentials has them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SIGNER = "Studio of Anna"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Files:
    """PEM files: the chain with the signer first, its key, the authority alone."""

    chain: Path
    key: Path
    authority: Path


def make_files(
    folder: Path, *, days: int = 30, with_purpose: bool = True, password: bytes | None = None
) -> Files:
    """A signer that is valid for some days from yesterday on; below 0 it has expired."""
    folder.mkdir(exist_ok=True)
    above, own = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    issuer = _name("Authority of studios")
    authority = _issue(issuer, above, issuer, above, days=3000, is_authority=True)
    signer = _issue(_name(SIGNER), own, issuer, above, days=days, with_purpose=with_purpose)
    files = Files(folder / "chain.pem", folder / "key.pem", folder / "authority.pem")
    files.authority.write_bytes(authority.public_bytes(Encoding.PEM))
    files.chain.write_bytes(signer.public_bytes(Encoding.PEM) + files.authority.read_bytes())
    lock = NoEncryption() if password is None else BestAvailableEncryption(password)
    # The older form, which OpenSSL still writes.
    form = PrivateFormat.TraditionalOpenSSL if password is None else PrivateFormat.PKCS8
    files.key.write_bytes(own.private_bytes(Encoding.PEM, form, lock))
    return files


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Studios"),
        ]
    )


def _issue(
    subject: x509.Name,
    own: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    above: ec.EllipticCurvePrivateKey,
    *,
    days: int,
    is_authority: bool = False,
    with_purpose: bool = True,
) -> x509.Certificate:
    begin = datetime.now(UTC) - DAY + min(0, days) * 2 * DAY
    usage = {
        **dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        ),
        **{"encipher_only": False, "decipher_only": False},
        **{"digital_signature": not is_authority},
        **{"key_cert_sign": is_authority, "crl_sign": is_authority},
    }
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + abs(days) * DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), critical=False
        )
    )
    if not is_authority and with_purpose:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(above, hashes.SHA384())
