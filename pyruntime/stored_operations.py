"""The operations of a stored plan (generated from spec/launcher.toml; do not edit)."""

INTERFACE = 2646518386

KINDS = {
    120: "",
    121: "ii",
    122: "t",
    123: "it",
    124: "tt",
    125: "bn",
    126: "i",
    127: "ii",
    128: "i",
    129: "i",
    130: "tt",
    131: "t",
    132: "",
    133: "",
    134: "tt",
    135: "tti",
}
# Leave with status 0.
END = 120
# Is the process of that pid the one that started then, and no zombie? (/proc/PID/stat)
ALIVE = 121
# Is there a file of that name in the container's directory?
EXISTS = 122
# Does the link /proc/PID/exe begin so?
EXECUTES = 123
# Is that the whole content of the file?
FILE_SAYS = 124
# write(2) to standard output.
PRINT = 125
# Does the command line ask for that signal?
SIGNAL_IS = 126
# pidfd_open(2); is it the process that started then?
OPEN_PROCESS = 127
# pidfd_send_signal(2) to the opened process; -1 is the signal of the command line.
SEND = 128
# Has the opened process ended within that time?
AWAIT_EXIT = 129
# Let the init go on, read its report to the end, remove `start`; Python tells a report.
RELEASE = 130
# rmdir(2), again for a moment while it is busy; a missing directory is fine.
RMDIR = 131
# Rename the container's directory, unlink the files in it, remove it.
REMOVE_DIRECTORY = 132
# Has no command for this id left a hidden directory behind (state.sweep)?
NOTHING_HIDDEN = 133
# One write(2) of the content to a file that is there.
WRITE_FILE = 134
# Does the file come to hold the text within about that time? Never fails.
AWAIT_TEXT = 135
