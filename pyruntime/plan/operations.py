"""The operations of a plan (generated from spec/plan.toml; do not edit)."""

from __future__ import annotations

from pyruntime.plan.operation import Operation

INTERFACE = 3622087266

KINDS = {
    1: "oi",
    2: "s",
    3: "ostiii",
    4: "osti",
    5: "ssti",
    6: "stibns",
    7: "ot",
    8: "simmi",
    9: "osi",
    10: "ostis",
    11: "sti",
    12: "stii",
    13: "tst",
    14: "sti",
    15: "s",
    16: "t",
    17: "t",
    18: "tt",
    19: "ti",
    20: "is",
    21: "i",
    22: "si",
    23: "ii",
    24: "stbni",
    25: "bn",
    26: "bn",
    27: "",
    28: "i",
    29: "i",
    30: "bn",
    31: "i",
    32: "iiiii",
    33: "ii",
    34: "iii",
    35: "i",
    36: "iii",
    37: "bn",
    38: "ii",
    39: "i",
    40: "ibni",
    41: "bn",
    42: "t",
    43: "t",
    44: "sibn",
    45: "sii",
    46: "osi",
    47: "ssbn",
    48: "si",
    49: "tvvsi",
    50: "tm",
    51: "ss",
    52: "isss",
    53: "mvv",
    54: "",
    55: "siii",
    56: "si",
    57: "stiii",
    58: "ii",
    59: "ss",
    60: "i",
    61: "ibno",
    62: "s",
    63: "i",
    64: "ss",
    65: "oi",
    66: "sti",
    67: "sbn",
    68: "osi",
    69: "is",
    71: "sbn",
    72: "ss",
}

NAMES = {
    1: "load_fd",
    2: "close",
    3: "openat2",
    4: "open_tree",
    5: "move_mount",
    6: "mount_setattr",
    7: "fsopen",
    8: "fsconfig",
    9: "fsmount",
    10: "make_path",
    11: "mkdirat",
    12: "mknodat",
    13: "symlinkat",
    14: "unlinkat",
    15: "fchdir",
    16: "chdir",
    17: "chroot",
    18: "pivot_root",
    19: "umount2",
    20: "clone",
    21: "unshare",
    22: "setns",
    23: "sync",
    24: "write_file",
    25: "sethostname",
    26: "setdomainname",
    27: "setsid",
    28: "setresuid",
    29: "setresgid",
    30: "setgroups",
    31: "umask",
    32: "prctl",
    33: "drop_bounding",
    34: "capset",
    35: "raise_ambient",
    36: "prlimit",
    37: "sched_setattr",
    38: "ioprio_set",
    39: "personality",
    40: "set_mempolicy",
    41: "sched_setaffinity",
    42: "join_session_keyring",
    43: "interface_up",
    44: "ioctl",
    45: "ioctl_value",
    46: "tiocgptpeer",
    47: "send_fd",
    48: "dup3",
    49: "run_hook",
    50: "find_executable",
    51: "wait_start",
    52: "close_from",
    53: "execve",
    54: "check_cwd",
    55: "expect_device",
    56: "expect_filesystem",
    57: "fchownat",
    58: "own_stdio",
    59: "copy_tree",
    60: "skip",
    61: "seccomp",
    62: "null_stdio",
    63: "exit",
    64: "copy_mode",
    65: "pidfd_open",
    66: "fchmodat",
    67: "write_fd",
    68: "pidfd_getfd",
    69: "sync_slot",
    71: "bpf_attach_device",
    72: "hook_output",
}


def load_fd(slot: int, number: int) -> Operation:
    """Put a descriptor that the init was started with into a slot, close-on-exec."""
    return Operation(1, (slot, number))


def close(slot: int) -> Operation:
    """close(2) the slot's descriptor and empty the slot."""
    return Operation(2, (slot,))


def openat2(slot: int, directory: int, path: str, flags: int, mode: int, resolve: int) -> Operation:
    """openat2(2)."""
    return Operation(3, (slot, directory, path, flags, mode, resolve))


def open_tree(slot: int, directory: int, path: str, flags: int) -> Operation:
    """open_tree(2)."""
    return Operation(4, (slot, directory, path, flags))


def move_mount(mount: int, directory: int, path: str, flags: int) -> Operation:
    """move_mount(2) of the detached mount in a slot."""
    return Operation(5, (mount, directory, path, flags))


def mount_setattr(directory: int, path: str, flags: int, attributes: bytes, user_namespace: int) -> Operation:
    """mount_setattr(2); attributes is struct mount_attr, its userns_fd filled from the slot unless that is -1."""
    return Operation(6, (directory, path, flags, attributes, user_namespace))


def fsopen(slot: int, type: str) -> Operation:
    """fsopen(2)."""
    return Operation(7, (slot, type))


def fsconfig(context: int, command: int, key: str | None, value: str | None, aux: int) -> Operation:
    """fsconfig(2)."""
    return Operation(8, (context, command, key, value, aux))


def fsmount(slot: int, context: int, attributes: int) -> Operation:
    """fsmount(2)."""
    return Operation(9, (slot, context, attributes))


def make_path(slot: int, root: int, path: str, mode: int, like: int) -> Operation:
    """Open path inside root (O_PATH), making what is missing one component at a time: directories of the mode, and at the end a regular file if `like` holds anything but a directory (CVE-2024-45310)."""
    return Operation(10, (slot, root, path, mode, like))


def mkdirat(directory: int, path: str, mode: int) -> Operation:
    """mkdirat(2)."""
    return Operation(11, (directory, path, mode))


def mknodat(directory: int, path: str, mode: int, device: int) -> Operation:
    """mknodat(2)."""
    return Operation(12, (directory, path, mode, device))


def symlinkat(target: str, directory: int, path: str) -> Operation:
    """symlinkat(2)."""
    return Operation(13, (target, directory, path))


def unlinkat(directory: int, path: str, flags: int) -> Operation:
    """unlinkat(2)."""
    return Operation(14, (directory, path, flags))


def fchdir(directory: int) -> Operation:
    """fchdir(2)."""
    return Operation(15, (directory,))


def chdir(path: str) -> Operation:
    """chdir(2)."""
    return Operation(16, (path,))


def chroot(path: str) -> Operation:
    """chroot(2)."""
    return Operation(17, (path,))


def pivot_root(new_root: str, put_old: str) -> Operation:
    """pivot_root(2)."""
    return Operation(18, (new_root, put_old))


def umount2(path: str, flags: int) -> Operation:
    """umount2(2)."""
    return Operation(19, (path, flags))


def clone(flags: int, cgroup: int) -> Operation:
    """clone3(2). The child goes on with the next operation; the parent tells the runtime the child's pid and leaves."""
    return Operation(20, (flags, cgroup))


def unshare(flags: int) -> Operation:
    """unshare(2)."""
    return Operation(21, (flags,))


def setns(namespace: int, type: int) -> Operation:
    """setns(2)."""
    return Operation(22, (namespace, type))


def sync(kind: int, value: int) -> Operation:
    """Tell the runtime that this point is reached and wait for its answer; if the runtime is gone, leave."""
    return Operation(23, (kind, value))


def write_file(directory: int, path: str, content: bytes, resolve: int) -> Operation:
    """Open an existing file for writing by openat2, write content in one write(2), close."""
    return Operation(24, (directory, path, content, resolve))


def sethostname(name: bytes) -> Operation:
    """sethostname(2)."""
    return Operation(25, (name,))


def setdomainname(name: bytes) -> Operation:
    """setdomainname(2)."""
    return Operation(26, (name,))


def setsid() -> Operation:
    """setsid(2)."""
    return Operation(27, ())


def setresuid(uid: int) -> Operation:
    """setresuid(2), all three."""
    return Operation(28, (uid,))


def setresgid(gid: int) -> Operation:
    """setresgid(2), all three."""
    return Operation(29, (gid,))


def setgroups(gids: bytes) -> Operation:
    """setgroups(2); gids is an array of 32-bit numbers."""
    return Operation(30, (gids,))


def umask(mask: int) -> Operation:
    """umask(2)."""
    return Operation(31, (mask,))


def prctl(option: int, arg2: int, arg3: int, arg4: int, arg5: int) -> Operation:
    """prctl(2)."""
    return Operation(32, (option, arg2, arg3, arg4, arg5))


def drop_bounding(keep: int, last: int) -> Operation:
    """PR_CAPBSET_DROP for each capability from 0 to last whose bit is not in keep."""
    return Operation(33, (keep, last))


def capset(effective: int, permitted: int, inheritable: int) -> Operation:
    """capset(2), version 3."""
    return Operation(34, (effective, permitted, inheritable))


def raise_ambient(capabilities: int) -> Operation:
    """PR_CAP_AMBIENT_CLEAR_ALL, then PR_CAP_AMBIENT_RAISE for each bit."""
    return Operation(35, (capabilities,))


def prlimit(resource: int, soft: int, hard: int) -> Operation:
    """prlimit64(2) on the calling process."""
    return Operation(36, (resource, soft, hard))


def sched_setattr(attributes: bytes) -> Operation:
    """sched_setattr(2) on the calling process; struct sched_attr."""
    return Operation(37, (attributes,))


def ioprio_set(which: int, priority: int) -> Operation:
    """ioprio_set(2) on the calling process or its group."""
    return Operation(38, (which, priority))


def personality(domain: int) -> Operation:
    """personality(2)."""
    return Operation(39, (domain,))


def set_mempolicy(mode: int, nodes: bytes, maxnode: int) -> Operation:
    """set_mempolicy(2)."""
    return Operation(40, (mode, nodes, maxnode))


def sched_setaffinity(mask: bytes) -> Operation:
    """sched_setaffinity(2) on the calling process."""
    return Operation(41, (mask,))


def join_session_keyring(name: str) -> Operation:
    """keyctl(KEYCTL_JOIN_SESSION_KEYRING), then make it searchable by its owner."""
    return Operation(42, (name,))


def interface_up(name: str) -> Operation:
    """Set IFF_UP on a network interface by SIOCSIFFLAGS."""
    return Operation(43, (name,))


def ioctl(descriptor: int, request: int, argument: bytes) -> Operation:
    """ioctl(2) with a pointer to argument."""
    return Operation(44, (descriptor, request, argument))


def ioctl_value(descriptor: int, request: int, argument: int) -> Operation:
    """ioctl(2) with a number as argument."""
    return Operation(45, (descriptor, request, argument))


def tiocgptpeer(slot: int, master: int, flags: int) -> Operation:
    """Unlock a pseudoterminal and open its peer by TIOCGPTPEER."""
    return Operation(46, (slot, master, flags))


def send_fd(socket: int, descriptor: int, payload: bytes) -> Operation:
    """Send payload and one descriptor by SCM_RIGHTS."""
    return Operation(47, (socket, descriptor, payload))


def dup3(descriptor: int, number: int) -> Operation:
    """dup2(2) to a number (not close-on-exec)."""
    return Operation(48, (descriptor, number))


def run_hook(path: str, args: list[str] | None, env: list[str] | None, stdin: int, timeout: int) -> Operation:
    """Run a program with stdin read from the start of a file, wait at most timeout milliseconds (0: for ever), kill it then. Its wait status other than 0 is EREMOTEIO, its timeout ETIME."""
    return Operation(49, (path, args, env, stdin, timeout))


def find_executable(file: str, path: str | None) -> Operation:
    """Find what execvp(3) would execute and keep its name for execve."""
    return Operation(50, (file, path))


def wait_start(fifo: int, report: int) -> Operation:
    """Read one byte from fifo. From now on a failure is also written to report."""
    return Operation(51, (fifo, report))


def close_from(first: int, a: int, b: int, c: int) -> Operation:
    """Close every descriptor from first upward except those in three slots, those of hook_output and the runtime's socket, which are close-on-exec (CVE-2024-21626)."""
    return Operation(52, (first, a, b, c))


def execve(file: str | None, args: list[str] | None, env: list[str] | None) -> Operation:
    """execve(2); without file, what find_executable found."""
    return Operation(53, (file, args, env))


def check_cwd() -> Operation:
    """Fail with EXDEV unless getcwd(2) is a path below the root (CVE-2024-21626)."""
    return Operation(54, ())


def expect_device(descriptor: int, type: int, major: int, minor: int) -> Operation:
    """Fail with EEXIST unless the descriptor is a device (S_IFMT bits) of these numbers (CVE-2025-31133)."""
    return Operation(55, (descriptor, type, major, minor))


def expect_filesystem(descriptor: int, magic: int) -> Operation:
    """Fail with EXDEV unless fstatfs(2) says this magic."""
    return Operation(56, (descriptor, magic))


def fchownat(descriptor: int, path: str, uid: int, gid: int, flags: int) -> Operation:
    """fchownat(2)."""
    return Operation(57, (descriptor, path, uid, gid, flags))


def own_stdio(number: int, uid: int) -> Operation:
    """fchown(2) a standard stream to uid unless it is the null device, whose owner is the host's business."""
    return Operation(58, (number, uid))


def copy_tree(source: int, target: int) -> Operation:
    """Copy the content of one directory into another, with owners, modes and links (tmpcopyup)."""
    return Operation(59, (source, target))


def skip(count: int) -> Operation:
    """Go past the next count operations."""
    return Operation(60, (count,))


def seccomp(flags: int, program: bytes, listener: int) -> Operation:
    """seccomp(SECCOMP_SET_MODE_FILTER); a listener, if asked for by the flags, is put into the slot."""
    return Operation(61, (flags, program, listener))


def null_stdio(root: int) -> Operation:
    """Replace each standard stream that is the null device by /dev/null of the root, checked to be 1:3 (R154)."""
    return Operation(62, (root,))


def exit(status: int) -> Operation:
    """Leave."""
    return Operation(63, (status,))


def copy_mode(context: int, directory: int) -> Operation:
    """fsconfig('mode') a file system context with the permission bits of a directory (the sticky bit of /tmp)."""
    return Operation(64, (context, directory))


def pidfd_open(slot: int, pid: int) -> Operation:
    """pidfd_open(2)."""
    return Operation(65, (slot, pid))


def fchmodat(directory: int, path: str, mode: int) -> Operation:
    """fchmodat(2); the last component must not be a link."""
    return Operation(66, (directory, path, mode))


def write_fd(descriptor: int, content: bytes) -> Operation:
    """One write(2) of content."""
    return Operation(67, (descriptor, content))


def pidfd_getfd(slot: int, pidfd: int, number: int) -> Operation:
    """pidfd_getfd(2): a copy of another process's descriptor."""
    return Operation(68, (slot, pidfd, number))


def sync_slot(kind: int, descriptor: int) -> Operation:
    """As sync, with the number of a slot's descriptor as value."""
    return Operation(69, (kind, descriptor))


def bpf_attach_device(cgroup: int, program: bytes) -> Operation:
    """Load a program of type BPF_PROG_TYPE_CGROUP_DEVICE and attach it to a v2 cgroup beside others."""
    return Operation(71, (cgroup, program))


def hook_output(stdout: int, stderr: int) -> Operation:
    """What the hooks after this write to; without a slot, where the init itself writes."""
    return Operation(72, (stdout, stderr))
