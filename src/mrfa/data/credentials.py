"""Content credentials (C2PA): a signed statement in a file that it is synthetic, which shows whether it was changed since."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from mrfa.config import read_text
from mrfa.data.origin import Origin, find_source_type
from mrfa.errors import InputError
from mrfa.extras import require

# By the file's suffix, as C2PA calls them.
_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime"}


# Nothing in a file makes us read from the network.
_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}


class Credentials(NamedTuple):
    """Who signs.

    Attributes:
        certificate: PEM file with the signer's certificate and those that lead to its root.
        key: PEM file with its private key.
    """

    certificate: Path
    key: Path

    def check(self) -> None:
        """Find out before the work that they cannot sign.

        Raises:
            InputError: c2pa-python is not installed, or a file cannot be used.
        """
        self._signer()

    def sign(self, path: Path, origin: Origin) -> None:
        """Sign a video, in its place.

        Raises:
            InputError: it cannot be signed.
        """
        import c2pa

        signer = self._signer()
        name, _, version = origin.software.partition(" ")
        action = {"action": "c2pa.created", "digitalSourceType": origin.source_type}
        statement = {
            "claim_generator_info": [{"name": name, "version": version}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
        }
        try:
            with path.open("r+b") as file, tempfile.TemporaryFile(dir=path.parent) as signed:
                with c2pa.Builder(json.dumps(statement)) as builder:
                    builder.sign(signer, _TYPES[path.suffix.lower()], file, signed)
                # The file itself stays: it is locked for as long as it is written.
                file.seek(0)
                signed.seek(0)
                shutil.copyfileobj(signed, file)
        except c2pa.C2paError as error:
            raise InputError(f"cannot sign {path}: {' '.join(str(error).split())}") from None

    def _signer(self) -> Any:
        require("c2pa", extra="c2pa")
        import c2pa

        certificate, key = (read_text(path, "PEM file").encode() for path in self)
        algorithm = self._algorithm(certificate, key)
        info = c2pa.C2paSignerInfo(alg=algorithm, sign_cert=certificate, private_key=key, ta_url=None)
        try:
            return c2pa.Signer.from_info(info)
        except c2pa.C2paError as error:
            raise InputError(f"cannot sign with {self.certificate}: {' '.join(str(error).split())}") from None

    def _algorithm(self, certificate: bytes, key: bytes) -> bytes:
        """C2PA's name for how the key signs."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

        try:
            signer = x509.load_pem_x509_certificate(certificate)
        except ValueError:
            raise InputError(f"cannot sign with {self.certificate}: it is no certificate in PEM") from None
        try:
            secret = serialization.load_pem_private_key(key, None)
        except (ValueError, TypeError):
            raise InputError(f"cannot sign with {self.key}: it is no private key in PEM without a password") from None
        if signer.public_key() != secret.public_key():
            raise InputError(f"cannot sign with {self.key}: it is not the key of {self.certificate}")
        if isinstance(secret, rsa.RSAPrivateKey):
            return b"ps256"
        if isinstance(secret, ed25519.Ed25519PrivateKey):
            return b"ed25519"
        curves = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}
        if isinstance(secret, ec.EllipticCurvePrivateKey) and secret.curve.name in curves:
            return curves[secret.curve.name]
        raise InputError(f"cannot sign with {self.key}: C2PA knows EC (P-256, P-384, P-521), RSA and Ed25519 keys")


class Statement(NamedTuple):
    """A signed statement that was found.

    Attributes:
        signer: of the certificate.
        state: `Valid`: unchanged since; `Trusted`: and the certificate is known; `Invalid`: it was changed since.
        source_type: IPTC's digital source type, where it says one.
    """

    signer: str
    state: str
    source_type: str | None


def read_statement(path: Path) -> Statement | None:
    """The active content credentials of a picture or video, or None.

    Raises:
        InputError: c2pa-python is not installed, or the file cannot be read.
    """
    require("c2pa", extra="c2pa")
    import c2pa

    try:
        with c2pa.Context.from_dict(_OFFLINE) as context, c2pa.Reader(path, context=context) as reader:
            found = json.loads(reader.json())
    except (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported):
        return None
    except c2pa.C2paError as error:
        raise InputError(f"cannot read the content credentials of {path}: {' '.join(str(error).split())}") from None
    manifest = found["manifests"][found["active_manifest"]]
    signature = manifest.get("signature_info", {})
    names = (signature.get("common_name"), signature.get("issuer"))
    signer = ", ".join(dict.fromkeys(name for name in names if name)) or "nobody known"
    return Statement(signer, str(found.get("validation_state")), find_source_type(json.dumps(manifest)))
