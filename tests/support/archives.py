"""Image archives as others wrote them long ago."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any


def old_docker_archive(path: Path, layer: bytes, *, tags: Any = ("old:1",), **changes: Any) -> None:
    """What docker 1.10 wrote: a directory per layer, equal layers as symlinks."""
    config = {
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"] * 2},
        "history": [{"created_by": "one"}, {"created_by": "nothing", "empty_layer": True}, {"created_by": "two"}],
    }  # fmt: skip
    data = json.dumps(config).encode()
    name = hashlib.sha256(data).hexdigest() + ".json"
    listing = {"Config": name, "RepoTags": tags, "Layers": ["aa/layer.tar", "bb/layer.tar"], **changes}
    with tarfile.open(path, "w") as archive:

        def add(name: str, data: bytes, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(data), kind, link
            archive.addfile(member, io.BytesIO(data))

        add("aa/layer.tar", layer)
        add("bb/layer.tar", b"", tarfile.SYMTYPE, "../aa/layer.tar")
        add(name, data)
        add("manifest.json", json.dumps([listing]).encode())
