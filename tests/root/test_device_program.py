"""Devices in a v2 cgroup: the program that pyruntime loads decides (R170).

Seen in a private mount namespace that shows the v2 hierarchy alone.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from conformance.bundle import Bundle

COMMAND = Path(__file__).resolve().parents[2] / "bin" / "pyruntime"
BARE_V2 = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit 77; "
PROBE = (
    "cd /dev; busybox mknod denied c 1 11 && busybox mknod allowed c 1 3 && echo made; "
    "echo x >allowed && echo written; (echo x >denied) 2>/dev/null || echo refused"
)


@pytest.mark.rows("R170", "R165")
def test_rules_hold_on_v2(bundle: Bundle, tmp_path: Path) -> None:
    bundle.sh(PROBE)
    bundle.config["process"]["capabilities"] = {
        name: ["CAP_MKNOD"] for name in ("bounding", "effective", "permitted")
    }
    bundle.config["linux"]["cgroupsPath"] = f"/pyruntime-test-{tmp_path.name}"
    bundle.config["linux"].pop("resources", None)
    bundle.save()
    words = [str(COMMAND), "--root", str(tmp_path / "root"), "run", "--bundle", str(bundle.path)]
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", BARE_V2 + 'exec "$@"', "sh", *words, "devices"],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    if result.returncode == 77:
        pytest.skip(f"cgroup2 cannot be mounted alone: {result.stderr.strip()}")
    assert result.stdout.split() == ["made", "written", "refused"], json.dumps(vars(result))
