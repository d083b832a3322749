"""The section process: numbers for the kernel, the environment, the capabilities."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from pyruntime import capabilities
from pyruntime.errors import ConfigError
from pyruntime.plan import process
from tests.plan.compiled import HostFacts, config, namespaces, plan, rows, settings

ALL = (1 << 41) - 1


def bit(*names: str) -> int:
    return sum(1 << capabilities.NUMBERS[name] for name in names)


# --- scheduler ---------------------------------------------


@pytest.mark.rows("R75")
@pytest.mark.parametrize(
    ("policy", "number"),
    [
        ("SCHED_OTHER", 0),
        ("SCHED_FIFO", 1),
        ("SCHED_RR", 2),
        ("SCHED_BATCH", 3),
        ("SCHED_ISO", 4),
        ("SCHED_IDLE", 5),
        ("SCHED_DEADLINE", 6),
    ],
)
def test_policy(policy: str, number: int) -> None:
    attributes = process.scheduler_attributes({"policy": policy})
    assert len(attributes) == 56
    assert struct.unpack("<IIQiIQQQII", attributes) == (56, number, 0, 0, 0, 0, 0, 0, 0, 0)


@pytest.mark.rows("R76")
def test_values_of_the_scheduler_stand_where_the_kernel_reads_them() -> None:
    scheduler = {
        "policy": "SCHED_DEADLINE",
        "nice": -5,
        "priority": 3,
        "runtime": 10_000_000,
        "deadline": 2**63 - 1,
        "period": 30_000_000,
    }
    attributes = process.scheduler_attributes(scheduler)
    assert struct.unpack_from("<i", attributes, 16)[0] == -5
    assert struct.unpack_from("<I", attributes, 20)[0] == 3
    assert struct.unpack_from("<QQQ", attributes, 24) == (10_000_000, 2**63 - 1, 30_000_000)


@pytest.mark.rows("R77")
@pytest.mark.parametrize(
    ("flags", "number"),
    [
        (["SCHED_FLAG_RESET_ON_FORK"], 0x01),
        (["SCHED_FLAG_RECLAIM"], 0x02),
        (["SCHED_FLAG_DL_OVERRUN"], 0x04),
        (["SCHED_FLAG_KEEP_POLICY"], 0x08),
        (["SCHED_FLAG_KEEP_PARAMS"], 0x10),
        (["SCHED_FLAG_UTIL_CLAMP_MIN"], 0x20),
        (["SCHED_FLAG_UTIL_CLAMP_MAX"], 0x40),
        (["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"], 0x06),
    ],
)
def test_flags_of_the_scheduler(flags: list[str], number: int) -> None:
    attributes = process.scheduler_attributes({"policy": "SCHED_OTHER", "flags": flags})
    assert struct.unpack_from("<Q", attributes, 8)[0] == number


@pytest.mark.rows("R78")
@pytest.mark.parametrize(
    ("io", "number"),
    [
        ({"class": "IOPRIO_CLASS_RT", "priority": 7}, 0x2007),
        ({"class": "IOPRIO_CLASS_BE", "priority": 0}, 0x4000),
        ({"class": "IOPRIO_CLASS_IDLE"}, 0x6000),
    ],
)
def test_io_priority_is_that_of_the_process_group(io: dict[str, Any], number: int) -> None:
    found = rows(config(process={"ioPriority": io}))
    assert found.arguments("ioprio_set") == {"which": 2, "priority": number}


@pytest.mark.rows("R75", "R78", "R211", "R212")
def test_what_is_not_asked_for_is_not_done() -> None:
    found = rows(config())
    absent = "sched_setattr ioprio_set personality set_mempolicy prlimit seccomp write_file"
    for name in absent.split():
        assert not found.has(name)


@pytest.mark.rows("R79")
def test_the_affinity_of_the_caller_is_not_inherited() -> None:
    assert rows(config()).arguments("sched_setaffinity")["mask"] == "all 8192"


# --- memory policy, personality ---------------------------------------------


@pytest.mark.rows("R211")
@pytest.mark.parametrize(
    ("nodes", "mask"),
    [
        ("", 0),
        ("0", 1),
        ("0-3", 0xF),
        ("0-1,4", 0x13),
        (" 1 , 3-4 ", 0x1A),
        ("63", 1 << 63),
        ("64", 1 << 64),
        ("0,127", 1 | 1 << 127),
    ],
)
def test_node_mask(nodes: str, mask: int) -> None:
    result = process.node_mask(nodes)
    assert int.from_bytes(result, "little") == mask
    assert len(result) % 8 == 0
    assert len(result) == (mask.bit_length() + 63) // 64 * 8


@pytest.mark.rows("R210", "R211", "R212")
def test_memory_policy() -> None:
    policy = {
        "mode": "MPOL_INTERLEAVE",
        "nodes": "0-1",
        "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"],
    }
    arguments = rows(config(linux={"memoryPolicy": policy})).arguments("set_mempolicy")
    assert arguments["mode"] == 3 | 1 << 15 | 1 << 13
    assert arguments["nodes"] == "0300000000000000"
    assert arguments["maxnode"] == 65  # the kernel looks at one bit less than it is told
    default = rows(config(linux={"memoryPolicy": {"mode": "MPOL_DEFAULT"}}))
    assert default.arguments("set_mempolicy") == {"mode": 0, "nodes": "", "maxnode": 0}


@pytest.mark.rows("R218")
@pytest.mark.parametrize(("domain", "number"), [("LINUX", 0), ("LINUX32", 8)])
def test_personality(domain: str, number: int) -> None:
    found = rows(config(linux={"personality": {"domain": domain}}))
    assert found.arguments("personality") == {"domain": number}


# --- environment ---------------------------------------------


def environment(*entries: str, **fields: Any) -> list[str]:
    return process.environment(settings(config(process={"env": list(entries)}), **fields))


@pytest.mark.rows("R65")
def test_environment_keeps_its_order() -> None:
    assert environment("B=1", "A=2", "HOME=/h") == ["B=1", "A=2", "HOME=/h"]


@pytest.mark.rows("R65")
def test_the_last_value_of_a_name_wins() -> None:
    assert environment("A=1", "HOME=/h", "A=2") == ["A=2", "HOME=/h"]


@pytest.mark.rows("R65")
@pytest.mark.parametrize("entry", ["A=", "A==", "A=b=c", "A=line\nline", "A= b "])
def test_values_are_taken_as_they_are(entry: str) -> None:
    assert environment(entry, "HOME=/h") == [entry, "HOME=/h"]


@pytest.mark.rows("R65")
def test_home_is_added_when_it_is_missing_or_empty() -> None:
    assert environment("A=1", home="/root") == ["A=1", "HOME=/root"]
    assert environment("HOME=", "A=1", home="/root") == ["HOME=/root", "A=1"]
    assert environment("HOME=/x", home="/root") == ["HOME=/x"]


@pytest.mark.rows("R41", "R297")
def test_socket_activation_names_the_containers_process() -> None:
    values = environment("LISTEN_FDS=9", "HOME=/h", listen_fds=2)
    assert set(values) == {"LISTEN_FDS=2", "LISTEN_PID=1", "HOME=/h"}


@pytest.mark.rows("R65", "R66")
def test_the_program_is_looked_for_in_the_path_of_its_environment() -> None:
    found = rows(config(process={"args": ["prog", "x"], "env": ["PATH=/a:/b", "PATH=/c"]}))
    assert found.arguments("find_executable") == {"file": "prog", "path": "/c"}
    execve = found.arguments("execve")
    assert execve["args"] == ["prog", "x"]
    assert execve["env"] == ["PATH=/c", "HOME=/"]


@pytest.mark.rows("R66")
def test_without_a_path_there_is_a_usual_one() -> None:
    found = rows(config(process={"env": []}))
    assert "/bin" in found.arguments("find_executable")["path"].split(":")


# --- capabilities ---------------------------------------------


def resolve(grantable: int = ALL, **sets: list[str]) -> capabilities.Sets:
    return capabilities.resolve(sets, grantable)


@pytest.mark.rows("R61")
def test_sets_are_bit_masks() -> None:
    names = ["CAP_CHOWN", "CAP_KILL", "CAP_CHECKPOINT_RESTORE"]
    sets = resolve(bounding=names, permitted=names, effective=names[:1])
    assert sets.bounding == sets.permitted == 1 | 1 << 5 | 1 << 40
    assert sets.effective == 1
    assert (sets.inheritable, sets.ambient) == (0, 0)
    assert sets.warnings == []


@pytest.mark.rows("R61")
def test_absent_means_none_at_all() -> None:
    sets = capabilities.resolve(None, ALL)
    assert [getattr(sets, name) for name in capabilities.SETS] == [0] * 5
    found = rows(config())
    arguments = found.rows[found.indexes("capset")[-1]]["arguments"]
    assert arguments == {"effective": "none", "permitted": "none", "inheritable": "none"}


@pytest.mark.rows("R2", "R61")
def test_unknown_names_are_left_out_with_a_warning() -> None:
    sets = resolve(bounding=["CAP_FUTURE", "CAP_KILL"])
    assert sets.bounding == bit("CAP_KILL")
    assert len(sets.warnings) == 1
    assert "CAP_FUTURE" in sets.warnings[0]
    assert "CAP_KILL" not in sets.warnings[0]


@pytest.mark.rows("R61")
def test_what_cannot_be_granted_is_left_out_with_a_warning() -> None:
    both = ["CAP_KILL", "CAP_SYS_RESOURCE"]
    sets = resolve(ALL & ~bit("CAP_SYS_RESOURCE"), bounding=both, permitted=both)
    assert sets.bounding == sets.permitted == bit("CAP_KILL")
    assert sum("CAP_SYS_RESOURCE" in warning for warning in sets.warnings) == 2


@pytest.mark.rows("R61")
def test_the_kernels_own_rules_are_applied_before_it_refuses() -> None:
    kill, chown, setuid = ["CAP_KILL"], ["CAP_CHOWN"], ["CAP_SETUID"]
    sets = resolve(
        bounding=kill + setuid,
        permitted=kill,
        effective=kill + chown,
        inheritable=kill + chown + setuid,
        ambient=kill + setuid,
    )
    assert sets.effective == bit("CAP_KILL")  # within permitted
    assert sets.inheritable == bit("CAP_KILL", "CAP_SETUID")  # within bounding
    assert sets.ambient == bit("CAP_KILL")  # within permitted and inheritable
    assert len(sets.warnings) == 3


@pytest.mark.rows("R61")
def test_warnings_reach_the_plan() -> None:
    document = config(process={"capabilities": {"bounding": ["CAP_FUTURE"]}})
    assert ["CAP_FUTURE" in warning for warning in plan(document).warnings] == [True]


@pytest.mark.rows("R61")
def test_only_what_the_runtime_has_can_be_granted_outside_of_a_user_namespace() -> None:
    sets = {"bounding": ["CAP_SYS_TIME"], "permitted": ["CAP_SYS_TIME"]}
    facts = HostFacts(permitted=ALL & ~bit("CAP_SYS_TIME"))
    document = config(process={"capabilities": sets})
    assert rows(document, facts).arguments("drop_bounding")["keep"] == "none"
    document["linux"]["namespaces"] = namespaces("mount", "user")
    assert rows(document, facts).arguments("drop_bounding")["keep"] == "SYS_TIME"


@pytest.mark.rows("R61")
def test_an_older_kernel_has_fewer_capabilities() -> None:
    facts = HostFacts(last_capability=37)
    assert rows(config(), facts).arguments("drop_bounding")["last"] == 37


# --- the rest ---------------------------------------------


@pytest.mark.rows("R67", "R69")
def test_ids() -> None:
    user = {"uid": 1000, "gid": 100, "additionalGids": [5, 4294967294]}
    found = rows(config(process={"user": user}))
    assert found.arguments("setgroups") == {"gids": "5,4294967294"}
    assert found.has("setresuid", uid=1000)
    assert found.has("setresgid", gid=100)
    assert [found.rows[i]["arguments"] for i in found.indexes("own_stdio")] == [
        {"number": number, "uid": 1000} for number in range(3)
    ]


@pytest.mark.rows("R69")
def test_groups_of_the_caller_are_dropped() -> None:
    assert rows(config()).arguments("setgroups") == {"gids": ""}


@pytest.mark.rows("R69")
def test_groups_are_dropped_by_a_plain_user_unless_the_kernel_denies_it() -> None:
    found = rows(config(), HostFacts(euid=1000))
    assert found.arguments("setgroups") == {"gids": ""}
    assert found.rows[found.index("setgroups")]["pardons"] == {"EPERM": 0}


@pytest.mark.rows("R69")
def test_groups_that_are_asked_for_and_denied_are_an_error() -> None:
    process = {"user": {"uid": 0, "gid": 0, "additionalGids": [5]}}
    found = rows(config(process=process), HostFacts(euid=1000))
    assert "pardons" not in found.rows[found.index("setgroups")]


@pytest.mark.rows("R253")
def test_groups_can_be_kept_by_annotation() -> None:
    annotations = {"run.oci.keep_original_groups": "1"}
    assert not rows(config(annotations=annotations)).has("setgroups")


@pytest.mark.rows("R68")
def test_an_unset_umask_is_that_of_the_caller() -> None:
    unset = rows(config(), umask=0o77)
    assert unset.arguments("umask", at=".process.user.umask")["mask"] == "0o77"
    zero = rows(config(process={"user": {"uid": 0, "gid": 0, "umask": 0}}), umask=0o77)
    assert zero.arguments("umask", at=".process.user.umask")["mask"] == "0"


@pytest.mark.rows("R70")
def test_limits() -> None:
    limits = [
        {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
    ]
    found = rows(config(process={"rlimits": limits}))
    assert found.arguments("prlimit", at=".process.rlimits[0]") == {
        "resource": 7,
        "soft": 10,
        "hard": 20,
    }
    assert found.arguments("prlimit", at=".process.rlimits[1]") == {
        "resource": 4,
        "soft": 0,
        "hard": 2**64 - 1,
    }


@pytest.mark.rows("R70")
def test_every_limit_has_the_kernels_number() -> None:
    names = (
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE "
        "RTPRIO RTTIME"
    ).split()
    import resource

    for name in names:
        number = process.LIMITS[name]
        assert number == getattr(resource, "RLIMIT_" + name, number)
    assert len(process.LIMITS) == 16


@pytest.mark.rows("R70")
def test_hard_limits_are_raised_before_the_user_namespace_takes_the_right_away() -> None:
    limit = {"type": "RLIMIT_MEMLOCK", "soft": 1, "hard": 1 << 40}
    linux = {"namespaces": namespaces("mount", "user")}
    found = rows(config(process={"rlimits": [limit]}, linux=linux))
    first, last = found.indexes("prlimit")
    assert first < found.index("unshare") < last


@pytest.mark.rows("R74")
@pytest.mark.parametrize("value", [-1000, 0, 500])
def test_oom_score_adj(value: int) -> None:
    """Lowering needs a right in the initial user namespace."""
    found = rows(config(process={"oomScoreAdj": value}))
    write = found.index("write_file", path="self/oom_score_adj", content=str(value))
    assert write < found.index("clone")


@pytest.mark.rows("R72")
def test_apparmor() -> None:
    document = config(process={"apparmorProfile": "prof"})
    found = rows(document, HostFacts(apparmor=True))
    written = found.arguments("write_file", path="thread-self/attr/apparmor/exec")
    assert written["content"] == "exec prof"
    with pytest.raises(ConfigError, match="AppArmor"):
        plan(document)


@pytest.mark.rows("R73", "R217")
def test_selinux() -> None:
    document = config(
        process={"selinuxLabel": "u:r:t:s0:c1,c2"},
        linux={"mountLabel": "u:object_r:t:s0:c1,c2"},
        mounts=[{"destination": "/a", "type": "tmpfs"}, {"destination": "/proc", "type": "proc"}],
    )
    found = rows(document, HostFacts(selinux=True))
    write = found.arguments("write_file", path="thread-self/attr/exec")
    assert write["content"] == "u:r:t:s0:c1,c2"
    label = found.arguments("fsconfig", key="context")
    assert label["value"] == "u:object_r:t:s0:c1,c2"
    with pytest.raises(ConfigError, match="SELinux"):
        plan(document)


@pytest.mark.rows("R72", "R73")
def test_labels_are_written_through_the_private_procfs() -> None:
    """The /proc of the container may be anything (CVE-2019-16884, CVE-2025-52881)."""
    document = config(process={"apparmorProfile": "p", "selinuxLabel": "l"})
    found = rows(document, HostFacts(apparmor=True, selinux=True))
    for index in found.indexes("write_file"):
        assert found.rows[index]["arguments"]["directory"] == "proc"


@pytest.mark.rows("R73", "R220")
def test_the_session_keyring_has_the_label_of_the_process() -> None:
    found = rows(config(process={"selinuxLabel": "u:r:t:s0"}), HostFacts(selinux=True))
    first, second = found.indexes("write_file", path="thread-self/attr/keycreate")
    assert first < found.index("join_session_keyring") < second
    written = [found.rows[index]["arguments"]["content"] for index in (first, second)]
    assert written == ["u:r:t:s0", "\n"]


@pytest.mark.rows("R220")
def test_session_keyring() -> None:
    found = rows(config(), identifier="abc")
    assert found.arguments("join_session_keyring") == {"name": "_ses.abc"}
    assert not rows(config(), no_new_keyring=True).has("join_session_keyring")
