# Sourced by the script of each engine. Expects WORK, RESULTS, RUNTIME, IMAGE_FILE, BUSYBOX.
# shellcheck shell=bash
set -u
IMAGE=localhost/engine-test:latest
DEADLINE=60
export LC_ALL=C TZ=UTC HOME=$WORK/home
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin
unset LD_LIBRARY_PATH XDG_RUNTIME_DIR
mkdir -p "$HOME"
step_number=0

# step NAME COMMAND...: run a command or function, and note what it printed, its exit
# status and how long it took. With ONLY set, steps that do not match it are left out.
step() {
    local name=$1 directory began code=0
    shift
    step_number=$((step_number + 1))
    [[ $name =~ ${ONLY:-.} ]] || return 0
    directory=$(printf '%s/%03d-%s' "$RESULTS" "$step_number" "$name")
    mkdir -p "$directory"
    began=${EPOCHREALTIME/./}
    "$@" >"$directory/stdout" 2>"$directory/stderr" || code=$?
    echo $((${EPOCHREALTIME/./} - began)) >"$directory/microseconds"
    echo "$code" >"$directory/code"
}

# skip NAME REASON: in place of a step that cannot be tried on this machine
skip() {
    step_number=$((step_number + 1))
    [[ $1 =~ ${ONLY:-.} ]] || return 0
    printf '%s\n' "$2" >"$(printf '%s/%03d-%s' "$RESULTS" "$step_number" "$1").skipped"
}

# within COMMAND...: end an engine's command that does not come back
within() { timeout --foreground -k 5 "$DEADLINE" "$@"; }

# eventually COMMAND...: try until it succeeds; fails, and says so, after DEADLINE seconds
eventually() {
    local end=$((SECONDS + DEADLINE))
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "gave up after $DEADLINE s: $*"
            return 1
        fi
        sleep 0.05
    done
}

# prints TEXT COMMAND...: whether the command's output holds the text
prints() {
    local text=$1
    shift
    [[ $("$@" 2>&1) == *"$text"* ]]
}

# log_lines FILE: what a runtime wrote to its log of JSON lines, without times and what differs
# from run to run; runtimes name themselves, and runc has one phrase more
log_lines() {
    eventually test -s "$1" || return
    "$PYTHON" -c '
import json, re, sys
for line in open(sys.argv[1]):
    entry = json.loads(line)
    said = entry["msg"].replace("unable to start container process: ", "")
    said = re.sub("^(runc|pyruntime) create", "RUNTIME create", said)
    print(sorted(entry), entry["level"], re.sub("[0-9a-f]{64}", "ID", said))
' "$1"
}

# gone PID: whether there is no such process any more
gone() { [ ! -e "/proc/$1" ]; }

# on_terminal COMMAND-LINE: run it with a terminal as standard input and output. Our own
# functions are at hand. The end of script's input would be echoed, hence the pipe.
on_terminal() (
    set -o pipefail
    declare -f >"$WORK/functions"
    declare -p BUSYBOX DEADLINE IMAGE WORK RUNTIME >>"$WORK/functions"
    [ -e "$WORK/never" ] || mkfifo "$WORK/never"
    SHELL=/bin/bash script -qec ". $WORK/functions; $1" /dev/null <>"$WORK/never" | tr -d '\r'
)

# nothing_stays PROGRAM MOUNTS: wait for the end of an engine's helpers, and of the mounts that
# match an extended regular expression
nothing_stays() {
    eventually eval "! pgrep -x $1" || pgrep -a -x "$1"
    eventually eval "! grep -qE '$2' /proc/mounts" || grep -E "$2" /proc/mounts
}

# here_or_own LINKS: which of the namespaces that namespace_names printed are our own
namespace_names='for n in net pid ipc uts; do readlink /proc/self/ns/$n; done'
here_or_own() {
    local name
    for name in net pid ipc uts; do
        if [ "$(readlink "/proc/self/ns/$name")" = "$(sed -n "/^$name:/p" <<<"$1")" ]; then
            echo "$name here"
        else
            echo "$name own"
        fi
    done
}

# needs_memory NAME COMMAND...: a step that must end for want of memory, and would take
# all of the machine's where there is no memory controller to limit it
needs_memory() {
    if [ -d /sys/fs/cgroup/memory ] || grep -qsw memory /sys/fs/cgroup/cgroup.controllers; then
        step "$@"
    else
        skip "$1" 'no memory controller'
    fi
}

# unable REASON: tell run.py that the engine cannot be tried here
unable() {
    printf '%s\n' "$*" >"$RESULTS/unable"
    exit 0
}
