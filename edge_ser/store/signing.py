"""Put a signature into a pack, in place."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from edge_ser.files import replace_file
from edge_ser.pack import open_pack
from edge_ser.pack.reader import MANIFEST, SIGNATURE
from edge_ser.store.signature import sign

__all__ = ["sign_pack"]


def sign_pack(where: Path, key: Path) -> str:
    """Sign the whole pack in the folder or ``.tar`` ``where`` with the private key in ``key``.

    Returns:
        ``id@version``.

    Raises:
        PackError: it is no whole pack.
        MissingExtra: cryptography is not installed.
        InputError: the key cannot be used, or the pack cannot be written.
    """
    pack = open_pack(where)
    pack.verify()
    signature = sign(pack.raw(MANIFEST) or b"", key)
    if pack.path.is_dir():
        with replace_file(pack.path / SIGNATURE) as file:
            file.write(signature)
        return pack.manifest.name
    content = {name: pack.raw(name) or b"" for name in (MANIFEST, *pack.manifest.files)}
    with replace_file(pack.path) as file, tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in {**content, SIGNATURE: signature}.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    return pack.manifest.name
