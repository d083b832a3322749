"""Every verb with its arguments, options and help text, once, as data.

The hot lane (parsing.py) reads command lines from these tables; the click
application, the man pages and the shell completions are built from the same
tables. They are constants of nested tuples, so that loading them costs nothing:
objects are made for the one verb that is asked for.

An option is (names, kind, default, metavar, help, hidden); the first name is the
key in `Request.options`, with "-" turned into "_". Kinds:

    flag    True or False; `--name=false` is understood too
    string  text, the last one given counts
    int     a decimal number
    repeat  a list, one element each time the option is given

A verb is (summary, synopsis, description, fewest arguments, most arguments or -1,
stop at the first argument, hot, options). The options are runc's, with
its short names; where crun has one that is worth having, it has crun's name.

To add a verb, write pyruntime/commands/VERB.py and one entry in `VERBS`.
"""

from __future__ import annotations

from pyruntime import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    Value = str | bool | int | list[str]
    OptionEntry = tuple[tuple[str, ...], str, str | bool | int | None, str, str, bool]
    VerbEntry = tuple[str, str, str, int, int, bool, bool, tuple[OptionEntry, ...]]

SPECIFICATION = "1.3.0"  # the version of the OCI runtime specification

FLAG = "flag"
STRING = "string"
INT = "int"
REPEAT = "repeat"

UNLIMITED = -1


class Option:
    """One option of a verb, or of pyruntime itself."""

    __slots__ = ("default", "help", "hidden", "kind", "metavar", "names")

    def __init__(self, entry: OptionEntry) -> None:
        self.names, self.kind, self.default, self.metavar, self.help, self.hidden = entry

    @property
    def key(self) -> str:
        """The name under which `Request.options` holds the value."""
        return self.names[0].replace("-", "_")

    def initial(self) -> Value:
        """The value of an option that is not given."""
        return [] if self.kind == REPEAT or self.default is None else self.default


class Verb:
    """One command of pyruntime."""

    __slots__ = (
        "description",
        "fewest",
        "hot",
        "most",
        "name",
        "options",
        "stop_at_first_argument",
        "summary",
        "synopsis",
    )

    def __init__(self, name: str, entry: VerbEntry) -> None:
        self.name = name
        self.summary, self.synopsis, self.description = entry[:3]
        self.fewest, self.most, self.stop_at_first_argument, self.hot = entry[3:7]
        self.options = [Option(option) for option in entry[7]]

    def takes(self, count: int) -> bool:
        """Whether the verb may be given that many arguments."""
        return self.fewest <= count and (self.most == UNLIMITED or count <= self.most)

    def requirement(self) -> str:
        """What to say when the number of arguments is wrong (runc's words)."""
        if self.most == self.fewest:
            return f'pyruntime: "{self.name}" requires exactly {self.fewest} argument(s)'
        if self.most == UNLIMITED:
            return f'pyruntime: "{self.name}" requires a minimum of {self.fewest} argument(s)'
        bounds = f"from {self.fewest} to {self.most}"
        return f'pyruntime: "{self.name}" requires {bounds} argument(s)'


GLOBAL_OPTIONS: tuple[OptionEntry, ...] = (
    (
        ("root",),
        STRING,
        "",
        "DIR",
        "directory that holds the state of containers; should be in a tmpfs "
        "(default: /run/pyruntime, or $XDG_RUNTIME_DIR/pyruntime without privileges)",
        False,
    ),
    (
        ("log",),
        STRING,
        "",
        "FILE",
        "append log lines to FILE; the final error goes there and, bare, to standard error "
        "(default: standard error)",
        False,
    ),
    (
        ("log-format",),
        STRING,
        "text",
        "FORMAT",
        "form of the log lines: text or json (default: text)",
        False,
    ),
    (("debug",), FLAG, False, "", "log what is done, and where errors come from", False),
    (
        ("systemd-cgroup",),
        FLAG,
        False,
        "",
        "let systemd make the cgroups: cgroupsPath has the form slice:prefix:name, "
        "for example system.slice:pyruntime:434234",
        False,
    ),
    (
        ("cgroup-manager",),
        STRING,
        "cgroupfs",
        "MANAGER",
        "what makes the cgroups: cgroupfs, systemd or disabled (default: cgroupfs)",
        False,
    ),
    (
        ("rootless",),
        STRING,
        "auto",
        "MODE",
        "do without cgroups that may not be changed: true, false or auto (default: auto)",
        False,
    ),
    (("help", "h"), FLAG, False, "", "show help", False),
    (("version", "v"), FLAG, False, "", "print the version", False),
)

_BUNDLE: OptionEntry = (
    ("bundle", "b"),
    STRING,
    "",
    "DIR",
    "directory of the bundle (default: the current directory)",
    False,
)
_CONFIG: OptionEntry = (
    ("config",),
    STRING,
    "",
    "FILE",
    "configuration file (default: config.json in the bundle)",
    False,
)
_CONFIG_F: OptionEntry = (("config", "f"), *_CONFIG[1:])
_CONSOLE_SOCKET: OptionEntry = (
    ("console-socket",),
    STRING,
    "",
    "SOCKET",
    "AF_UNIX socket that is sent a file descriptor of the master end of the terminal",
    False,
)
_PIDFD_SOCKET: OptionEntry = (
    ("pidfd-socket",),
    STRING,
    "",
    "SOCKET",
    "AF_UNIX socket that is sent a file descriptor of the process (a pidfd)",
    False,
)
_PID_FILE: OptionEntry = (
    ("pid-file",),
    STRING,
    "",
    "FILE",
    "file to write the process id to",
    False,
)
_PRESERVE_FDS: OptionEntry = (
    ("preserve-fds",),
    INT,
    0,
    "N",
    "pass N more file descriptors to the container, after standard input, output and error "
    "and those of $LISTEN_FDS (default: 0)",
    False,
)
_TRACE: OptionEntry = (
    ("trace",),
    STRING,
    "",
    "FILE",
    "write the result and the duration of every operation to FILE",
    False,
)
_CREATION: tuple[OptionEntry, ...] = (
    _BUNDLE,
    _CONFIG_F,
    _CONSOLE_SOCKET,
    _PIDFD_SOCKET,
    _PID_FILE,
    (
        ("no-pivot",),
        FLAG,
        False,
        "",
        "do not use pivot_root to enter the root filesystem; for one that lies on a ramdisk",
        False,
    ),
    (
        ("no-new-keyring",),
        FLAG,
        False,
        "",
        "do not make a session keyring: the container inherits the caller's",
        False,
    ),
    _PRESERVE_FDS,
    _TRACE,
)
_DETACH: OptionEntry = (
    ("detach", "d"),
    FLAG,
    False,
    "",
    "leave when the process has started",
    False,
)
_REGEX: OptionEntry = (
    ("regex", "r"),
    FLAG,
    False,
    "",
    "the argument is a regular expression: take every container whose id matches",
    False,
)

_IMAGE_PATH: OptionEntry = (
    ("image-path",),
    STRING,
    "",
    "DIR",
    "directory of the images (default: checkpoint in the current directory)",
    False,
)
_WORK_PATH: OptionEntry = (
    ("work-path",),
    STRING,
    "",
    "DIR",
    "directory of the log and of what else CRIU writes (default: that of the images)",
    False,
)
# Options that checkpoint and restore share. What one was given, the other needs too.
_CRIU: tuple[OptionEntry, ...] = (
    (("tcp-established",), FLAG, False, "", "allow TCP connections that are established", False),
    (("ext-unix-sk",), FLAG, False, "", "allow Unix sockets with an end outside", False),
    (("shell-job",), FLAG, False, "", "allow a session or a terminal from outside", False),
    (("file-locks",), FLAG, False, "", "allow file locks", False),
    (("lazy-pages",), FLAG, False, "", "serve memory on demand, by userfaultfd(2)", False),
    (
        ("manage-cgroups-mode",),
        STRING,
        "",
        "MODE",
        "what CRIU does about cgroups: soft, full, strict or ignore (default: soft)",
        False,
    ),
    (
        ("empty-ns",),
        REPEAT,
        None,
        "network",
        "make that namespace anew, without what was in it; as a network namespace always is",
        False,
    ),
    (("auto-dedup",), FLAG, False, "", "free memory images of what newer ones hold", False),
)

_ID = "<container-id>"
_WITH_ID = "The container is the one that has the id <container-id> under the root directory."

VERBS: dict[str, VerbEntry] = {
    "create": (
        "create a container",
        _ID,
        "Makes the container that the bundle describes, up to the point where its process "
        "could be executed; `pyruntime start` executes it. The bundle is a directory with a "
        'file "config.json" and, usually, a root filesystem. The id must be unique under the '
        "root directory.",
        1,
        1,
        False,
        True,
        (
            *_CREATION,
            (("no-subreaper",), FLAG, False, "", "accepted for crun's callers; no effect", True),
        ),
    ),
    "run": (
        "create and run a container",
        _ID,
        "Creates the container that the bundle describes, starts it, waits for its process "
        "and deletes it. The exit status is that of the process; 128 and the number of the "
        "signal if one killed it.",
        1,
        1,
        False,
        False,
        (
            *_CREATION,
            _DETACH,
            (("keep",), FLAG, False, "", "do not delete the container after it exits", False),
            (
                ("no-subreaper",),
                FLAG,
                False,
                "",
                "do not become the parent of processes that lose theirs",
                False,
            ),
        ),
    ),
    "start": (
        "execute the process of a created container",
        _ID,
        _WITH_ID,
        1,
        1,
        False,
        True,
        (),
    ),
    "state": (
        "output the state of a container",
        _ID,
        "Writes the state of the container as JSON. " + _WITH_ID,
        1,
        1,
        False,
        True,
        (),
    ),
    "kill": (
        "send a signal to the process of a container",
        _ID + " [signal]",
        "The signal is a number or a name, with or without SIG (default: SIGTERM). " + _WITH_ID,
        1,
        UNLIMITED,
        True,
        True,
        (
            (("all", "a"), FLAG, False, "", "send it to every process of the container", False),
            _REGEX,
        ),
    ),
    "delete": (
        "delete what is left of a container",
        _ID,
        "Releases everything a stopped container holds, and forgets its id. " + _WITH_ID,
        1,
        1,
        False,
        True,
        (
            (
                ("force", "f"),
                FLAG,
                False,
                "",
                "kill the container first (SIGKILL); it is no error if there is none",
                False,
            ),
            _REGEX,
        ),
    ),
    "pause": (
        "suspend all processes of a container",
        _ID,
        "Stops every process of the container where it is, until `pyruntime resume`. " + _WITH_ID,
        1,
        1,
        False,
        True,
        (),
    ),
    "resume": (
        "let the processes of a paused container run again",
        _ID,
        "Undoes `pyruntime pause`. " + _WITH_ID,
        1,
        1,
        False,
        True,
        (),
    ),
    "update": (
        "change the limits of a container",
        _ID,
        "Changes the limits that are given and leaves the others as they are: all that is asked "
        "for, or nothing if the kernel refuses a part of it. " + _WITH_ID,
        1,
        1,
        False,
        True,
        (
            (
                ("resources", "r"),
                STRING,
                "",
                "FILE",
                "file with JSON in the form of linux.resources of config.json (- for standard "
                "input); all other options are ignored then",
                False,
            ),
            (("blkio-weight",), INT, 0, "N", "weight of block I/O, 10 to 1000", False),
            (("cpu-period",), STRING, "", "N", "period of the CPU quota, in microseconds", False),
            (
                ("cpu-quota",),
                STRING,
                "",
                "N",
                "microseconds of CPU time in each period; -1 for no limit",
                False,
            ),
            (
                ("cpu-burst",),
                STRING,
                "",
                "N",
                "microseconds of CPU time beyond the quota that may be saved up",
                False,
            ),
            (("cpu-share",), STRING, "", "N", "weight for CPU time, 2 to 262144", False),
            (
                ("cpu-rt-period",),
                STRING,
                "",
                "N",
                "period of real-time CPU time, in microseconds",
                False,
            ),
            (
                ("cpu-rt-runtime",),
                STRING,
                "",
                "N",
                "real-time CPU time in each period, in microseconds",
                False,
            ),
            (("cpuset-cpus",), STRING, "", "LIST", "processors to use, such as 0-3,7", False),
            (("cpuset-mems",), STRING, "", "LIST", "memory nodes to use, such as 0", False),
            (
                ("cpu-idle",),
                STRING,
                "",
                "N",
                "whether to run only when nothing else wants the CPU: 1 or 0",
                False,
            ),
            (
                ("memory",),
                STRING,
                "",
                "SIZE",
                "memory limit in bytes, or with K, M or G; -1 for no limit",
                False,
            ),
            (
                ("memory-reservation",),
                STRING,
                "",
                "SIZE",
                "memory to be left to the container when memory is short",
                False,
            ),
            (
                ("memory-swap",),
                STRING,
                "",
                "SIZE",
                "limit of memory and swap together; -1 for no limit",
                False,
            ),
            (("kernel-memory",), STRING, "", "SIZE", "accepted for old callers; no effect", True),
            (
                ("kernel-memory-tcp",),
                STRING,
                "",
                "SIZE",
                "accepted for old callers; no effect",
                True,
            ),
            (("pids-limit",), STRING, "", "N", "most processes; -1 for no limit", False),
            (("l3-cache-schema",), STRING, "", "TEXT", "schema of the L3 cache (Intel RDT)", False),
            (
                ("mem-bw-schema",),
                STRING,
                "",
                "TEXT",
                "schema of the memory bandwidth (Intel RDT)",
                False,
            ),
        ),
    ),
    "checkpoint": (
        "save a running container as files, by CRIU",
        _ID,
        "Stops the processes of the container, saves them with their memory as images, and deletes "
        "the container, unless it is told to leave it running. `pyruntime restore` lets it go on "
        "from there. CRIU (the program criu) must be installed. " + _WITH_ID,
        1,
        1,
        False,
        False,
        (
            _IMAGE_PATH,
            _WORK_PATH,
            (
                ("parent-path",),
                STRING,
                "",
                "DIR",
                "directory of the images of an earlier --pre-dump, relative to that of the images: "
                "save only the memory that has changed since",
                False,
            ),
            (("leave-running",), FLAG, False, "", "let the container run on", False),
            (
                ("pre-dump",),
                FLAG,
                False,
                "",
                "save only memory, and let the container run on",
                False,
            ),
            *_CRIU,
            (
                ("tcp-skip-in-flight",),
                FLAG,
                False,
                "",
                "leave out TCP connections that are not established yet",
                False,
            ),
            (
                ("link-remap",),
                FLAG,
                False,
                "",
                "allow open files whose name is gone, by links to them",
                False,
            ),
            (
                ("page-server",),
                STRING,
                "",
                "ADDRESS:PORT",
                "send the memory to CRIU's page server there",
                False,
            ),
            (
                ("status-fd",),
                INT,
                -1,
                "N",
                "file descriptor to which a zero byte is written when --lazy-pages can be served",
                False,
            ),
        ),
    ),
    "restore": (
        "let a container go on that checkpoint has saved",
        _ID,
        "Makes a container from the bundle and from the images that `pyruntime checkpoint` has "
        "saved, and stays with its process as `pyruntime run` does, unless told to detach. The id "
        "may be another one, and must be unique under the root directory. Who can write the images "
        "decides what runs: they must be the caller's own.",
        1,
        1,
        False,
        False,
        (
            _BUNDLE,
            _CONSOLE_SOCKET,
            _PID_FILE,
            _DETACH,
            _IMAGE_PATH,
            _WORK_PATH,
            *_CRIU,
            (
                ("lsm-profile",),
                STRING,
                "",
                "TYPE:NAME",
                "label of the processes: apparmor:PROFILE or selinux:LABEL",
                False,
            ),
            (
                ("lsm-mount-context",),
                STRING,
                "",
                "CONTEXT",
                "context of the mounts, under SELinux",
                False,
            ),
            (("no-subreaper",), FLAG, False, "", "accepted for runc's callers; no effect", True),
            (("no-pivot",), FLAG, False, "", "accepted for runc's callers; no effect", True),
        ),
    ),
    "events": (
        "show what a container uses, and when its memory runs out",
        _ID,
        "Writes a JSON object with the figures of the container's cgroups at every interval, and "
        "one whenever the kernel ends a process because memory ran out, until the container "
        "stops. On a terminal it shows a table instead, which it draws anew at every interval. "
        + _WITH_ID,
        1,
        1,
        False,
        False,
        (
            (
                ("format",),
                STRING,
                "",
                "json|table",
                "what to print (default: a table on a terminal, otherwise JSON lines)",
                False,
            ),
            (
                ("interval",),
                STRING,
                "",
                "DURATION",
                "time between figures, such as 500ms or 1m30s (default: 5s, of a table 1s)",
                False,
            ),
            (("stats",), FLAG, False, "", "show the figures once, then leave", False),
        ),
    ),
    "exec": (
        "run one more process in a container",
        _ID + " <command> [argument...]  |  --process FILE " + _ID,
        "The process is that of the container's configuration, as it was when the container "
        "was made, with the options below merged in, or the one that FILE describes. The exit "
        "status is that of the process; 128 and the number of the signal if one killed it; "
        "255 if there is no process. " + _WITH_ID,
        1,
        UNLIMITED,
        True,
        True,
        (
            _CONSOLE_SOCKET,
            _PIDFD_SOCKET,
            (("cwd",), STRING, "", "DIR", "working directory in the container", False),
            (
                ("env", "e"),
                REPEAT,
                None,
                "NAME=VALUE",
                "add a variable to the environment; may be given several times",
                False,
            ),
            (("tty", "t"), FLAG, False, "", "allocate a terminal", False),
            (
                ("user", "u"),
                STRING,
                "",
                "UID[:GID]",
                "user and group, as numbers that are the container's",
                False,
            ),
            (
                ("additional-gids", "g"),
                REPEAT,
                None,
                "GID",
                "add a supplementary group; may be given several times",
                False,
            ),
            (
                ("process", "p"),
                STRING,
                "",
                "FILE",
                "a JSON file with the process to run, of the form of `process` in config.json; "
                "the options that say what to run do not count then",
                False,
            ),
            _DETACH,
            _PID_FILE,
            (("process-label",), STRING, "", "LABEL", "the SELinux label of the process", False),
            (("apparmor",), STRING, "", "PROFILE", "the AppArmor profile of the process", False),
            (
                ("no-new-privs",),
                FLAG,
                False,
                "",
                "no execve may give the process more privileges",
                False,
            ),
            (
                ("cap", "c"),
                REPEAT,
                None,
                "CAP",
                "add a capability to the bounding, effective and permitted sets; may be given "
                "several times",
                False,
            ),
            (
                ("preserve-fds",),
                INT,
                0,
                "N",
                "pass N more file descriptors to the process, after standard input, output and "
                "error (default: 0)",
                False,
            ),
            (
                ("cgroup",),
                REPEAT,
                None,
                "[CONTROLLER[,CONTROLLER]:]PATH",
                "run the process in an existing group below the container's cgroup; with "
                "controllers it may be given several times",
                False,
            ),
            (
                ("ignore-paused",),
                FLAG,
                False,
                "",
                "allow it in a paused container: the process runs when that is resumed",
                False,
            ),
        ),
    ),
    "mounts": (
        "add mounts to a running container, or remove them",
        "<add|remove> <container-id> <file>",
        "The file, or standard input for -, is JSON with an array of the form of `mounts` in "
        "config.json, or an object that has one. `mounts add` opens the sources on the host and "
        "mounts all of them in order, or none; a relative source counts from the bundle. "
        "`mounts remove` reads only the destinations, and unmounts the last one first. The "
        "container's config.json is not changed.",
        3,
        3,
        False,
        False,
        (),
    ),
    "list": (
        "list the containers under the root directory",
        "",
        "Lists the containers under the directory of the global option --root.",
        0,
        0,
        False,
        False,
        (
            (
                ("format", "f"),
                STRING,
                "table",
                "FORMAT",
                "form of the list: table or json (default: table)",
                False,
            ),
            (("quiet", "q"), FLAG, False, "", "show only the ids", False),
        ),
    ),
    "ps": (
        "show the processes of a container",
        _ID + " [ps option...]",
        "Runs the host's ps, with -ef unless other options follow the id, and shows those lines "
        "that belong to the container. The options must leave the column PID in place. " + _WITH_ID,
        1,
        UNLIMITED,
        True,
        False,
        (
            (
                ("format", "f"),
                STRING,
                "table",
                "FORMAT",
                "table, or json for an array of the process ids (default: table)",
                False,
            ),
        ),
    ),
    "spec": (
        "create a config.json to start from",
        "",
        'Writes a file "config.json" that runs sh in a root filesystem at "rootfs". '
        "It replaces no file that exists.",
        0,
        0,
        False,
        False,
        (
            _BUNDLE,
            (
                ("rootless",),
                FLAG,
                False,
                "",
                "make a configuration for a container without privileges",
                False,
            ),
        ),
    ),
    "features": (
        "show what this runtime can do",
        "",
        "Writes the features of the runtime as JSON, in the form that the OCI runtime "
        "specification gives them.",
        0,
        0,
        False,
        False,
        (),
    ),
    "doctor": (
        "show what this host can and cannot do for containers",
        "",
        "Tries every ability of the kernel that containers can use, and looks at cgroups, "
        "security modules, user namespaces and tools; says of each gap what it costs. Nothing "
        "is left behind. The exit status is 0 if containers can run here, otherwise 1.",
        0,
        0,
        False,
        False,
        ((("json",), FLAG, False, "", "write JSON", False),),
    ),
    "plan": (
        "show the operations that create would perform",
        "[<container-id>]",
        "Compiles the configuration of a bundle and writes the list of operations that "
        "the init of the container would carry out. Nothing is created.",
        0,
        1,
        False,
        False,
        (
            _BUNDLE,
            _CONFIG_F,
            (("json",), FLAG, False, "", "write JSON", False),
        ),
    ),
    "trace": (
        "draw a recorded trace",
        "<file>",
        "The file, or standard input for -, is what the option --trace of create or run has "
        "written. Shows the operations that took longest, then every step of the host and the "
        "init as a bar on one axis of time.",
        1,
        1,
        False,
        False,
        (
            (
                ("svg",),
                STRING,
                "",
                "FILE",
                "draw the timeline as an image too, in the form of SVG",
                False,
            ),
        ),
    ),
    "validate": (
        "check the configuration of a bundle",
        "[<bundle>]",
        "Checks config.json and writes every fault with its place in the file. The exit status "
        "is 1 if there is any. The bundle may be given as an argument.",
        0,
        1,
        False,
        False,
        (_BUNDLE, _CONFIG_F),
    ),
}


def verb(name: str) -> Verb | None:
    """The verb of that name, or None."""
    entry = VERBS.get(name)
    return None if entry is None else Verb(name, entry)


def global_options() -> list[Option]:
    """The options that stand before the verb."""
    return [Option(entry) for entry in GLOBAL_OPTIONS]


def version(python: str) -> str:
    """What --version prints; engines look for the line with "version" in it."""
    return f"pyruntime version {VERSION}\nspec: {SPECIFICATION}\npython: {python}\n"
