"""Write one image archive that containerd, Podman, Docker and buildah all load.

An archive is an OCI layout with Docker's manifest.json beside it. The image is a static
busybox with a link for each applet; it is the same, byte for byte, at every call.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parents[2]
NAME = "localhost/engine-test:latest"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "var")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/home:/bin/sh\n",
    "etc/group": "root:x:0:\nguest:x:1000:\nextra:x:2000:guest\n",
}
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


def find_busybox() -> Path:
    """The path of a static busybox. Raises LookupError with the reason if there is none."""
    found = subprocess.run(
        [TREE / "tools/demo.sh", "--find-busybox"], capture_output=True, text=True
    )
    if found.returncode != 0:
        raise LookupError(found.stderr.strip() or "no static busybox")
    return Path(found.stdout.strip())


def _entry(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = _entry(name, mode=mode)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _layer(busybox: Path) -> bytes:
    """The root file system, as a tar file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in DIRECTORIES:
            archive.addfile(_entry(name, tarfile.DIRTYPE, 0o755))
        archive.addfile(_entry("tmp", tarfile.DIRTYPE, 0o1777))
        for name, text in FILES.items():
            _add(archive, name, text.encode())
        _add(archive, "bin/busybox", busybox.read_bytes(), 0o755)
        applets = subprocess.check_output([busybox, "--list"], text=True).split()
        for applet in applets:
            if applet != "busybox":
                link = _entry(f"bin/{applet}", tarfile.SYMTYPE, 0o777)
                link.linkname = "busybox"
                archive.addfile(link)
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    digest = f"sha256:{_digest(content)}"
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _image_config(layer: bytes, command: list[str]) -> bytes:
    return _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2020-01-01T00:00:00Z",
            "config": {"Env": [PATH], "Cmd": command, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
            "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "busybox"}],
        }
    )


def write(path: Path, name: str = NAME, command: list[str] | None = None) -> None:
    """Write the archive. Raises LookupError where there is no static busybox.

    `command` is what a container runs unless it is told otherwise: a shell by default.
    """
    layer = _layer(find_busybox())
    config = _image_config(layer, command or ["/bin/sh"])
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG_TYPE, config),
            "layers": [_descriptor(LAYER_TYPE, layer)],
        }
    )
    listed = _descriptor(MANIFEST_TYPE, manifest)
    listed["annotations"] = {"io.containerd.image.name": name}
    listed["platform"] = {"architecture": "amd64", "os": "linux"}
    docker = {
        "Config": f"blobs/sha256/{_digest(config)}",
        "RepoTags": [name],
        "Layers": [f"blobs/sha256/{_digest(layer)}"],
    }
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _json({"schemaVersion": 2, "manifests": [listed]}))
        _add(archive, "manifest.json", _json([docker]))
        for content in (layer, config, manifest):
            _add(archive, f"blobs/sha256/{_digest(content)}", content)
