"""What the OCI words of `linux.seccomp` mean to the kernel, as data (R231 to R239, R267).

Sources: OCI runtime-spec config-linux.md "Seccomp"; <linux/seccomp.h> for actions and
flags, <linux/audit.h> and <linux/elf-em.h> for architectures, libseccomp's
`enum scmp_compare` for operators.
"""

from __future__ import annotations

KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000
ERRNO = 0x00050000
NOTIFY = 0x7FC00000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000

ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_NOTIFY": NOTIFY,
}

# The greatest number that the kernel hands on with an action: an errno is capped at
# MAX_ERRNO, what a tracer is given has the 16 bits of SECCOMP_RET_DATA.
ERRNO_LIMITS = {ERRNO: 4095, TRACE: 0xFFFF}

OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}

_64BIT = 0x80000000
_LITTLE = 0x40000000
_N32 = 0x20000000

# libseccomp's tokens. They are the kernel's AUDIT_ARCH_* values but for X32, which the
# kernel reports as X86_64 with bit 30 set in the system call's number.
ARCHITECTURES = {
    "SCMP_ARCH_X86": 3 | _LITTLE,
    "SCMP_ARCH_X86_64": 62 | _64BIT | _LITTLE,
    "SCMP_ARCH_X32": 62 | _LITTLE,
    "SCMP_ARCH_ARM": 40 | _LITTLE,
    "SCMP_ARCH_AARCH64": 183 | _64BIT | _LITTLE,
    "SCMP_ARCH_MIPS": 8,
    "SCMP_ARCH_MIPS64": 8 | _64BIT,
    "SCMP_ARCH_MIPS64N32": 8 | _64BIT | _N32,
    "SCMP_ARCH_MIPSEL": 8 | _LITTLE,
    "SCMP_ARCH_MIPSEL64": 8 | _64BIT | _LITTLE,
    "SCMP_ARCH_MIPSEL64N32": 8 | _64BIT | _LITTLE | _N32,
    "SCMP_ARCH_PPC": 20,
    "SCMP_ARCH_PPC64": 21 | _64BIT,
    "SCMP_ARCH_PPC64LE": 21 | _64BIT | _LITTLE,
    "SCMP_ARCH_S390": 22,
    "SCMP_ARCH_S390X": 22 | _64BIT,
    "SCMP_ARCH_PARISC": 15,
    "SCMP_ARCH_PARISC64": 15 | _64BIT,
    "SCMP_ARCH_RISCV64": 243 | _64BIT | _LITTLE,
    "SCMP_ARCH_LOONGARCH64": 258 | _64BIT | _LITTLE,
    "SCMP_ARCH_M68K": 4,
    "SCMP_ARCH_SH": 42 | _LITTLE,
    "SCMP_ARCH_SHEB": 42,
}

TSYNC = 1
FLAG_LOG = 2
SPEC_ALLOW = 4
NEW_LISTENER = 8
TSYNC_ESRCH = 16
WAIT_KILLABLE_RECV = 32

FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": WAIT_KILLABLE_RECV,
}
