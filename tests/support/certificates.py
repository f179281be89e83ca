"""Certificates for TLS on this machine's own addresses, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def authority(folder: Path) -> None:
    """ca.pem and ca-key.pem in folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _openssl(
        folder, "req", "-x509", *_NEW, "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca-key.pem", "-out",
        "ca.pem",
    )  # fmt: skip


def certificate(folder: Path, name: str, usage: str) -> None:
    """NAME.pem and NAME-key.pem in the authority's folder, for 127.0.0.1. usage: serverAuth or clientAuth."""
    (folder / "extensions").write_text(f"subjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\n")
    _openssl(folder, "req", *_NEW, "-subj", f"/CN={name}", "-keyout", f"{name}-key.pem", "-out", f"{name}.csr")
    _openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial",
        "-days", "2", "-extfile", "extensions", "-out", f"{name}.pem",
    )  # fmt: skip


def client(folder: Path, authority: Path, name: str = "client") -> Path:
    """folder as DOCKER_CERT_PATH wants it: the authority's certificate, and the client's."""
    folder.mkdir(parents=True, exist_ok=True)
    for source, target in (("ca.pem", "ca.pem"), (f"{name}.pem", "cert.pem"), (f"{name}-key.pem", "key.pem")):
        (folder / target).write_bytes((authority / source).read_bytes())
    return folder


_NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=30)
