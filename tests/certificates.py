"""Certificates for the tests of TLS: an authority, a server's and a client's pair, and a rogue's own."""

import shutil
import subprocess
from pathlib import Path

import pytest

HOST = "127.0.0.1"


def make(folder: Path) -> Path:
    """Fill `folder` with ca.pem, {server,client,rogue,rogue-ca}[-key].pem and `client/` as docker's client
    wants its own: ca.pem, cert.pem, key.pem. Skip without openssl.
    """
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    (folder / "names").write_text(f"subjectAltName=DNS:localhost,IP:{HOST}\n")
    for authority, names in (("ca", ("server", "client")), ("rogue-ca", ("rogue",))):
        place = ["-keyout", f"{authority}-key.pem", "-out", f"{authority}.pem", "-subj", f"/CN={authority}"]
        _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *place)
        for name in names:
            pair = ["-keyout", f"{name}-key.pem", "-out", f"{name}.csr", "-subj", f"/CN={name}"]
            _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", *pair)
            signer = ["-CA", f"{authority}.pem", "-CAkey", f"{authority}-key.pem", "-CAcreateserial"]
            made = ["-in", f"{name}.csr", "-out", f"{name}.pem", "-days", "2", "-extfile", "names"]
            _openssl(folder, "x509", "-req", *made, *signer)
    client = folder / "client"
    client.mkdir()
    for source, target in (("ca", "ca"), ("client", "cert"), ("client-key", "key")):
        shutil.copy(folder / f"{source}.pem", client / f"{target}.pem")
    return folder


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)
