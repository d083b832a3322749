"""The features document, against its schema, runc's, and what the code understands."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pyruntime import options
from pyruntime.commands import features
from pyruntime.plan import mount_options

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def document() -> Any:
    result = subprocess.run(
        [CHECKOUT / "bin" / "pyruntime", "features"], capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
    assert result.stdout.startswith('{\n    "ociVersionMin"')
    assert result.stdout.endswith("}\n")
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def runc() -> Any:
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    result = subprocess.run(["runc", "features"], capture_output=True, text=True)
    if result.returncode != 0:
        pytest.skip("this runc has no features")
    return json.loads(result.stdout)


@pytest.mark.rows("R260")
def test_it_agrees_with_the_schema(document: Any) -> None:
    schema = json.loads((CHECKOUT / "spec" / "features.schema.json").read_text())
    jsonschema.Draft7Validator(schema).validate(document)


@pytest.mark.rows("R260")
def test_it_does_not_depend_on_the_host(document: Any, tmp_path: Path) -> None:
    bare = subprocess.run(
        [CHECKOUT / "bin" / "pyruntime", "features"],
        capture_output=True,
        text=True,
        env={},
        cwd=tmp_path,
        check=True,
    )
    assert json.loads(bare.stdout) == document


@pytest.mark.rows("R261")
def test_versions(document: Any) -> None:
    lowest, highest = document["ociVersionMin"], document["ociVersionMax"]
    assert (lowest, highest) == ("1.0.0", options.SPECIFICATION)
    assert re.fullmatch(r"1\.\d+\.\d+", highest)


@pytest.mark.rows("R262")
def test_hooks(document: Any) -> None:
    assert document["hooks"] == [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ]


@pytest.mark.rows("R263")
def test_mount_options_are_those_that_are_understood(document: Any) -> None:
    understood = {
        *mount_options.ATTRIBUTES,
        *mount_options.RECURSIVE,
        *mount_options.PROPAGATION,
        *mount_options.SUPERBLOCK,
        *mount_options.NOTHING,
        *("bind", "rbind", "remount", "tmpcopyup"),
    }
    if features.IDMAPPED_MOUNTS:
        understood |= {"idmap", "ridmap"}
    assert document["mountOptions"] == sorted(understood)


@pytest.mark.rows("R263")
def test_mount_options_are_those_of_runc(document: Any, runc: Any) -> None:
    # acl and noacl belong to single filesystems, and have no place in the list.
    missing = set(runc["mountOptions"]) - set(document["mountOptions"])
    assert missing <= {"acl", "noacl"}


@pytest.mark.rows("R264")
def test_namespaces(document: Any) -> None:
    expected = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
    assert document["linux"]["namespaces"] == expected


@pytest.mark.rows("R265")
def test_capabilities(document: Any, runc: Any) -> None:
    found = document["linux"]["capabilities"]
    assert len(found) == 41
    assert all(re.fullmatch(r"CAP_[A-Z_]+", name) for name in found)
    assert found[: len(runc["linux"]["capabilities"])] == runc["linux"]["capabilities"]


@pytest.mark.rows("R266")
def test_cgroups(document: Any) -> None:
    assert document["linux"]["cgroup"] == {
        "v1": True,
        "v2": True,
        "systemd": features.SYSTEMD,
        "systemdUser": features.SYSTEMD,
        "rdma": True,
    }


@pytest.mark.rows("R267")
def test_seccomp_is_off_or_complete(
    document: Any, runc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert document["linux"]["seccomp"]["enabled"] is features.SECCOMP
    if not features.SECCOMP:
        assert document["linux"]["seccomp"] == {"enabled": False}
    monkeypatch.setattr(features, "SECCOMP", True)
    seccomp = features.features()["linux"]["seccomp"]
    for name in ("actions", "operators", "archs"):
        assert seccomp[name] == sorted(seccomp[name])
        assert set(runc["linux"]["seccomp"][name]) <= set(seccomp[name])
    assert set(seccomp["supportedFlags"]) <= set(seccomp["knownFlags"])
    assert "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" in seccomp["knownFlags"]


@pytest.mark.rows("R268")
def test_security_modules(document: Any) -> None:
    assert document["linux"]["apparmor"] == {"enabled": True}
    assert document["linux"]["selinux"] == {"enabled": True}


@pytest.mark.rows("R269")
def test_intel_rdt(document: Any) -> None:
    on = features.INTEL_RDT
    expected = {"enabled": on, "schemata": on, "monitoring": on}
    assert document["linux"]["intelRdt"] == expected


@pytest.mark.rows("R270")
def test_memory_policy(document: Any) -> None:
    policy = document["linux"]["memoryPolicy"]
    schema = json.loads((CHECKOUT / "spec" / "config.schema.json").read_text())
    allowed = set(re.findall(r'"(MPOL_[A-Z_]+)"', json.dumps(schema)))
    assert {*policy["modes"], *policy["flags"]} == allowed
    assert all(flag.startswith("MPOL_F_") for flag in policy["flags"])


@pytest.mark.rows("R271")
def test_mount_extensions(document: Any) -> None:
    expected = {"idmap": {"enabled": features.IDMAPPED_MOUNTS}}
    assert document["linux"]["mountExtensions"] == expected
    assert ("idmap" in document["mountOptions"]) == features.IDMAPPED_MOUNTS


@pytest.mark.rows("R272")
def test_net_devices(document: Any) -> None:
    assert document["linux"]["netDevices"] == {"enabled": features.NET_DEVICES}


@pytest.mark.rows("R273")
def test_it_does_not_pass_for_runc(document: Any) -> None:
    assert "org.opencontainers.runc.commit" not in document.get("annotations", {})
    for value in document.get("annotations", {}).values():
        assert value == value.strip()


@pytest.mark.rows("R274")
def test_annotations_that_change_what_happens(document: Any) -> None:
    keys = document["potentiallyUnsafeConfigAnnotations"]
    assert isinstance(keys, list)
    assert all(isinstance(key, str) and key for key in keys)
    assert "run.oci.hooks." in keys


def test_the_features_are_made_anew_each_time() -> None:
    first = features.features()
    kept = copy.deepcopy(first)
    first["linux"]["namespaces"].clear()
    assert features.features() == kept
