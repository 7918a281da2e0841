"""What may come into a store: by whom it is signed, how new it is, and what stands there."""

from __future__ import annotations

from pathlib import Path

from edge_ser.errors import PackError
from edge_ser.pack import Manifest, Pack, open_pack
from edge_ser.pack.reader import MANIFEST, SIGNATURE
from edge_ser.store.order import is_older
from edge_ser.store.signature import check_signature, trusted_file

__all__ = ["refuse_older", "signer_of", "stands_there"]


def signer_of(pack: Pack, store: Path) -> str:
    """Whether somebody vouches for ``pack``.

    Returns:
        ``signed by a trusted key``, or where no key is configured ``signed, by whom was not
        checked`` or ``not signed``.

    Raises:
        PackError: a key is configured, and the pack is not signed by it.
        InputError: the key file cannot be used.
        MissingExtra: a key is configured, and cryptography is not installed.
    """
    keys, signature = trusted_file(store), pack.raw(SIGNATURE)
    if keys is None:
        return "not signed" if signature is None else "signed, by whom was not checked"
    check_signature(pack.raw(MANIFEST) or b"", signature, keys, pack.manifest.name)
    return "signed by a trusted key"


def refuse_older(new: Manifest, now: Manifest) -> None:
    """Raise PackError if ``new`` is an older version of what is in use ``now``."""
    if now.id == new.id and is_older(new.version, now.version):
        raise PackError(
            f"{new.name} is older than {now.name}, which is in use; take it all the same with "
            "--allow-older"
        )


def stands_there(folder: Path, new: Pack) -> bool:
    """Whether this very pack stands in ``folder`` already, whole and with this signature.

    Raises:
        PackError: another one of the same name does.
    """
    if not folder.exists():
        return False
    try:
        pack = open_pack(folder)
        pack.verify()
    except PackError:
        return False  # damaged: the new copy repairs it
    if pack.raw(MANIFEST) != new.raw(MANIFEST):
        raise PackError(
            f"another {folder.name} is installed already, with other content; give the new "
            f"one a version of its own, or: edge-ser pack remove {folder.name}"
        )
    return pack.raw(SIGNATURE) == new.raw(SIGNATURE)
