"""Kernel parameters, masked and read-only paths, propagation, personality, the keyring."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.conftest import MakeContainer
from conformance.runtime import Container, Runtime, wait_for
from conformance.test_mount_options import (
    MOUNTINFO,
    mount_at,
    mounts_of,
    parse_mounts,
)

# sysctl


def parameter(name: str) -> Path:
    """The file of a kernel parameter on the host."""
    return Path("/proc/sys") / name.replace(".", "/")


PARAMETERS = {
    "net.ipv4.ip_forward": "1",
    "net.core.somaxconn": "777",
    "net.ipv4.ping_group_range": "0\t77",
    "kernel.msgmax": "8193",
    "kernel.shmmni": "4000",
    "kernel.sem": "250\t32000\t100\t127",
    "kernel.shm_rmid_forced": "1",
    "fs.mqueue.msg_max": "11",
}


@pytest.mark.rows("R213")
@pytest.mark.parametrize("name", PARAMETERS)
def test_sysctl(container: Container, name: str) -> None:
    """The parameter has the value inside; the host keeps its own."""
    if not parameter(name).exists():
        pytest.skip(f"the kernel has no {name}")
    before = parameter(name).read_text()
    container.bundle.linux["sysctl"] = {name: PARAMETERS[name]}
    container.bundle.sh(f"cat {parameter(name)}")
    assert container.finish() == PARAMETERS[name] + "\n"
    assert parameter(name).read_text() == before


@pytest.mark.rows("R213", "R216")
def test_sysctl_under_read_only_proc(container: Container) -> None:
    """/proc/sys becomes read-only after the parameters are set."""
    container.bundle.linux["sysctl"] = {"net.core.somaxconn": "777"}
    container.bundle.linux["readonlyPaths"] = ["/proc/sys"]
    file = "/proc/sys/net/core/somaxconn"
    container.bundle.sh(f"cat {file}; echo 5 >{file} || echo refused")
    assert container.finish().split() == ["777", "refused"]


@pytest.mark.rows("R213")
def test_sysctl_without_a_proc_mount(container: Container) -> None:
    """The parameters are those of the container even if it has no /proc."""
    container.bundle.without_mount("/proc")
    container.bundle.capability("CAP_SYS_ADMIN")
    container.bundle.linux["sysctl"] = {"net.core.somaxconn": "777"}
    if container.runtime.name in ("runc", "crun"):
        pytest.xfail("R213: writes to the container's own /proc")
    container.bundle.sh("mount -t proc proc /proc && cat /proc/sys/net/core/somaxconn")
    assert container.finish() == "777\n"


@pytest.mark.rows("R213")
def test_sysctl_with_slashes(container: Container) -> None:
    """A name may have slashes between its parts; dots are then dots."""
    container.bundle.linux["sysctl"] = {"net/ipv4/conf/lo/forwarding": "1"}
    container.bundle.sh("cat /proc/sys/net/ipv4/conf/lo/forwarding")
    assert container.finish() == "1\n"


@pytest.mark.rows("R213", "R36")
@pytest.mark.parametrize(
    "name",
    ["vm.swappiness", "kernel.core_pattern", "kernel.panic", "fs.file-max", "nosuch.parameter"],
)
def test_sysctl_of_the_host(container: Container, name: str) -> None:
    """A parameter that no namespace has is the host's: an error."""
    before = parameter(name).read_text() if parameter(name).exists() else None
    container.bundle.linux["sysctl"] = {name: before.strip() if before else "1"}
    container.refused()
    assert (parameter(name).read_text() if parameter(name).exists() else None) == before


@pytest.mark.rows("R213", "R36")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("net.core.somaxconn", "network"),
        ("kernel.msgmax", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.domainname", "uts"),
    ],
)
def test_sysctl_without_its_namespace(container: Container, name: str, kind: str) -> None:
    """Without a namespace of its own the parameter would be the host's: an error."""
    before = parameter(name).read_text()
    container.bundle.without_namespace(kind)
    if kind == "uts":
        del container.bundle.config["hostname"]
    container.bundle.linux["sysctl"] = {name: before.strip()}
    container.refused()
    assert parameter(name).read_text() == before


@pytest.mark.rows("R213", "R131", "R36")
def test_sysctl_of_the_joined_namespace_of_the_host(container: Container) -> None:
    """A path to the runtime's own network namespace is not a namespace of its own."""
    container.bundle.namespace("network", "/proc/self/ns/net")
    container.bundle.linux["sysctl"] = {"net.core.somaxconn": "777"}
    container.refused()


@pytest.mark.rows("R213", "R131")
def test_sysctl_of_a_joined_namespace(make_container: MakeContainer) -> None:
    """In a joined network namespace the parameter is set for all in it."""
    container, holder = make_container(), make_container()
    holder.bundle.sh("until grep -q 777 /proc/sys/net/core/somaxconn; do sleep 0.02; done")
    holder.create().start()
    container.bundle.namespace("network", f"/proc/{holder.pid}/ns/net")
    container.bundle.linux["sysctl"] = {"net.core.somaxconn": "777"}
    container.create()
    holder.wait_stopped()


@pytest.mark.rows("R213", "R36")
def test_sysctl_for_the_host_name(container: Container) -> None:
    """kernel.hostname is what `hostname` is for."""
    container.bundle.linux["sysctl"] = {"kernel.hostname": "x"}
    container.refused()


@pytest.mark.rows("R213", "R16")
def test_sysctl_for_the_domain_name(container: Container) -> None:
    """kernel.domainname needs the uts namespace only."""
    container.bundle.linux["sysctl"] = {"kernel.domainname": "example.org"}
    container.bundle.sh("cat /proc/sys/kernel/domainname")
    assert container.finish() == "example.org\n"


@pytest.mark.rows("R213", "R36")
@pytest.mark.parametrize("value", ["not a number", "99999999999999999999"])
def test_value_that_the_kernel_refuses(container: Container, value: str) -> None:
    """The kernel's refusal makes the create fail."""
    container.bundle.linux["sysctl"] = {"net.core.somaxconn": value}
    container.refused()


@pytest.mark.rows("R213", "R36")
@pytest.mark.parametrize("name", ["net.nosuch.parameter", "net", "net.core/../../../vm/swappiness"])
def test_name_that_is_no_parameter(container: Container, name: str) -> None:
    """A name without a file, or one that climbs, is an error."""
    container.bundle.linux["sysctl"] = {name: "60"}
    container.refused()


# masked paths


@pytest.mark.rows("R215")
def test_masked_file(container: Container) -> None:
    """A masked file is empty, and what is written to it goes nowhere."""
    file = container.bundle.file("/etc/secret", "secret\n")
    container.bundle.linux["maskedPaths"] = ["/etc/secret"]
    container.bundle.sh("cat /etc/secret; echo x >/etc/secret; cat /etc/secret; echo end")
    assert container.finish() == "end\n"
    assert file.read_text() == "secret\n"


@pytest.mark.rows("R215")
def test_masked_directory(container: Container) -> None:
    """A masked directory is empty and cannot be written to."""
    container.bundle.file("/etc/secrets/file", "secret\n")
    container.bundle.linux["maskedPaths"] = ["/etc/secrets"]
    container.bundle.sh("ls -A /etc/secrets; echo x >/etc/secrets/new || echo refused")
    assert container.finish() == "refused\n"
    assert [path.name for path in (container.bundle.rootfs / "etc/secrets").iterdir()] == ["file"]


@pytest.mark.rows("R215")
@pytest.mark.parametrize("path", ["/proc/kcore", "/proc/keys", "/proc/timer_list"])
def test_masked_file_of_proc(container: Container, path: str) -> None:
    """The usual files of /proc are masked by /dev/null."""
    if not Path(path).exists():
        pytest.skip(f"the kernel has no {path}")
    container.bundle.linux["maskedPaths"] = [path]
    container.bundle.sh(f"stat -c '%F %t:%T' {path}; cat {path}")
    assert container.finish() == "character special file 1:3\n"


@pytest.mark.rows("R215")
@pytest.mark.parametrize("path", ["/proc/acpi", "/sys/firmware", "/proc/scsi"])
def test_masked_directory_of_the_kernel(container: Container, path: str) -> None:
    """The usual directories of /proc and /sys are masked by an empty one."""
    if not Path(path).is_dir():
        pytest.skip(f"the kernel has no {path}")
    container.bundle.linux["maskedPaths"] = [path]
    container.bundle.sh(f"ls -A {path}; {MOUNTINFO}")
    output = container.finish()
    mounts = parse_mounts(output)
    assert len(mounts) == len(output.splitlines())
    assert "ro" in mount_at(mounts, path).options


@pytest.mark.rows("R215")
def test_many_masked_paths(container: Container) -> None:
    """Missing paths are skipped; a path may be there twice."""
    container.bundle.file("/etc/one", "1\n")
    container.bundle.file("/etc/two", "2\n")
    container.bundle.linux["maskedPaths"] = [
        *["/missing", "/etc/one", "/etc/one", "/etc/missing/below", "/etc/two"],
    ]
    container.bundle.sh("cat /etc/one /etc/two; ls /missing || echo missing")
    assert container.finish() == "missing\n"


@pytest.mark.rows("R215")
def test_masked_link(container: Container) -> None:
    """A link is followed inside the root: what it points to is masked."""
    container.bundle.file("/etc/secret", "secret\n")
    (container.bundle.rootfs / "link").symlink_to("/etc/secret")
    container.bundle.linux["maskedPaths"] = ["/link"]
    container.bundle.sh("cat /link; echo end")
    assert container.finish() == "end\n"


@pytest.mark.rows("R215")
def test_masked_in_a_read_only_root(container: Container) -> None:
    """Masking needs no writing to the root."""
    container.bundle.config["root"]["readonly"] = True
    container.bundle.file("/etc/secret", "secret\n")
    container.bundle.file("/etc/secrets/file", "secret\n")
    container.bundle.linux["maskedPaths"] = ["/etc/secret", "/etc/secrets"]
    container.bundle.sh("cat /etc/secret /etc/secrets/file; ls /etc/secrets; echo end")
    assert container.finish() == "end\n"


@pytest.mark.rows("R215", "R291")
def test_masked_for_exec(container: Container) -> None:
    """What is masked is so for a process of exec."""
    container.bundle.file("/etc/secret", "secret\n")
    container.bundle.linux["maskedPaths"] = ["/etc/secret"]
    container.create().start()
    result = container.exec("cat", "/etc/secret")
    assert (result.status, result.stdout) == (0, ""), str(result)


@pytest.mark.rows("R215", "R216", "R4")
@pytest.mark.parametrize("name", ["maskedPaths", "readonlyPaths"])
@pytest.mark.departs("runc", "R215: relative to the root")
@pytest.mark.departs("crun", "R215: relative to the root")
def test_relative_path(container: Container, name: str) -> None:
    """The paths must be absolute."""
    container.bundle.linux[name] = ["etc/passwd"]
    container.refused()


# read-only paths


@pytest.mark.rows("R216")
def test_readonly_file_and_directory(container: Container) -> None:
    """They can be read and not written."""
    container.bundle.file("/etc/one", "1\n")
    container.bundle.file("/etc/dir/two", "2\n")
    container.bundle.linux["readonlyPaths"] = ["/etc/one", "/etc/dir", "/missing", "/etc/one"]
    container.bundle.sh(
        "cat /etc/one /etc/dir/two; for i in one dir/two dir/new new; do"
        " echo x >/etc/$i || echo no $i; done"
    )
    assert container.finish().splitlines() == ["1", "2", "no one", "no dir/two", "no dir/new"]


@pytest.mark.rows("R216")
def test_readonly_keeps_the_other_flags(container: Container) -> None:
    """nosuid, nodev and noexec of the mount stay."""
    container.bundle.mount("/data", "tmpfs", "tmpfs", ["nosuid", "nodev", "noexec"])
    container.bundle.linux["readonlyPaths"] = ["/data", "/proc/sys"]
    mounts = mounts_of(container)
    assert {"ro", "nosuid", "nodev", "noexec"} <= mount_at(mounts, "/data").options
    assert "ro" in mount_at(mounts, "/proc/sys").options
    assert mount_at(mounts, "/proc/sys").root == "/sys"


@pytest.mark.rows("R216")
def test_readonly_brings_what_is_below(container: Container) -> None:
    """What is mounted below a read-only path is still to be seen."""
    container.bundle.mount("/data", "tmpfs", "tmpfs")
    container.bundle.mount("/data/below", "tmpfs", "tmpfs", ["size=64k"])
    container.bundle.linux["readonlyPaths"] = ["/data"]
    container.bundle.sh("stat -f -c %b /data/below; echo x >/data/new || echo refused")
    lines = container.finish().splitlines()
    assert lines == ["16", "refused"]


@pytest.mark.rows("R216")
def test_readonly_link(container: Container) -> None:
    """A link is followed inside the root."""
    container.bundle.file("/etc/dir/file", "text\n")
    (container.bundle.rootfs / "link").symlink_to("/etc/dir")
    container.bundle.linux["readonlyPaths"] = ["/link"]
    container.bundle.sh("echo x >/etc/dir/file || echo refused")
    assert container.finish() == "refused\n"


# propagation of the root


@pytest.fixture
def shared_host(runtime: Runtime) -> Iterator[Path]:
    """Let the runtime run in a mount namespace where every mount is shared, as under systemd.

    The mountinfo of that namespace.
    """
    holder = subprocess.Popen(["unshare", "--mount", "--propagation", "shared", "sleep", "1000"])
    proc = Path(f"/proc/{holder.pid}")
    wait_for(lambda: (proc / "comm").read_text() == "sleep\n", "a namespace with shared mounts")
    wrapper = runtime.workplace / "in-shared-mounts"
    program = runtime.program
    wrapper.write_text(f'#!/bin/sh\nexec nsenter --mount={proc}/ns/mnt {program} "$@"\n')
    wrapper.chmod(0o755)
    runtime.program = str(wrapper)
    yield proc / "mountinfo"
    for container in runtime.containers:
        container.clean()
    runtime.program = program
    holder.kill()
    holder.wait()


PROPAGATION: dict[str, set[str]] = {
    "private": set(),
    "slave": {"master"},
    "shared": {"shared"},
    "unbindable": {"unbindable"},
    "rprivate": set(),
    "rslave": {"master"},
    "rshared": {"shared"},
    "runbindable": {"unbindable"},
}


def root_propagation(container: Container) -> frozenset[str]:
    """Of the mount that is the root inside."""
    return mount_at(mounts_of(container), "/").propagation


BEFORE_PIVOT = pytest.mark.departs("runc", "R214: shared and unbindable are broken before 1.3.1")


@pytest.mark.rows("R214")
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(value, marks=() if value.endswith(("private", "slave")) else BEFORE_PIVOT)
        for value in PROPAGATION
    ],
)
def test_root_propagation(container: Container, shared_host: Path, value: str) -> None:
    """The root inside has the configured propagation."""
    container.bundle.linux["rootfsPropagation"] = value
    found = root_propagation(container)
    wanted = PROPAGATION[value]
    assert found & {"shared", "unbindable"} == wanted & {"shared", "unbindable"}
    if value.endswith("private"):
        assert found == set()


@pytest.mark.rows("R214")
@pytest.mark.parametrize("value", [None, "private", "slave", "shared"])
def test_nothing_propagates_to_the_host(
    container: Container, shared_host: Path, value: str | None
) -> None:
    """What the container mounts in its root is not on the host, whatever the propagation."""
    if value:
        container.bundle.linux["rootfsPropagation"] = value
    container.bundle.capability("CAP_SYS_ADMIN")
    container.bundle.sh(
        "mount -t tmpfs inside /tmp && echo mounted; until [ -e /go ]; do sleep 0.02; done"
    )
    container.create().start().wait_output("mounted")
    seen = [line for line in shared_host.read_text().splitlines() if " tmpfs inside " in line]
    assert seen == []
    (container.bundle.rootfs / "go").touch()
    container.wait_stopped()


@pytest.mark.rows("R214", "R36")
@pytest.mark.parametrize("value", ["nosuch", "SHARED", 1])
@pytest.mark.departs("crun", "R4: takes any word")
def test_unknown_root_propagation(container: Container, value: Any) -> None:
    """There are four values."""
    container.bundle.linux["rootfsPropagation"] = value
    container.refused()


# personality

NO_PERSONALITY = pytest.mark.departs("runc", "R218: came with 1.2")


def with_personality(bundle: Bundle, **fields: Any) -> Bundle:
    """Set linux.personality, and run `uname -m`."""
    bundle.linux["personality"] = fields
    return bundle.sh("uname -m; cat /proc/self/personality")


@pytest.mark.rows("R218")
@NO_PERSONALITY
def test_personality_of_32_bits(container: Container) -> None:
    """LINUX32 makes uname tell of a 32-bit machine."""
    with_personality(container.bundle, domain="LINUX32")
    machine, domain = container.finish().split()
    assert machine in ("i686", "armv7l", "armv8l")
    assert int(domain, 16) == 8


@pytest.mark.rows("R218")
def test_usual_personality(container: Container) -> None:
    """LINUX is what processes have anyway."""
    with_personality(container.bundle, domain="LINUX")
    assert int(container.finish().split()[1], 16) == 0


@pytest.mark.rows("R218", "R291")
@NO_PERSONALITY
@pytest.mark.departs("crun<1.21", "R218: not for exec")
def test_personality_of_exec(container: Container) -> None:
    """A process of exec has it, too."""
    with_personality(container.bundle, domain="LINUX32").args("/bin/sleep", "1000")
    container.create().start()
    result = container.exec("cat", "/proc/self/personality")
    assert int(result.stdout, 16) == 8, str(result)


@pytest.mark.rows("R218", "R36")
@pytest.mark.parametrize(
    "domain", [*[pytest.param(d, marks=NO_PERSONALITY) for d in ("linux32", "SVR4", "")], 8]
)
def test_unknown_personality(container: Container, domain: Any) -> None:
    """There are two domains."""
    with_personality(container.bundle, domain=domain)
    container.refused()


@pytest.mark.rows("R219", "R36")
@pytest.mark.departs("runc", "R219: ignores the flags")
@pytest.mark.departs("crun", "R219: ignores the flags")
def test_personality_flags(container: Container) -> None:
    """No value of `flags` is supported by the text: an error."""
    with_personality(container.bundle, domain="LINUX", flags=["ADDR_NO_RANDOMIZE"])
    container.refused()


# the session keyring


def session_keyrings(container: Container, *options: str) -> list[str]:
    """The names of session keyrings which the process can see; others' may be among them."""
    if not Path("/proc/keys").exists():
        pytest.skip("the kernel has no keys")
    container.bundle.sh("cat /proc/keys")
    words = container.finish(*options).replace(":", " ").split()
    return [word for word in words if word.startswith("_ses.")]


@pytest.mark.rows("R220")
def test_session_keyring(container: Container) -> None:
    """The container has a session keyring of its own, which has its name."""
    assert f"_ses.{container.id}" in session_keyrings(container)


@pytest.mark.rows("R220", "R290")
def test_no_new_keyring(container: Container) -> None:
    """With --no-new-keyring it stays in that of the caller."""
    assert f"_ses.{container.id}" not in session_keyrings(container, "--no-new-keyring")
