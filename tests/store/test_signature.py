"""Where a key is configured, only what it signed gets in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from making.field import field_pack

from edge_ser.cli.main import main
from edge_ser.errors import InputError, PackError
from edge_ser.pack import open_pack
from edge_ser.store.signature import read_keys, sign
from edge_ser.store.signing import sign_pack
from edge_ser.store.store import PackStore

pytest.importorskip("cryptography", reason="needs the signed extra")

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


def keys(folder: Path, name: str, make=Ed25519PrivateKey.generate) -> tuple[Path, Path]:
    key = make()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def store(tmp_path: Path) -> PackStore:
    return PackStore(tmp_path / "packs", wait_s=0)


def install(store: PackStore, pack: Path) -> str:
    return store.install(pack, lambda folder: None)


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_signed_is_taken_unsigned_and_foreign_are_not(
    store: PackStore, tmp_path: Path, kind: str
) -> None:
    private, public = keys(tmp_path, "ours")
    stranger, _ = keys(tmp_path, "theirs")
    pack = field_pack(tmp_path / ("pack.tar" if kind == "tar" else "pack"))
    store.folder.mkdir()
    (store.folder / "trusted.pem").write_bytes(public.read_bytes())
    with pytest.raises(PackError, match="is not signed"):
        install(store, pack)
    assert sign_pack(pack, stranger) == "edge-six@9.1.0"
    with pytest.raises(PackError, match="by none of the keys"):
        install(store, pack)
    sign_pack(pack, private)
    assert install(store, pack) == "edge-six@9.1.0"
    open_pack(store.folder / "edge-six@9.1.0").verify()
    # Later changes are noticed as well, even if all hashes are made to fit.
    folder = store.folder / "edge-six@9.1.0"
    text = (folder / "pack.json").read_text()
    (folder / "pack.json").write_text(text.replace("Streaming student", "Another student"))
    with pytest.raises(PackError, match="changed after signing"):
        store.use("edge-six@9.1.0", lambda folder: None)
    assert "changed after signing" in str(store.attempt())
    assert store.selection.active is None


def test_a_signature_comes_later(store: PackStore, tmp_path: Path) -> None:
    private, public = keys(tmp_path, "ours")
    pack = field_pack(tmp_path / "pack.tar")
    install(store, pack)
    (store.folder / "trusted.pem").write_bytes(public.read_bytes())
    sign_pack(pack, private)
    assert install(store, pack) == "edge-six@9.1.0"
    assert store.attempt() is None, "the installed one has the signature now"
    assert store.selection.active == "edge-six@9.1.0"


def test_verify_says_who_signed(
    store: PackStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    private, public = keys(tmp_path, "ours")
    monkeypatch.setenv("EDGE_SER_PACKS", str(store.folder))
    pack = field_pack(tmp_path / "pack.tar")
    store.folder.mkdir()
    for configured, signed, status, word in (
        (False, False, 0, "not signed"),
        (True, False, 2, "is not signed"),
        (True, True, 0, "signed by a trusted key"),
        (False, True, 0, "by whom was not checked"),
    ):
        if configured:
            (store.folder / "trusted.pem").write_bytes(public.read_bytes())
        else:
            (store.folder / "trusted.pem").unlink(missing_ok=True)
        if signed:
            sign_pack(pack, private)
        assert main(["pack", "verify", str(pack)]) == status
        assert word in "".join(capsys.readouterr())
    assert main(["pack", "verify", "edge-six"]) == 0
    assert "came with edge-ser" in capsys.readouterr().out


def test_several_keys_and_the_environment(
    store: PackStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old_private, old_public), (_, new_public) = keys(tmp_path, "old"), keys(tmp_path, "new")
    both = tmp_path / "both.pem"
    both.write_bytes(new_public.read_bytes() + old_public.read_bytes())
    monkeypatch.setenv("EDGE_SER_PACK_KEY", str(both))
    pack = field_pack(tmp_path / "pack.tar")
    sign_pack(pack, old_private)
    install(store, pack)
    monkeypatch.setenv("EDGE_SER_PACK_KEY", str(tmp_path / "gone.pem"))
    with pytest.raises(InputError, match=r"gone.pem cannot be read"):
        install(store, pack)


def test_without_the_library_nothing_is_taken_as_signed(store: PackStore, tmp_path: Path) -> None:
    _, public = keys(tmp_path, "ours")
    store.folder.mkdir()
    (store.folder / "trusted.pem").write_bytes(public.read_bytes())
    pack = field_pack(tmp_path / "pack.tar")
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from edge_ser.cli.main import main\n"
        f"sys.exit(main(['pack', 'install', {str(pack)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={"EDGE_SER_PACKS": str(store.folder), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "pip install 'edge-ser[signed]'" in done.stderr
    assert store.selection.active is None


def test_key_files_that_are_none(tmp_path: Path) -> None:
    private, public = keys(tmp_path, "ours")
    other, other_public = keys(tmp_path, "ec", lambda: generate_private_key(SECP256R1()))
    for path, why in (
        (private, "no public key"),
        (other_public, "no Ed25519"),
        (Path(__file__), "no public key in PEM"),
    ):
        with pytest.raises(InputError, match=why):
            read_keys(path)
    for path, why in (
        (public, "no private key"),
        (other, "no Ed25519"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(InputError, match=why):
            sign(b"{}", path)


def test_openssl_makes_keys_that_fit(tmp_path: Path, store: PackStore) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    try:
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl with Ed25519 here")
    pack = field_pack(tmp_path / "pack.tar")
    assert main(["pack", "sign", str(pack), "--key", str(private)]) == 0
    store.folder.mkdir()
    (store.folder / "trusted.pem").write_bytes(public.read_bytes())
    assert install(store, pack) == "edge-six@9.1.0"


def test_nonsense_in_place_of_a_signature(store: PackStore, tmp_path: Path) -> None:
    _, public = keys(tmp_path, "ours")
    store.folder.mkdir()
    (store.folder / "trusted.pem").write_bytes(public.read_bytes())
    pack = field_pack(tmp_path / "pack")
    for nonsense in (b"", b"\xff\x00", b"AAAA", b"not base64!"):
        (pack / "pack.sig").write_bytes(nonsense)
        with pytest.raises(PackError, match="signature"):
            install(store, pack)
