# containerd and its shim, through ctr.
# shellcheck shell=bash
. "$(dirname "$0")/steps.sh"
socket=$WORK/containerd.sock

configure() {
    # A user namespace must be able to pass through the directories above its root.
    mkdir -p -m 0755 "$WORK/root" "$WORK/state" "$WORK/bin"
    # ctr drops --runc-binary with --uidmap, and the shim then looks for runc in PATH.
    ln -s "$RUNTIME" "$WORK/bin/runc"
    cat >"$WORK/containerd.toml" <<CONF
version = 2
root = "$WORK/root"
state = "$WORK/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$socket"
CONF
}

# start_daemon: background process, its pid in $daemon
start_daemon() {
    PATH=$WORK/bin:$PATH containerd --config "$WORK/containerd.toml" >>"$RESULTS/containerd.log" 2>&1 &
    daemon=$!
    eventually ctr version
}

ctr() { within /usr/bin/ctr -a "$socket" "$@"; }
run() { ctr run --rm --runc-binary "$RUNTIME" "$@"; }

# detached ID OPTION... IMAGE ...: start in the background, and wait until it runs
detached() {
    local id=$1
    shift
    ctr run -d --runc-binary "$RUNTIME" "$@" && eventually state_is RUNNING "$id"
}
task_state() { ctr task ls | awk -v id="$1" '$1 == id { print $3 }'; }
task_pid() { ctr task ls | awk -v id="$1" '$1 == id { print $2 }'; }
state_is() { [ "$(task_state "$2")" = "$1" ]; }
is_ready() { ctr task exec --exec-id "ready-$RANDOM" "$1" test -e /run/ready; }
no_task() { [ -z "$(task_state "$1")" ]; }

# remove ID: a stopped task and its container
remove() { ctr task rm "$1" >/dev/null; ctr container rm "$1"; }
kill_and_remove() {
    ctr task kill -s SIGKILL "$1"
    eventually state_is STOPPED "$1"
    remove "$1"
}

configure
start_daemon >"$RESULTS/start" || unable "containerd does not start: $(tail -n 1 "$RESULTS/containerd.log")"
ctr image import "$IMAGE_FILE" >"$RESULTS/load" 2>&1 ||
    unable "containerd cannot import an image: $(tail -n 1 "$RESULTS/load")"

# ---- run
step run run "$IMAGE" first sh -c 'echo hello; exit 7'
step run-not-found run "$IMAGE" absent /no/such/program
step run-not-executable run "$IMAGE" refused /etc/passwd
left() {
    ctr task ls -q
    ctr container ls -q
    ls -A /run/containerd/runc/default 2>/dev/null | grep -v "^~seccomp$"
    find /sys/fs/cgroup -mindepth 3 -path "*/default/*" -type d
    nothing_stays containerd-shim "$WORK/state/[^ ]*/rootfs "
}
step after-failure left
# A program can end before ctr has told its terminal the size; that is logged.
on_ctr_terminal() (
    set -o pipefail
    on_terminal "socket=$socket; $1" | sed '/resize pty/d'
)
step run-terminal on_ctr_terminal 'run -t $IMAGE terminal sh -c "tty; test -t 0 && echo terminal; exit 3"'
step run-stdin eval 'echo typed | run "$IMAGE" stdin head -n 1'
step run-environment run --env COLOUR=red --cwd /tmp "$IMAGE" environment sh -c 'echo $COLOUR; pwd; hostname'
step run-read-only run --read-only "$IMAGE" readonly sh -c 'touch /file; echo $?'
step run-mount run --mount type=bind,src=/etc,dst=/host,options=rbind:ro "$IMAGE" mount sh -c 'test -e /host/passwd; echo $?; touch /host/file; echo $?'
step run-tmpfs run --mount type=tmpfs,src=tmpfs,dst=/scratch,options=size=64k "$IMAGE" tmpfs sh -c 'df -k /scratch | tail -n 1'
step run-capabilities run "$IMAGE" capabilities grep -E 'Cap|Seccomp:|NoNewPrivs' /proc/self/status
step run-cap-add run --cap-add CAP_NET_ADMIN --cap-drop CAP_CHOWN "$IMAGE" added grep Cap /proc/self/status
step run-allow-new-privs run --allow-new-privs "$IMAGE" privs grep NoNewPrivs /proc/self/status
step run-seccomp run --seccomp "$IMAGE" seccomp sh -c 'grep Seccomp: /proc/self/status; mount -t tmpfs none /tmp; echo $?'
step run-privileged run --privileged "$IMAGE" privileged sh -c 'grep CapEff /proc/self/status; mount -t tmpfs none /tmp && echo mounted'
step run-device run --device /dev/full "$IMAGE" device sh -c 'ls -l /dev/full | cut -c1-10; echo x >/dev/full; echo $?'
step run-mounts run "$IMAGE" mounts sh -c "cut -d' ' -f2,3 /proc/mounts | sort"
step run-devices run "$IMAGE" nodes sh -c 'ls -l /dev | awk "{print \$1, \$3, \$4, \$5, \$NF}"'
step run-rootfs eval 'mkdir -p $WORK/plain/bin && cp $BUSYBOX $WORK/plain/bin/sh && ctr run --rm --runc-binary "$RUNTIME" --rootfs "$WORK/plain" plain /bin/sh -c "echo plain"'
step run-config eval 'ctr run -d --runc-binary "$RUNTIME" --pid-file "$WORK/pid" "$IMAGE" pidfile sleep 600; eventually test -s "$WORK/pid"; [ "$(cat "$WORK/pid")" = "$(task_pid pidfile)" ] && echo "same pid"; kill_and_remove pidfile'
step run-no-pivot run --no-pivot "$IMAGE" nopivot sh -c 'echo without pivot_root; ls / | head -n 3'

# ---- limits; ctr's containers do not see their cgroup, so look from outside
in_cgroup() {
    local id=$1 file
    shift
    for file in "$@"; do
        find /sys/fs/cgroup -path "*/default/$id/$file" -exec cat {} +
    done
}
limited() {
    detached limited --memory-limit 67108864 --cpu-quota 50000 --cpu-period 100000 \
        "$IMAGE" limited sleep 600 || return
    in_cgroup limited memory.limit_in_bytes cpu.cfs_quota_us cpu.cfs_period_us memory.max cpu.max
    kill_and_remove limited
}
step limits limited
needs_memory limit-oom run --memory-limit 16777216 "$IMAGE" oom sh -c 'tail /dev/zero; echo tail $?; sleep 0'
needs_memory limit-oom-init run --memory-limit 16777216 "$IMAGE" oominit tail /dev/zero

# ---- namespaces
step namespaces-own eval 'here_or_own "$(run "$IMAGE" own sh -c "$namespace_names")"'
step namespaces-host eval 'here_or_own "$(run --net-host --with-ns pid:/proc/1/ns/pid --with-ns ipc:/proc/1/ns/ipc --with-ns uts:/proc/1/ns/uts "$IMAGE" host sh -c "$namespace_names")"'
joined() {
    detached target "$IMAGE" target sleep 600 || return
    local at
    at=/proc/$(task_pid target)/ns
    run --with-ns "pid:$at/pid" --with-ns "network:$at/net" --with-ns "ipc:$at/ipc" --with-ns "uts:$at/uts" \
        "$IMAGE" joiner sh -c "ps -o args | grep -c '[s]leep 600'; $namespace_names" >"$WORK/joiner"
    head -n 1 "$WORK/joiner"
    tail -n +2 "$WORK/joiner" >"$WORK/names"
    ctr task exec --exec-id names target sh -c "$namespace_names" | cmp - "$WORK/names" && echo 'the same'
    kill_and_remove target
}
step namespaces-joined joined
step userns run --uidmap 0:100000:65536 --gidmap 0:200000:65536 "$IMAGE" userns sh -c 'cat /proc/self/uid_map /proc/self/gid_map | tr -s " "; id -u; grep CapEff /proc/self/status; ls -ln /bin/busybox | tr -s " " | cut -d" " -f3,4'
step cgroup eval 'run --cgroup /engines/named "$IMAGE" cgroup sh -c "sed s/.*:// /proc/self/cgroup | sort -u"; find /sys/fs/cgroup -name named'

# ---- a task's life
started() {
    detached life "$IMAGE" life sh -c 'trap "exit 5" TERM; : >/run/ready; while :; do sleep 0.1; done'
    eventually is_ready life
    task_state life
}
step life-start started
step life-ps eval 'ctr task ps life | awk "NR == 1 || NR == 2 { print (NR == 1 ? \$0 : \"first process\") }"'
step life-exec ctr task exec --exec-id one life sh -c 'echo executed; cat /proc/1/comm; exit 4'
step life-exec-terminal on_ctr_terminal 'ctr task exec -t --exec-id two life sh -c "tty; test -t 1 && echo terminal; exit 6"'
step life-exec-stdin eval 'echo typed | ctr task exec --exec-id three life cat'
step life-exec-cwd ctr task exec --exec-id four --cwd /tmp life pwd
step life-exec-user ctr task exec --exec-id user --user 1000:1000 life id
step life-exec-not-found ctr task exec --exec-id five life /no/such/program
step life-log log_lines "$WORK/state/io.containerd.runtime.v2.task/default/life/log.json"
step life-exec-detached eval 'ctr task exec -d --exec-id six life sh -c "echo detached >/tmp/file"; eventually ctr task exec --exec-id seven life grep -q detached /tmp/file && echo done'
paused() {
    ctr task pause life && task_state life
    ctr task exec --exec-id eight life true
    echo "exec $?"
    ctr task resume life && task_state life
    ctr task exec --exec-id nine life echo awake
}
step life-pause paused
step life-metrics eval 'ctr task metrics life | awk "/memory.usage_in_bytes|pids.current|cpuacct.usage / { print \$1, (\$2 > 0) }"'
step life-pids eval 'ctr task ps life | wc -l | grep -q "[23]" && echo counted'
step life-kill-signal eval 'ctr task kill -s SIGTERM life; eventually state_is STOPPED life; task_state life; ctr task exec --exec-id ten life true; echo "exec $?"; ctr task kill life; echo "kill $?"'
step life-remove eval 'remove life; ctr task ls -q; ctr container ls -q'
step kill-all eval 'detached all "$IMAGE" all sh -c "sleep 600 & sleep 600" && ctr task kill -a -s SIGKILL all; eventually state_is STOPPED all; remove all'
host_pids() {
    detached shared --with-ns pid:/proc/1/ns/pid "$IMAGE" shared sh -c 'sleep 654321 & sleep 654321' || return
    ctr task kill -a -s SIGKILL shared
    eventually state_is STOPPED shared
    remove shared
    eventually eval '! pgrep -f "sleep 65432[1]"' && echo 'none left'
}
step kill-all-host-pids host_pids
step delete-force eval 'detached forced "$IMAGE" forced sleep 600 && ctr task rm -f forced >/dev/null; ctr container rm forced; ctr task ls -q'
# ---- checkpoint
# The word is made up by the program, and in its memory alone.
counts='read word </proc/sys/kernel/random/uuid; i=0; while :; do i=$((i + 1)); echo $word $i >/tmp/new; mv /tmp/new /tmp/said; sleep 0.1; done'
said() { ctr task exec --exec-id "said-$RANDOM" saved cut -d" " -f"$1" /tmp/said; }
goes_on() { [ "$(said 2)" -gt "$1" ]; }
checkpointed() {
    detached saved --null-io "$IMAGE" saved sh -c "$counts" || return
    eventually goes_on 2
    local word number
    word=$(said 1)
    ctr container checkpoint --rw --image --task saved localhost/checkpoint:saved >/dev/null
    echo "checkpoint $?"
    task_state saved
    number=$(said 2)
    kill_and_remove saved
    ctr container restore --rw --live saved localhost/checkpoint:saved
    echo "restore $?"
    eventually goes_on "$number" && [ "$(said 1)" = "$word" ] && echo 'the same word'
    ctr task checkpoint --exit --image-path "$WORK/images" saved >/dev/null
    echo "exit $?"
    eventually state_is STOPPED saved && task_state saved
    remove saved
}
if criu_says=$(criu check 2>&1); then
    step checkpoint checkpointed
else
    skip checkpoint "criu check: ${criu_says%%$'\n'*}"
fi

# ---- what happens when parts die
init_died() {
    detached victim "$IMAGE" victim sleep 600 || return
    kill -KILL "$(task_pid victim)"
    eventually state_is STOPPED victim && task_state victim
    remove victim
}
step init-killed-outside init_died
shim_died() {
    detached orphan "$IMAGE" orphan sleep 600 || return
    local init
    init=$(task_pid orphan)
    kill -KILL "$(pgrep -f 'containerd-shim.* -id orphan')"
    eventually gone "$init" && echo 'init gone'
    eventually no_task orphan && echo 'task gone'
    ctr container rm orphan
    eventually eval '! find /sys/fs/cgroup -name orphan | grep -q .' && echo 'cgroups gone'
    ls -A /run/containerd/runc/default 2>/dev/null | grep -v '^~seccomp$'
}
step shim-killed shim_died
daemon_restart() {
    detached survivor "$IMAGE" survivor sh -c 'trap "exit 8" TERM; : >/run/ready; while :; do sleep 0.1; done' || return
    eventually is_ready survivor
    kill -TERM "$daemon"
    wait "$daemon"
    start_daemon
    task_state survivor
    ctr task exec --exec-id after survivor echo 'still here'
    ctr task kill survivor
    eventually state_is STOPPED survivor
    remove survivor
}
step daemon-restart daemon_restart
daemon_killed() {
    detached survivor "$IMAGE" survivor sleep 600 || return
    kill -KILL "$daemon"
    wait "$daemon" 2>/dev/null
    start_daemon
    task_state survivor
    kill_and_remove survivor
}
step daemon-killed daemon_killed
step nothing-left left
