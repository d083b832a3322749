"""Mount options (requirements R100 to R119): from their names to what they mean. Pure."""

from __future__ import annotations

from pyruntime.plan import constants as c

# name: (attribute to set, attribute to clear)
ATTRIBUTES = {
    "ro": (c.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, c.MOUNT_ATTR_RDONLY),
    "nosuid": (c.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, c.MOUNT_ATTR_NOSUID),
    "nodev": (c.MOUNT_ATTR_NODEV, 0),
    "dev": (0, c.MOUNT_ATTR_NODEV),
    "noexec": (c.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, c.MOUNT_ATTR_NOEXEC),
    "nodiratime": (c.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, c.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (c.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, c.MOUNT_ATTR_NOSYMFOLLOW),
    # The access times are one number in three bits: whoever sets it clears all three (R102).
    "noatime": (c.MOUNT_ATTR_NOATIME, c.MOUNT_ATTR__ATIME),
    "atime": (c.MOUNT_ATTR_RELATIME, c.MOUNT_ATTR__ATIME),
    "relatime": (c.MOUNT_ATTR_RELATIME, c.MOUNT_ATTR__ATIME),
    "norelatime": (c.MOUNT_ATTR_STRICTATIME, c.MOUNT_ATTR__ATIME),
    "strictatime": (c.MOUNT_ATTR_STRICTATIME, c.MOUNT_ATTR__ATIME),
    "nostrictatime": (c.MOUNT_ATTR_RELATIME, c.MOUNT_ATTR__ATIME),
}
RECURSIVE = {"r" + name: meaning for name, meaning in ATTRIBUTES.items()}
PROPAGATION = {
    "shared": (c.MS_SHARED, False),
    "rshared": (c.MS_SHARED, True),
    "slave": (c.MS_SLAVE, False),
    "rslave": (c.MS_SLAVE, True),
    "private": (c.MS_PRIVATE, False),
    "rprivate": (c.MS_PRIVATE, True),
    "unbindable": (c.MS_UNBINDABLE, False),
    "runbindable": (c.MS_UNBINDABLE, True),
}
# Flags of the superblock: option -> the group of which the last one wins.
SUPERBLOCK = {
    "sync": "sync",
    "async": "sync",
    "dirsync": "dirsync",
    "mand": "mand",
    "nomand": "mand",
    "lazytime": "lazytime",
    "nolazytime": "lazytime",
    "iversion": "iversion",
    "noiversion": "iversion",
}
NOTHING = ("defaults", "silent", "loud")


class MountOptions:
    """The options of one mount, sorted by what carries them out.

    `set`/`clear`: attributes of the mount; `recursive_set`/`recursive_clear`:
    of the whole tree; `propagation`: changes in order; `superblock`: flags for
    fsconfig; `data`: (key, value or None) for the file system.
    """

    def __init__(self) -> None:
        self.bind = False
        self.recursive_bind = False
        self.remount = False
        self.tmpcopyup = False
        self.idmap = ""
        self.set = 0
        self.clear = 0
        self.recursive_set = 0
        self.recursive_clear = 0
        self.propagation: list[tuple[int, bool]] = []
        self.superblock: dict[str, str] = {}
        self.data: list[tuple[str, str | None]] = []


def parse(options: list[str]) -> MountOptions:
    """Sort out the options; a later one wins over an earlier one, as with mount(8) (R94)."""
    result = MountOptions()
    for option in options:
        if not _take_known(result, option):
            result.data += [_key_and_value(part) for part in split_data(option)]
    return result


def _take_known(result: MountOptions, option: str) -> bool:
    if option in ATTRIBUTES:
        add, remove = ATTRIBUTES[option]
        result.set = result.set & ~remove | add
        result.clear = result.clear & ~add | remove
    elif option in RECURSIVE:
        add, remove = RECURSIVE[option]
        result.recursive_set = result.recursive_set & ~remove | add
        result.recursive_clear = result.recursive_clear & ~add | remove
    elif option in PROPAGATION:
        result.propagation.append(PROPAGATION[option])
    elif option in SUPERBLOCK:
        result.superblock[SUPERBLOCK[option]] = option
    else:
        return _take_action(result, option)
    return True


def _take_action(result: MountOptions, option: str) -> bool:
    if option in ("bind", "rbind"):
        result.bind = True
        result.recursive_bind = option == "rbind"
    elif option == "remount":
        result.remount = True
    elif option == "tmpcopyup":
        result.tmpcopyup = True
    elif option in ("idmap", "ridmap"):
        result.idmap = option
    else:
        return option in NOTHING
    return True


def split_data(option: str) -> list[str]:
    """Split at commas which are not inside double quotes (an SELinux context has some)."""
    parts, quoted, start = [], False, 0
    for index, letter in enumerate(option):
        if letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            parts.append(option[start:index])
            start = index + 1
    parts.append(option[start:])
    return [part for part in parts if part]


def _key_and_value(part: str) -> tuple[str, str | None]:
    key, equals, value = part.partition("=")
    return key, value.strip('"') if equals else None
