"""Annotations that crun acts on: acted on, or warned of and explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyruntime import annotation_rules
from pyruntime.commands import features
from pyruntime.errors import ConfigError

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/annotations.md"
# Those of crun 1.29 that begin with run.oci.
CRUN = (
    "mount_context_type seccomp.receiver seccomp.plugins seccomp_fail_unknown_syscall "
    "seccomp_bpf_data keep_original_groups pidfd_receiver systemd.force_cgroup_v1 "
    "systemd.subgroup delegate-cgroup hooks.stdout hooks.stderr handler"
).split()


def annotated(**values: str) -> dict[str, Any]:
    return {"annotations": {f"run.oci.{name}": value for name, value in values.items()}}


@pytest.mark.rows("R253")
@pytest.mark.parametrize("name", CRUN)
def test_each_is_acted_on_or_warned_of(name: str) -> None:
    found = annotation_rules.warnings({"annotations": {f"run.oci.{name}": "1"}})
    supported = f"run.oci.{name}" in annotation_rules.SUPPORTED
    assert found == [] if supported else f"annotations[run.oci.{name}]: not supported" in found[0]


@pytest.mark.rows("R253")
@pytest.mark.parametrize("name", [*CRUN, "org.criu.config", "krun.*", "org.systemd.property.*"])
def test_each_is_explained(name: str) -> None:
    full = f"run.oci.{name}" if name in CRUN else name
    assert f"`{full}`" in DOCUMENT.read_text()


@pytest.mark.rows("R250", "R251", "R3")
def test_others_are_passed_over() -> None:
    names = ("io.kubernetes.cri.container-type", "org.opencontainers.image.stopSignal", "x")
    assert annotation_rules.warnings({"annotations": dict.fromkeys(names, "")}) == []
    assert annotation_rules.warnings({}) == []


@pytest.mark.rows("R274")
def test_features_name_what_is_acted_on() -> None:
    keys = tuple(features.features()["potentiallyUnsafeConfigAnnotations"])
    assert all(name.startswith(keys) for name in annotation_rules.SUPPORTED)


@pytest.mark.rows("R217", "R253")
def test_the_type_of_the_label() -> None:
    assert annotation_rules.context_type({}) == "context"
    other = annotated(mount_context_type="rootcontext")
    assert annotation_rules.context_type(other) == "rootcontext"
    with pytest.raises(ConfigError, match="'size' is none of context"):
        annotation_rules.context_type(annotated(mount_context_type="size"))


@pytest.mark.rows("R236", "R253")
@pytest.mark.parametrize("value", ["1", "true"])
def test_an_unknown_system_call_fails_if_asked(value: str) -> None:
    lines = ["linux.seccomp.syscalls[0].names[0]: system call 'opne' is unknown to libseccomp"]
    config = annotated(seccomp_fail_unknown_syscall=value)
    with pytest.raises(ConfigError, match=r"names.0.: system call 'opne'"):
        annotation_rules.refuse_unknown_calls(config, lines)
    annotation_rules.refuse_unknown_calls(config, [])
    annotation_rules.refuse_unknown_calls(annotated(seccomp_fail_unknown_syscall="0"), lines)
    annotation_rules.refuse_unknown_calls({}, lines)
