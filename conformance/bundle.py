"""A bundle with a busybox root file system, and a config that is easy to change.

    bundle.sh("echo hello")              process.args = /bin/sh -c ...
    bundle.process["cwd"] = "/tmp"       parts of the config: .process .linux .resources
    bundle.config["hostname"] = "x"      the whole document, a plain dict
    bundle.namespace("user", path=...)   add (or replace) a namespace; .without_namespace(type)
    bundle.mount("/data", "tmpfs")       append a mount
    bundle.hook("prestart", "exit 3")    append a hook that runs a /bin/sh script (on the host,
                                         or in the container for startContainer)
    bundle.rootfs / "etc"                the root file system, a Path on the host
    bundle.save()                        write config.json (Container.create does that)

The root file system holds one static busybox (a hard link to a copy that all tests share) and
symbolic links for the applets below. The cgroup is /conformance-ID, at the top of each hierarchy.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

APPLETS = (
    "sh cat echo env id ls ps sleep true false test kill mkdir mount umount umask ulimit hostname"
    " dnsdomainname grep head tail readlink stat touch rm sed awk sort tr wc seq dd mknod chmod"
    " chown stty tty ip df sync od printf pwd uname date nice cut expr find ln cp mv getopt setsid"
    " trap nc xargs"
)

CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID"]

MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
    {
        "destination": "/sys",
        "type": "sysfs",
        "source": "sysfs",
        "options": ["nosuid", "noexec", "nodev", "ro"],
    },
]


def minimal_config(identifier: str) -> dict[str, Any]:
    """A config for `sleep`, with five namespaces, a few capabilities and its own cgroup."""
    sets = ("bounding", "effective", "permitted")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sleep", "1000"],
            "env": ["PATH=/usr/bin:/bin:/usr/sbin:/sbin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(CAPABILITIES) for name in sets},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "conformance",
        "mounts": copy.deepcopy(MOUNTS),
        "linux": {
            "cgroupsPath": f"/conformance-{identifier}",
            "namespaces": [
                {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")
            ],
        },
    }


class Bundle:
    """A directory with a root file system, and the config that will be written there."""

    def __init__(self, path: Path, busybox: Path, identifier: str) -> None:
        self.path = path
        self.rootfs = path / "rootfs"
        self.config = minimal_config(identifier)
        make_rootfs(self.rootfs, busybox)

    @property
    def process(self) -> dict[str, Any]:
        """The section `process`."""
        return self._section(self.config, "process")

    @property
    def linux(self) -> dict[str, Any]:
        """The section `linux`."""
        return self._section(self.config, "linux")

    @property
    def resources(self) -> dict[str, Any]:
        """The section `linux.resources`, made if there is none."""
        return self._section(self.linux, "resources")

    @property
    def cgroups_path(self) -> str:
        """The configured path of the cgroup, or a path that nobody has."""
        linux = self.config.get("linux")
        path = linux.get("cgroupsPath") if isinstance(linux, dict) else None
        return path if isinstance(path, str) and path else "/no-cgroup-of-the-conformance-tests"

    @staticmethod
    def _section(parent: dict[str, Any], name: str) -> dict[str, Any]:
        section = parent.setdefault(name, {})
        assert isinstance(section, dict)
        return section

    def args(self, *args: str) -> Bundle:
        """Set process.args."""
        self.process["args"] = list(args)
        return self

    def sh(self, script: str) -> Bundle:
        """Run a shell script as the container's process."""
        return self.args("/bin/sh", "-c", script)

    def env(self, *entries: str) -> Bundle:
        """Append entries to process.env."""
        self.process["env"] += entries
        return self

    def namespace(self, kind: str, path: str = "") -> Bundle:
        """Add a namespace, in place of one of the same type."""
        self.without_namespace(kind)
        entry = {"type": kind, "path": path} if path else {"type": kind}
        self.linux["namespaces"].append(entry)
        return self

    def without_namespace(self, kind: str) -> Bundle:
        """Take a namespace out."""
        self.linux["namespaces"] = [
            entry for entry in self.linux["namespaces"] if entry["type"] != kind
        ]
        return self

    def mount(
        self, destination: str, kind: str = "", source: str = "", options: list[str] | None = None
    ) -> Bundle:
        """Append a mount; an empty `kind` or `source` and an `options` of None are left out."""
        entry: dict[str, Any] = {"destination": destination}
        if kind:
            entry["type"] = kind
        if source:
            entry["source"] = source
        if options is not None:
            entry["options"] = options
        self.config["mounts"].append(entry)
        return self

    def without_mount(self, destination: str) -> Bundle:
        """Take a mount out."""
        self.config["mounts"] = [
            entry for entry in self.config["mounts"] if entry["destination"] != destination
        ]
        return self

    def capability(self, *names: str) -> Bundle:
        """Add capabilities to the bounding, effective and permitted sets."""
        for name in ("bounding", "effective", "permitted"):
            self.process["capabilities"][name] += names
        return self

    def hook(self, kind: str, script: str, **fields: Any) -> Bundle:
        """Append a hook of that type, which runs a /bin/sh script; `fields` are more members."""
        entry = {"path": "/bin/sh", "args": ["sh", "-c", script], **fields}
        self._section(self.config, "hooks").setdefault(kind, []).append(entry)
        return self

    def file(self, path: str, text: str = "", mode: int = 0o644) -> Path:
        """Make a file in the root file system; its path on the host."""
        target = self.rootfs / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
        return target

    def save(self) -> None:
        """Write config.json."""
        (self.path / "config.json").write_text(json.dumps(self.config, indent=1))


def make_rootfs(rootfs: Path, busybox: Path) -> None:
    """Make a root file system around a hard link to (or a copy of) a static busybox."""
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "root"):
        (rootfs / name).mkdir(parents=True)
    (rootfs / "tmp").chmod(0o1777)
    try:
        os.link(busybox, rootfs / "bin/busybox")
    except OSError:
        shutil.copy(busybox, rootfs / "bin/busybox")
    for applet in APPLETS.split():
        (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000:u:/home/u:\n")
    (rootfs / "etc/group").write_text("root:x:0:\nu:x:1000:\n")
