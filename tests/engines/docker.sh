# Docker, with the runtime as the daemon's default.
# shellcheck shell=bash
. "$(dirname "$0")/steps.sh"

configure() {
    mkdir -p "$WORK/docker"
    cat >"$WORK/daemon.json" <<CONF
{"data-root": "$WORK/docker", "exec-root": "$WORK/exec", "pidfile": "$WORK/docker.pid",
 "hosts": ["unix://$WORK/docker.sock"], "storage-driver": "overlay2", "live-restore": true,
 "exec-opts": ["native.cgroupdriver=cgroupfs"], "default-runtime": "under-test",
 "runtimes": {"under-test": {"path": "$RUNTIME"},
              "with-arguments": {"path": "$RUNTIME", "runtimeArgs": ["--debug"]}}}
CONF
    # The builder inside the daemon; the other is a package of its own.
    export DOCKER_BUILDKIT=0 DOCKER_CONFIG=$WORK/client
}

# start_daemon: background process, its pid in $daemon
start_daemon() {
    dockerd --config-file "$WORK/daemon.json" >>"$RESULTS/dockerd.log" 2>&1 &
    daemon=$!
    eventually docker info
}

docker() { within /usr/bin/docker -H "unix://$WORK/docker.sock" "$@"; }
run() { docker run --rm --pull never --network none "$@"; }

# background NAME OPTION... IMAGE ...: start it detached
background() { docker run -d --pull never --network none --name "$@" >/dev/null; }
field() { docker inspect --format "$1" "$2"; }
status_is() { [ "$(field '{{.State.Status}}' "$2")" = "$1" ]; }
health_is() { [ "$(field '{{.State.Health.Status}}' "$2")" = "$1" ]; }

# refusal COMMAND...: an error that Docker prints; runc has one phrase more
refusal() (
    set -o pipefail
    "$@" | sed 's/unable to start container process: //'
)

CAP_SYS_RESOURCE=24
# bounded NUMBER: whether this capability can be had here. Docker 20 asks for every one that the
# kernel knows, and with one of them missing runc refuses to start.
bounded() {
    local set
    set=$(awk '/^CapBnd/ { print $2 }' /proc/self/status)
    [ $(((0x$set >> $1) & 1)) -eq 1 ]
}
no_resource='no CAP_SYS_RESOURCE in the bounding set: runc refuses'

configure
start_daemon >"$RESULTS/start" || unable "dockerd does not start: $(tail -n 1 "$RESULTS/dockerd.log")"
docker load -q -i "$IMAGE_FILE" >"$RESULTS/load" 2>&1 ||
    unable "docker cannot load an image: $(tail -n 1 "$RESULTS/load")"

# ---- run
step run run "$IMAGE" sh -c 'echo hello; exit 7'
step run-refused run --memory 1 "$IMAGE" true
step run-not-executable run "$IMAGE" /etc/passwd
step run-not-found run "$IMAGE" /no/such/program
step run-not-in-path run "$IMAGE" no-such-program
left() {
    docker ps -aq
    ls -A "$WORK/exec/runtime-runc/moby" | grep -v "^~seccomp$"
    find /sys/fs/cgroup -regextype posix-egrep -regex ".*/[0-9a-f]{64}" -type d
    nothing_stays containerd-shim "$WORK/(docker|exec)/[^ ]*/(merged|shm|rootfs|netns/[^ /]*) "
}
step after-failure left
step run-stdin eval 'echo typed | run -i "$IMAGE" cat'
step run-terminal on_terminal 'run -t $IMAGE sh -c "tty; test -t 0 && echo terminal; exit 3"'
step run-user run --user guest:extra "$IMAGE" id
step run-group-add run --user 1000 --group-add 3000 "$IMAGE" id
step run-environment run --env COLOUR=red --hostname box --workdir /var/new "$IMAGE" sh -c 'echo $COLOUR; hostname; pwd'
step run-read-only run --read-only --tmpfs /tmp "$IMAGE" sh -c 'touch /file; echo $?; touch /tmp/file; echo $?'
if command -v docker-init >/dev/null; then
    step run-init run --init "$IMAGE" sh -c 'tr "\0" " " </proc/1/cmdline; exit 3'
else
    skip run-init 'no docker-init (tini)'
fi
step run-capabilities run "$IMAGE" grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status
step run-cap-drop run --cap-drop ALL --cap-add NET_RAW "$IMAGE" grep Cap /proc/self/status
step run-cap-all run --cap-add ALL --cap-drop SYS_RESOURCE "$IMAGE" grep CapEff /proc/self/status
if bounded "$CAP_SYS_RESOURCE"; then
    step run-privileged run --privileged "$IMAGE" sh -c 'grep CapEff /proc/self/status; mount -t tmpfs none /tmp && echo mounted'
else
    skip run-privileged "$no_resource"
fi
step run-no-new-privileges run --security-opt no-new-privileges "$IMAGE" grep NoNewPrivs /proc/self/status
step run-seccomp-default run "$IMAGE" sh -c 'unshare -m true; echo $?; mount -t tmpfs none /tmp; echo $?'
step run-seccomp-off run --security-opt seccomp=unconfined "$IMAGE" grep Seccomp: /proc/self/status
cat >"$WORK/profile.json" <<'PROFILE'
{"defaultAction": "SCMP_ACT_ALLOW",
 "syscalls": [{"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}
PROFILE
step run-seccomp-profile run --security-opt "seccomp=$WORK/profile.json" "$IMAGE" sh -c 'grep Seccomp: /proc/self/status; chmod 700 /tmp; echo $?'
step run-systempaths run --security-opt systempaths=unconfined "$IMAGE" sh -c 'grep -E " /(proc|sys)/" /proc/mounts | grep -vc unified'
step run-stop-signal eval 'background stopped --stop-signal USR1 --stop-timeout 30 "$IMAGE" sh -c "trap \"exit 6\" USR1; echo ready; while :; do sleep 0.1; done"; eventually prints ready docker logs stopped; docker stop stopped; docker wait stopped; docker rm stopped'
step run-umask run "$IMAGE" sh -c umask
step run-masked run "$IMAGE" sh -c 'wc -c </proc/timer_list; ls /proc/acpi /sys/firmware; echo x >/proc/sys/kernel/hostname; echo $?'
step run-sysctl run --sysctl net.ipv4.ip_forward=1 --sysctl kernel.msgmax=1000 "$IMAGE" cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax
step run-ulimit run --ulimit nofile=64:128 --ulimit core=0 "$IMAGE" sh -c 'ulimit -Sn; ulimit -Hn; ulimit -c'
step run-oom-score run --oom-score-adj 300 "$IMAGE" cat /proc/self/oom_score_adj
step run-mounts run "$IMAGE" sh -c "cut -d' ' -f2,3 /proc/mounts | sort | grep -v unified"
step run-devices run "$IMAGE" sh -c 'ls -l /dev | awk "{print \$1, \$3, \$4, \$5, \$NF}"'
step run-device run --device /dev/full:/dev/brim "$IMAGE" sh -c 'ls -l /dev/brim | cut -c1-10; echo x >/dev/brim; echo $?'
step run-device-refused run --cap-add MKNOD --cap-add SYSLOG "$IMAGE" sh -c 'mknod /kmsg c 1 11 && : </kmsg; echo $?'
step run-device-rule run --cap-add MKNOD --cap-add SYSLOG --device-cgroup-rule 'c 1:11 rmw' "$IMAGE" sh -c 'mknod /kmsg c 1 11 && : </kmsg; echo $?'
step run-shm-size run --shm-size 1m "$IMAGE" sh -c 'df -k /dev/shm | tail -n 1'
step run-with-arguments run --runtime with-arguments "$IMAGE" echo arguments
step namespaces-own eval 'here_or_own "$(run "$IMAGE" sh -c "$namespace_names")"'
step namespaces-host eval 'here_or_own "$(docker run --rm --pull never --network host --ipc host --pid host --uts host "$IMAGE" sh -c "$namespace_names")"'
step run-cgroupns run --cgroupns private "$IMAGE" sh -c 'sed s/.*:// /proc/self/cgroup | sort -u'
step run-cgroup-parent run --cgroup-parent /engines "$IMAGE" sh -c 'sed "s/[0-9a-f]\{64\}/ID/;s/.*://" /proc/self/cgroup | sort -u'

# ---- limits
group='g() { for f in "$@"; do cat /sys/fs/cgroup/$f 2>/dev/null; done; true; }; g'
step limit-memory run --memory 64m --memory-swap 64m --memory-reservation 32m "$IMAGE" sh -c "$group memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes memory.max memory.low"
step limit-cpu run --cpus 0.5 --cpu-shares 512 "$IMAGE" sh -c "$group cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares cpu.max cpu.weight"
step limit-cpuset run --cpuset-cpus 0 "$IMAGE" grep Cpus_allowed_list /proc/self/status
step limit-pids run --pids-limit 20 "$IMAGE" sh -c "$group pids/pids.max pids.max"
oom() {
    docker run --name oom --pull never --network none --memory 16m --memory-swap 16m "$IMAGE" tail /dev/zero
    echo "run $?"
    field '{{.State.ExitCode}} {{.State.OOMKilled}}' oom
    docker rm oom
}
needs_memory limit-oom oom

# ---- a container's life
started() {
    background life --stop-timeout 30 "$IMAGE" \
        sh -c 'trap "echo ended; exit 5" TERM; trap "echo hup" HUP; echo ready; while :; do sleep 0.1; done'
    eventually prints ready docker logs life && echo started
}
step life-start started
step life-ps docker ps --format '{{.Names}} {{.Image}}'
step life-top eval 'docker top life -o pid,user,comm | grep "sh$" | tr -s " " | cut -d" " -f2,3 | sort -u'
step life-exec docker exec life sh -c 'echo executed; cat /proc/1/comm; exit 4'
step life-exec-user docker exec --user guest --workdir /tmp --env A=b life sh -c 'id; pwd; echo $A'
step life-exec-stdin eval 'echo typed | docker exec -i life cat'
step life-exec-terminal on_terminal 'docker exec -t life sh -c "tty; test -t 1 && echo terminal; exit 6"'
step life-exec-not-found refusal docker exec life /no/such/program
step life-exec-not-executable refusal docker exec life /etc/passwd
life_log() { log_lines "$WORK/exec/containerd/daemon/io.containerd.runtime.v2.task/moby/$(field '{{.Id}}' life)/log.json"; }
step life-log life_log
step life-exec-detached eval 'docker exec -d life sh -c "echo detached >/tmp/file"; eventually docker exec life grep -q detached /tmp/file && echo done'
step life-exec-seccomp docker exec life grep -E 'Seccomp:|CapEff' /proc/self/status
if bounded "$CAP_SYS_RESOURCE"; then
    step life-exec-privileged docker exec --privileged life grep CapEff /proc/self/status
else
    skip life-exec-privileged "$no_resource"
fi
stats() { docker stats --no-stream --format '{{.Name}} {{.PIDs}}' life | sed 's/[1-9][0-9]*$/N/'; }
step life-stats stats
step life-signal eval 'docker kill -s HUP life >/dev/null; eventually prints hup docker logs life && docker logs life'
paused() {
    docker pause life && field '{{.State.Status}}' life
    docker exec life true
    echo "exec $?"
    docker unpause life && field '{{.State.Status}}' life
    docker exec life echo awake
}
step life-pause paused
updated() {
    docker update --memory 128m --memory-swap 256m --cpus 0.5 --cpu-shares 256 --pids-limit 50 life
    echo "update $?"
    docker exec life sh -c "$group memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes memory.max cpu/cpu.cfs_quota_us cpu/cpu.shares cpu.max pids/pids.max pids.max; echo x >/dev/null && echo devices"
}
step life-update updated
step life-copy eval 'echo content >$WORK/file; docker cp $WORK/file life:/tmp/copied && docker exec life cat /tmp/copied; docker diff life | grep copied'
# Only a program that has printed "ready" has set its traps.
ready_times() { [ "$(docker logs life | grep -c ready)" -ge "$1" ]; }
step life-restart eval 'docker restart life; eventually ready_times 2; docker exec life ls /tmp'
step life-stop eval 'docker stop life; field "{{.State.Status}} {{.State.ExitCode}}" life'
step life-stopped-exec docker exec life true
step life-again eval 'docker start life; eventually status_is running life; docker kill life; docker wait life'
step life-rm eval 'docker rm life; docker ps -aq'
step stop-by-kill eval 'background deaf "$IMAGE" sleep 600; docker stop -t 1 deaf; docker wait deaf; docker rm deaf'
step rm-running eval 'background busy "$IMAGE" sleep 600; docker rm busy >/dev/null 2>&1; echo $?; docker rm -f busy; docker ps -aq'
step attach eval 'docker run -d -i --pull never --network none --name attach "$IMAGE" sh -c "read line; echo got \$line" >/dev/null; echo word | docker attach attach >/dev/null; docker wait attach; docker logs attach; docker rm attach'
restarts() {
    background again --restart on-failure:2 "$IMAGE" sh -c 'echo ran; exit 9'
    eventually prints $'ran\nran\nran' docker logs again && eventually status_is exited again
    docker logs again
    field '{{.RestartCount}} {{.State.ExitCode}}' again
    docker rm again
}
step restart-policy restarts
step failed-start eval 'docker create --pull never --network none --name broken "$IMAGE" /no/such/program >/dev/null; docker start broken; echo $?; field "{{.State.Status}} {{.State.ExitCode}}" broken; docker rm broken'
init_died() {
    background victim "$IMAGE" sleep 600
    kill -KILL "$(field '{{.State.Pid}}' victim)"
    eventually status_is exited victim && field '{{.State.ExitCode}}' victim
    docker rm victim
}
step init-killed-outside init_died

# ---- health check
healthy() {
    background well --health-cmd 'test -e /well' --health-interval 1s --health-timeout 30s --health-retries 1 "$IMAGE" sleep 600
    eventually health_is unhealthy well && field '{{.State.Health.Status}}' well
    docker exec well touch /well
    eventually health_is healthy well && field '{{.State.Health.Status}}' well
    docker rm -f well
}
step health healthy

# ---- volumes
mkdir -p "$WORK/volume" && echo content >"$WORK/volume/file"
step volume run -v "$WORK/volume:/data" "$IMAGE" sh -c 'cat /data/file; echo written >/data/new; ls /data'
step volume-read-only run -v "$WORK/volume:/data:ro" "$IMAGE" sh -c 'touch /data/file; echo $?'
mount --bind "$WORK/volume" "$WORK/volume" && mount --make-shared "$WORK/volume"
step volume-shared run -v "$WORK/volume:/data:slave" "$IMAGE" sh -c 'grep -c "/data .*master:" /proc/self/mountinfo'
named_volume() {
    docker volume create kept
    run -v kept:/data "$IMAGE" sh -c 'echo kept >/data/file'
    run -v kept:/data "$IMAGE" cat /data/file
    docker volume rm kept
}
step volume-named named_volume
step volume-from eval 'docker create --pull never --name source -v /shared "$IMAGE" true >/dev/null; run --volumes-from source "$IMAGE" ls -d /shared; docker rm -v source'
step tmpfs run --tmpfs /scratch:size=64k,mode=1770 "$IMAGE" sh -c 'ls -ld /scratch | cut -c1-10; df -k /scratch | tail -n 1'

# ---- networks
published() {
    docker run -d --pull never --name web -p 127.0.0.1:18080:80 "$IMAGE" \
        sh -c 'mkdir /www; echo served >/www/index.html; httpd -f -h /www' >/dev/null
    eventually within "$BUSYBOX" wget -q -O - http://127.0.0.1:18080/ && "$BUSYBOX" wget -q -O - http://127.0.0.1:18080/
    docker exec web ip -4 -o addr show eth0 | awk '{print $4}'
    docker rm -f web
}
step network-published published
named_network() {
    docker network create --subnet 10.77.0.0/24 private >/dev/null
    docker run -d --pull never --name server --network private "$IMAGE" sh -c 'mkdir /www; echo served >/www/index.html; httpd -f -h /www' >/dev/null
    eventually docker run --rm --pull never --network private "$IMAGE" wget -q -O - http://server/
    docker run --rm --pull never --network private "$IMAGE" wget -q -O - http://server/
    docker rm -f server
    docker network rm private
}
step network-named named_network
joined_network() {
    background first "$IMAGE" sleep 600
    [ "$(docker run --rm --pull never --network container:first "$IMAGE" readlink /proc/self/ns/net)" = "$(docker exec first readlink /proc/self/ns/net)" ] && echo 'the same'
    docker rm -f first
}
step network-joined joined_network
joined_pids() {
    background first --ipc shareable "$IMAGE" sleep 600
    run --pid container:first --ipc container:first "$IMAGE" sh -c 'ps -o args | grep -c "[s]leep 600"; readlink /proc/self/ns/ipc' >"$WORK/second"
    head -n 1 "$WORK/second"
    [ "$(tail -n 1 "$WORK/second")" = "$(docker exec first readlink /proc/self/ns/ipc)" ] && echo 'the same'
    docker rm -f first
}
step namespaces-joined joined_pids
step network-host eval '[ "$(docker run --rm --pull never --network host "$IMAGE" readlink /proc/self/ns/net)" = "$(readlink /proc/self/ns/net)" ] && echo "the same"'
step network-none run "$IMAGE" ip -o link
step network-connect eval 'docker network create --subnet 10.78.0.0/24 later >/dev/null; docker run -d --pull never --name moved "$IMAGE" sleep 600 >/dev/null; docker network connect later moved; docker exec moved ip -4 -o addr show eth1 | awk "{print \$4}"; docker rm -f moved; docker network rm later'

# ---- build, commit
built() {
    mkdir -p "$WORK/context" && echo data >"$WORK/context/data"
    cat >"$WORK/context/Dockerfile" <<FILE
FROM $IMAGE
COPY data /data
RUN echo ran >/ran && cat /data && id -u
USER guest
RUN id -un >/tmp/name && ! touch /file
CMD ["cat", "/ran", "/data", "/tmp/name"]
FILE
    docker build -q --network none -t built "$WORK/context" >/dev/null
    echo "build $?"
    run built
}
step build built
step build-failing eval 'printf "FROM %s\nRUN exit 5\n" "$IMAGE" >"$WORK/context/Failing"; docker build -q --force-rm --network none -f "$WORK/context/Failing" "$WORK/context"'
step commit eval 'docker run --pull never --name changed --network none "$IMAGE" touch /changed; docker commit changed changed >/dev/null; run changed ls /changed; docker rm changed'

# ---- the daemon
daemon_restart() {
    background survivor "$IMAGE" sh -c 'trap "exit 8" TERM; echo ready; while :; do sleep 0.1; done'
    eventually prints ready docker logs survivor
    kill -TERM "$daemon"
    wait "$daemon"
    start_daemon
    field '{{.State.Status}}' survivor
    docker exec survivor echo 'still here'
    docker stop -t 30 survivor
    docker wait survivor
    docker rm survivor
}
step daemon-restart daemon_restart
# All containers of this daemon have a user namespace; it keeps its images elsewhere.
remapped() {
    kill -TERM "$daemon"
    wait "$daemon"
    sed -i 's/^{/{"userns-remap": "nobody:nogroup", /' "$WORK/daemon.json"
    start_daemon
    docker load -q -i "$IMAGE_FILE"
    run "$IMAGE" sh -c 'tr -s " " </proc/self/uid_map; id -u; grep CapEff /proc/self/status; touch /new && echo writable; ls -ln /bin/busybox | tr -s " " | cut -d" " -f3,4'
    run --read-only --tmpfs /tmp -v named:/data --memory 64m "$IMAGE" sh -c 'touch /tmp/a /data/b && echo written; mount -t tmpfs none /tmp; echo $?'
    background mapped "$IMAGE" sleep 600
    docker exec mapped sh -c 'id -u; tr -s " " </proc/self/uid_map'
    docker rm -f mapped
    docker run --rm --pull never --userns host --network none "$IMAGE" sh -c 'tr -s " " </proc/self/uid_map'
    docker run --rm --pull never "$IMAGE" sh -c 'ip route | head -n 1'
}
if [ -e /etc/subuid ] && [ -e /etc/subgid ]; then
    printf '%s:1000000:65536\n' nobody nogroup >"$WORK/subid"
    mount --bind "$WORK/subid" /etc/subuid
    mount --bind "$WORK/subid" /etc/subgid
    step userns-remap remapped
else
    skip userns-remap 'no /etc/subuid and /etc/subgid (uidmap)'
fi
step info docker info --format '{{.DefaultRuntime}} {{.CgroupDriver}}'
step nothing-left left
