"""Ed25519 signatures of packs (RFC 8032), by the ``cryptography`` package.

Signed are the bytes of ``pack.json``, which holds the SHA-256 of every other file. The signature
stands in the pack as ``pack.sig``, base64 of its 64 bytes.
"""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any

from edge_ser.errors import InputError, MissingExtra, PackError

__all__ = ["KEY_VARIABLE", "TRUSTED", "check_signature", "read_keys", "sign", "trusted_file"]

KEY_VARIABLE = "EDGE_SER_PACK_KEY"
TRUSTED = "trusted.pem"
_PURPOSE = "check or make signatures of packs"
_BLOCK = re.compile(rb"-----BEGIN [^-]+-----.*?-----END [^-]+-----", re.S)


def trusted_file(store: Path) -> Path | None:
    """File with the public keys that packs must be signed by; None where none is configured.

    It is the one that ``$EDGE_SER_PACK_KEY`` names, else ``trusted.pem`` in the store.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return Path(given)
    path = store / TRUSTED
    return path if os.path.lexists(path) else None


def read_keys(path: Path) -> list[Any]:
    """The Ed25519 public keys in the PEM file ``path``, of which there is at least one.

    Raises:
        MissingExtra: cryptography is not installed; without it nothing is taken as signed.
        InputError: the file is missing, or holds something else.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise MissingExtra("cryptography", "signed", _PURPOSE) from None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"the key file {path} cannot be read ({error.strerror})") from error
    keys = []
    for block in _BLOCK.findall(content):
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InputError(f"{path} has something that is no public key ({error})") from error
        if not isinstance(key, Ed25519PublicKey):
            raise InputError(f"{path} has a key that is no Ed25519 key")
        keys.append(key)
    if not keys:
        raise InputError(f"{path} has no public key in PEM")
    return keys


def check_signature(manifest: bytes, signature: bytes | None, keys_file: Path, name: str) -> None:
    """Let only a pack pass whose ``pack.json`` is signed by one of the trusted keys.

    Args:
        manifest: the bytes of ``pack.json``.
        signature: content of ``pack.sig``, None if the pack has none.
        keys_file: PEM with the trusted keys.
        name: of the pack, for messages.

    Raises:
        PackError: it is not signed, or by nobody who is trusted.
        InputError: the key file cannot be used.
        MissingExtra: cryptography is not installed.
    """
    keys = read_keys(keys_file)
    from cryptography.exceptions import InvalidSignature

    if signature is None:
        raise PackError(
            f"pack {name} is not signed, and {keys_file} asks for a signature; sign it with: "
            "edge-ser pack sign FILE --key PRIVATE.pem"
        )
    try:
        raw = base64.b64decode(signature.strip(), validate=True)
    except ValueError:
        raise PackError(f"pack {name}: pack.sig is no signature; get the pack again") from None
    for key in keys:
        try:
            key.verify(raw, manifest)
        except InvalidSignature:
            continue
        return
    raise PackError(
        f"pack {name}: its signature is by none of the keys in {keys_file}, or pack.json was "
        "changed after signing; get the pack again from its maker"
    )


def sign(manifest: bytes, key_file: Path) -> bytes:
    """Content of ``pack.sig`` for the bytes of a ``pack.json``.

    Raises:
        MissingExtra: cryptography is not installed.
        InputError: the key file cannot be read or holds no Ed25519 private key.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise MissingExtra("cryptography", "signed", _PURPOSE) from None
    try:
        key = load_pem_private_key(key_file.read_bytes(), None)
    except OSError as error:
        raise InputError(f"the key file {key_file} cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{key_file} is no private key without a password ({error}); make one with: "
            "openssl genpkey -algorithm ed25519 -out key.pem"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(
            f"{key_file} is no Ed25519 key; make one with: "
            "openssl genpkey -algorithm ed25519 -out key.pem"
        )
    return base64.b64encode(key.sign(manifest)) + b"\n"
