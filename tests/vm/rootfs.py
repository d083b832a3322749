"""The guest's root directory: Debian by mmdebstrap, cut down to what boots quickly.

Everything that only a real machine needs is masked: under TCG each process of the boot
costs a tenth of a second, and nobody logs in.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.vm.debian import source_line
from tests.vm.host import run
from tests.vm.recipe import HERE, Recipe

GUEST_FILES = HERE / "guest_files"
PASSED_OVER = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
# One profile stays so that AppArmor has a policy; compiling Debian's hundred takes 30 s.
APPARMOR_PROFILE = "lsb_release"

MASKED = """
    getty@tty1.service getty-static.service serial-getty@.service console-getty.service
    systemd-timesyncd.service systemd-networkd.service systemd-networkd-wait-online.service
    systemd-resolved.service systemd-network-generator.service
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer
    e2scrub_reap.service systemd-firstboot.service systemd-pstore.service
    systemd-boot-random-seed.service systemd-random-seed.service systemd-update-utmp.service
    systemd-update-utmp-runlevel.service systemd-update-done.service ldconfig.service
    systemd-hwdb-update.service systemd-journal-flush.service
    systemd-journal-catalog-update.service systemd-machine-id-commit.service
    systemd-remount-fs.service systemd-udevd.service systemd-udev-trigger.service
    systemd-udev-load-credentials.service systemd-udevd-control.socket
    systemd-udevd-kernel.socket systemd-hostnamed.socket systemd-creds.socket
    systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-tpm2-setup.service
    systemd-tpm2-setup-early.service systemd-hibernate-clear.service modprobe@.service
    dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount
    netavark-dhcp-proxy.socket netavark-dhcp-proxy.service podman.socket
    podman-auto-update.timer podman-restart.service podman-clean-transient.service
    containerd.service
""".split()

SETTINGS = {
    "etc/hostname": "guest\n",
    "etc/hosts": "127.0.0.1 localhost guest\n",
    "etc/machine-id": "8d3c1f60b5a94e2fa7c2d9e40b1f6a53\n",
    "etc/fstab": "",
    "etc/.updated": "",
    "var/.updated": "",
    "etc/systemd/journald.conf.d/guest.conf": "[Journal]\nStorage=volatile\nRateLimitBurst=0\n",
    "etc/systemd/system.conf.d/guest.conf": (
        "[Manager]\nDefaultTimeoutStartSec=300s\nDefaultDeviceTimeoutSec=300s\n"
    ),
    # An ordinary user's manager gets every controller; Debian's default leaves out cpuset and io.
    "etc/systemd/system/user@.service.d/guest.conf": (
        "[Service]\nDelegate=cpu cpuset io memory pids\n"
    ),
}


def make(recipe: Recipe, root: Path) -> None:
    """Install and configure the recipe's packages below `root`. Raises Failure."""
    bootstrap(recipe, root)
    configure(root)
    add_user(root)


def bootstrap(recipe: Recipe, root: Path) -> None:
    """Fill `root` by mmdebstrap."""
    sources = root.with_name("sources.list")
    sources.write_text(source_line(recipe.suite))
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"]
    command += ["--aptopt=APT::Install-Recommends false", "--aptopt=Acquire::Retries 3"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in PASSED_OVER]
    command += [f"--include={','.join(recipe.packages)}", recipe.suite, str(root), str(sources)]
    run(command, f"installing Debian {recipe.suite}")


def configure(root: Path) -> None:
    """Write the settings, mask what is not needed, install the agent."""
    for name, text in SETTINGS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    units = root / "etc/systemd/system"
    for unit in MASKED:
        mask(units / unit)
    for generator in (root / "usr/lib/systemd/system-generators").iterdir():
        mask(root / "etc/systemd/system-generators" / generator.name)
    for profile in (root / "etc/apparmor.d").iterdir():
        if profile.is_file() and profile.name != APPARMOR_PROFILE:
            profile.unlink()
    install_agent(root, units)
    (root / "project").mkdir()


def mask(link: Path) -> None:
    """Make systemd take a unit or generator for absent."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to("/dev/null")


def install_agent(root: Path, units: Path) -> None:
    """The agent starts with the system."""
    program = root / "usr/local/sbin/guest-agent"
    shutil.copy(GUEST_FILES / "agent.py", program)
    program.chmod(0o755)
    shutil.copy(GUEST_FILES / "guest-agent.service", units)
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "guest-agent.service").symlink_to("../guest-agent.service")


def add_user(root: Path) -> None:
    """An ordinary user, for rootless containers: `tester`, 1000, with 65536 subordinate ids."""
    command = ["chroot", str(root), "useradd", "-m", "-u", "1000", "-s", "/bin/bash", "tester"]
    run(command, "adding the user tester")
    for name in ("etc/subuid", "etc/subgid"):
        (root / name).write_text("tester:100000:65536\n")
