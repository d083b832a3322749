# Podman and conmon, with the runtime named in containers.conf.
# shellcheck shell=bash
. "$(dirname "$0")/steps.sh"
. "$(dirname "$0")/containers.sh"

podman() {
    within /usr/bin/podman --root "$WORK/podman" --runroot "$WORK/podman-run" \
        --tmpdir "$WORK/podman-tmp" --storage-driver overlay "$@"
}

run() { podman run --rm --network none "$@"; }

# field TEMPLATE NAME
field() { podman inspect --format "$1" "$2"; }
status_is() { [ "$(field '{{.State.Status}}' "$2")" = "$1" ]; }

configure_containers
podman load -q -i "$IMAGE_FILE" >"$RESULTS/load" 2>&1 ||
    unable "podman cannot load an image: $(tail -n 1 "$RESULTS/load")"

run_with_hook() {
    local stage
    mkdir -p "$WORK/hooks"
    # The state that the runtime gives a hook says at which point it is; for poststart runc's
    # is still "created".
    cat >"$WORK/hooks/note" <<HOOK
#!$BUSYBOX sh
{ echo \$1; grep -o '"status": *"[a-z]*"' | tr -d ' ' | grep -v "\$2"; } >>$WORK/hooked || true
HOOK
    chmod 755 "$WORK/hooks/note"
    for stage in prestart createRuntime createContainer poststart poststop; do
        cat >"$WORK/hooks/$stage.json" <<HOOK
{"version": "1.0.0", "when": {"always": true}, "stages": ["$stage"],
 "hook": {"path": "$WORK/hooks/note", "args": ["note", "$stage", "${stage/poststart/status}"]}}
HOOK
    done
    podman --hooks-dir "$WORK/hooks" run --rm --network none "$IMAGE" echo hooked
    cat "$WORK/hooked"
}

# ---- run
step run run "$IMAGE" sh -c 'echo hello; exit 7'
step run-stdin eval 'echo typed | run -i "$IMAGE" cat'
step run-terminal on_terminal 'run -t $IMAGE sh -c "tty; stty rows 30 columns 90; stty size; test -t 0 && echo terminal"'
step run-not-found run "$IMAGE" /no/such/program
step run-not-executable run "$IMAGE" /etc/passwd
# refused_log PROGRAM: what the runtime logs when a create is refused
refused_log() {
    podman create --name refused --network none "$IMAGE" "$1" >/dev/null
    podman start refused
    echo "start $?"
    log_lines "$WORK/podman-run/overlay-containers/$(field '{{.Id}}' refused)/userdata/oci-log"
    podman rm refused >/dev/null
}
step log-not-found refused_log /no/such/program
step log-not-executable refused_log /etc/passwd
left() {
    podman ps -aq
    ls -A /run/pyruntime /run/runc 2>/dev/null | grep -vE "^~seccomp$|:$|^$"
    find /sys/fs/cgroup -name "libpod-*" -type d
    nothing_stays conmon "$WORK/podman[^ ]*/(merged|shm) "
}
step after-failure left
step run-bad-cwd run --workdir /etc/passwd "$IMAGE" true
step run-user run --user guest:extra "$IMAGE" id
step run-groups run --user 1000:1000 --group-add 3000 "$IMAGE" id
step run-environment run --env COLOUR=red --hostname box "$IMAGE" sh -c 'echo $COLOUR $PATH; hostname'
step run-read-only run --read-only "$IMAGE" sh -c 'touch /file; echo $?; touch /tmp/file; echo $?'
container_init=$(command -v catatonit tini-static docker-init | head -n 1)
if [ -n "$container_init" ]; then
    step run-init run --init --init-path "$container_init" "$IMAGE" sh -c 'cat /proc/1/cmdline | tr "\0" " "; exit 3'
else
    skip run-init 'no catatonit, tini-static or docker-init'
fi
step run-capabilities run "$IMAGE" grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status
step run-cap-drop run --cap-drop all --cap-add net_raw "$IMAGE" grep Cap /proc/self/status
step run-no-new-privileges run --security-opt no-new-privileges "$IMAGE" grep NoNewPrivs /proc/self/status
step run-privileged run --privileged --cap-drop sys_resource "$IMAGE" sh -c 'grep Cap /proc/self/status; mount -t tmpfs none /mnt 2>&1 || mkdir /mnt && mount -t tmpfs none /mnt && echo mounted'
step run-seccomp-default run "$IMAGE" sh -c 'unshare -U true; echo $?; mount -t tmpfs none /tmp; echo $?'
step run-seccomp-off run --security-opt seccomp=unconfined "$IMAGE" grep Seccomp: /proc/self/status
cat >"$WORK/profile.json" <<'PROFILE'
{"defaultAction": "SCMP_ACT_ALLOW",
 "syscalls": [{"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}
PROFILE
step run-seccomp-profile run --security-opt "seccomp=$WORK/profile.json" "$IMAGE" sh -c 'grep Seccomp: /proc/self/status; chmod 700 /tmp; echo $?'
step run-mask run --security-opt mask=/etc/group:/home --security-opt unmask=/proc/acpi "$IMAGE" sh -c 'wc -c </etc/group; ls /home; grep -c " /proc/acpi " /proc/mounts'
step run-unmask run --security-opt unmask=ALL "$IMAGE" sh -c 'grep -E " /(proc|sys)/" /proc/mounts | grep -vc unified'
step run-hook-directory run_with_hook
step run-systemd run --systemd always "$IMAGE" sh -c 'cut -d" " -f2,3 /proc/mounts | sort | grep -v unified; echo $container'
step run-ipc run --ipc private --uts private "$IMAGE" sh -c 'df -k /dev/shm | tail -n 1'
step run-preserve-fds eval 'echo passed >"$WORK/passed"; run --preserve-fds 1 "$IMAGE" sh -c "cat <&3; ls /proc/self/fd | wc -l" 3<"$WORK/passed"'
step run-pid-file eval 'run --pidfile "$WORK/pid-file" "$IMAGE" true; grep -c "^[0-9]*$" "$WORK/pid-file"'
step run-timeout run --timeout 1 "$IMAGE" sleep 600
step run-secret eval 'echo hidden | podman secret create word - >/dev/null; run --secret word "$IMAGE" cat /run/secrets/word; podman secret rm word >/dev/null'
step run-masked run "$IMAGE" sh -c 'wc -c </proc/timer_list; ls /proc/acpi /sys/firmware; echo 1 >/proc/sys/kernel/hostname; echo $?'
step run-sysctl run --sysctl net.ipv4.ip_forward=1 --sysctl kernel.msgmax=1000 "$IMAGE" cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax
step run-ulimit run --ulimit nofile=64:128 --ulimit nproc=100:100 "$IMAGE" sh -c 'ulimit -Sn; ulimit -Hn; ulimit -u'
step run-oom-score run --oom-score-adj 300 "$IMAGE" cat /proc/self/oom_score_adj
step run-mounts run "$IMAGE" sh -c "cut -d' ' -f2,3 /proc/mounts | sort | grep -v unified"
step run-devices run "$IMAGE" sh -c 'ls -l /dev | awk "{print \$1, \$3, \$4, \$5, \$6, \$NF}"; echo x >/dev/null; head -c 3 /dev/zero | wc -c'
step run-umask run --umask 0077 "$IMAGE" sh -c umask
step run-rootfs-propagation run --mount type=tmpfs,destination=/data,tmpfs-size=1m "$IMAGE" sh -c 'df -k /data | tail -n 1'

# ---- namespaces
host_namespaces() { here_or_own "$(podman run --rm --network host --pid host --ipc host --uts host "$IMAGE" sh -c "$namespace_names")"; }
own_namespaces() { here_or_own "$(run "$IMAGE" sh -c "$namespace_names")"; }
step namespaces-host host_namespaces
step namespaces-own own_namespaces
joined_namespaces() {
    podman run -d --name first --network none "$IMAGE" sleep 600 >/dev/null
    podman run --rm --network container:first --pid container:first --ipc container:first "$IMAGE" \
        sh -c "ps -o args | sed -n 2p; $namespace_names" >"$WORK/second"
    podman exec first sh -c "ps -o args | sed -n 2p; $namespace_names" | grep -v uts >"$WORK/first"
    grep -v uts "$WORK/second" | cmp - "$WORK/first" && echo 'the same'
    podman rm -f -t 0 first >/dev/null
}
step namespaces-joined joined_namespaces
if [ -e /etc/subuid ] && [ -e /etc/subgid ]; then
    # --userns auto takes its ids from the ranges of a user of this name.
    echo containers:1000000:1000000 >"$WORK/subid"
    mount --bind "$WORK/subid" /etc/subuid
    mount --bind "$WORK/subid" /etc/subgid
    step userns run --userns auto:size=65536 "$IMAGE" sh -c 'cat /proc/self/uid_map | tr -s " "; id -u; ls -ln /etc/passwd | tr -s " "; touch /new && echo writable'
else
    skip userns 'no /etc/subuid and /etc/subgid (uidmap)'
fi
step userns-mapped run --uidmap 0:200000:5000 --gidmap 0:300000:5000 "$IMAGE" sh -c 'cat /proc/self/uid_map /proc/self/gid_map | tr -s " "; ls -ln /bin/busybox | tr -s " " | cut -d" " -f 3,4'
step cgroupns-host run --cgroupns host "$IMAGE" sh -c 'sed "s/[0-9a-f]\{64\}/ID/;s/.*://" /proc/self/cgroup | sort -u'
step cgroupns-private run --cgroupns private "$IMAGE" sh -c 'sed "s/.*://" /proc/self/cgroup | sort -u'

# ---- volumes, tmpfs, devices
mkdir -p "$WORK/volume/sub" && echo content >"$WORK/volume/file" && ln -s file "$WORK/volume/link"
step volume run -v "$WORK/volume:/data" "$IMAGE" sh -c 'cat /data/link; echo written >/data/new; ls /data'
step volume-read-only run -v "$WORK/volume:/data:ro" "$IMAGE" sh -c 'touch /data/file; echo $?'
step volume-file run -v "$WORK/volume/file:/etc/some/file:ro" "$IMAGE" sh -c 'cat /etc/some/file; echo x >/etc/some/file; echo $?'
step volume-shared run -v "$WORK/volume:/data:rshared" "$IMAGE" sh -c 'grep -c "/data .*shared:" /proc/self/mountinfo'
named_volume() {
    podman volume create kept >/dev/null
    run -v kept:/data "$IMAGE" sh -c 'echo kept >/data/file'
    run -v kept:/data "$IMAGE" cat /data/file
    podman volume rm kept
}
step volume-named named_volume
step volume-overlay run -v "$WORK/volume:/data:O" "$IMAGE" sh -c 'touch /data/overlaid; ls /data'
step tmpfs run --tmpfs /scratch:rw,size=64k,mode=1770 "$IMAGE" sh -c 'ls -ld /scratch | cut -c1-10; head -c 100000 /dev/zero >/scratch/file; echo $?'
step device run --device /dev/full:/dev/brim:rw "$IMAGE" sh -c 'ls -l /dev/brim | cut -c1-10; echo x >/dev/brim; echo $?'
step device-refused run --cap-add mknod --cap-add syslog "$IMAGE" sh -c 'mknod /kmsg c 1 11 && : </kmsg; echo $?'
step device-rule run --cap-add mknod --cap-add syslog --device-cgroup-rule 'c 1:11 rmw' "$IMAGE" sh -c 'mknod /kmsg c 1 11 && : </kmsg; echo $?'
step shm-size run --shm-size 1m "$IMAGE" sh -c 'df -k /dev/shm | tail -n 1'

# ---- limits
group='g() { for f in "$@"; do cat /sys/fs/cgroup/$f 2>/dev/null; done; }; g'
step limit-memory run --memory 64m --memory-reservation 32m "$IMAGE" sh -c "$group memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes memory.max memory.low; true"
step limit-pids run --pids-limit 20 "$IMAGE" sh -c "$group pids/pids.max pids.max; true"
step limit-cpu run --cpus 0.5 --cpu-shares 512 "$IMAGE" sh -c "$group cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares cpu.max cpu.weight; true"
step limit-cpuset run --cpuset-cpus 0 "$IMAGE" sh -c "$group cpuset/cpuset.cpus cpuset.cpus; grep Cpus_allowed_list /proc/self/status"
needs_memory limit-oom run --memory 16m --memory-swap 16m "$IMAGE" sh -c 'dd if=/dev/zero of=/dev/null bs=100M count=1; tail /dev/zero'

# ---- a container's life
started() {
    podman run -d --name life --network none --stop-timeout 1 "$IMAGE" \
        sh -c 'trap "echo ended; exit 5" TERM; trap "echo hup" HUP; echo ready; while :; do sleep 0.1; done' >/dev/null
    eventually prints ready podman logs life && echo started
}
step life-start started
step life-ps podman ps --format '{{.Names}} {{.Command}}'
step life-top eval 'podman top life user,comm | grep "sh$" | sort -u'
step life-exec podman exec life sh -c 'echo executed; cat /proc/1/comm; exit 3'
step life-exec-user podman exec --user guest --workdir /tmp --env A=b life sh -c 'id; pwd; echo $A'
step life-exec-stdin eval 'echo typed | podman exec -i life cat'
step life-exec-terminal on_terminal 'podman exec -t life sh -c "tty; test -t 1 && echo terminal; exit 4"'
step life-exec-not-found podman exec life /no/such/program
step life-exec-not-executable podman exec life /etc/passwd
step life-exec-privileged podman exec --privileged life grep NoNewPrivs /proc/self/status
detached_exec() {
    podman exec -d life sh -c 'echo detached >/tmp/detached' >/dev/null
    eventually podman exec life grep detached /tmp/detached && podman exec life cat /tmp/detached
}
step life-exec-detached detached_exec
step life-exec-seccomp podman exec life grep -E 'Seccomp:|CapEff' /proc/self/status
step life-exec-cgroup podman exec life sh -c 'cmp /proc/1/cgroup /proc/self/cgroup && echo same'
stats() { podman stats --no-stream --format '{{.Name}} {{.PIDs}}' life | sed 's/[0-9]\+$/N/'; }
step life-stats stats
step life-signal eval 'podman kill -s HUP life >/dev/null; eventually prints hup podman logs life && podman logs life'
paused() {
    podman pause life >/dev/null && field '{{.State.Status}}' life
    podman exec life true
    echo "exec $?"
    podman pause life
    echo "pause $?"
    podman unpause life >/dev/null && field '{{.State.Status}}' life
    podman exec life echo awake
}
step life-pause paused
step life-stop eval 'podman stop -t 30 life; field "{{.State.Status}} {{.State.ExitCode}}" life'
step life-stopped-exec podman exec life true
step life-stopped-kill podman kill life
# Only a program that has printed "ready" has set its traps.
ready_times() { [ "$(podman logs life | grep -c ready)" -ge "$1" ]; }
step life-top-host eval 'podman run -d --name top --network none "$IMAGE" sleep 600 >/dev/null; podman top top hpid,user,args | sed "s/^[0-9]* */PID /"; podman rm -f -t 0 top'
step life-again eval 'podman start life && eventually ready_times 2 && podman restart -t 30 life && eventually ready_times 3 && field "{{.RestartCount}} {{.State.Status}}" life'
step life-kill eval 'podman kill life; podman wait life'
step life-logs eval 'podman logs life | sort | uniq -c | sed "s/^ *[0-9]*//"'
step life-rm eval 'podman rm life; podman ps -aq'
step stop-by-kill eval 'podman run -d --name deaf --network none "$IMAGE" sleep 600 >/dev/null; podman stop -t 1 deaf; podman wait deaf; podman rm deaf'
step rm-running eval 'podman run -d --name busy --network none "$IMAGE" sleep 600 >/dev/null; podman rm busy >/dev/null 2>&1; echo $?; podman rm -f -t 0 busy; podman ps -aq'
step create-and-rm eval 'podman create --name idle --network none "$IMAGE" true >/dev/null; podman init idle; field "{{.State.Status}}" idle; podman rm -f idle'
step create-init-start eval 'podman create --name idle --network none "$IMAGE" echo started >/dev/null; podman init idle; podman start -a idle; podman rm idle'
init_died() {
    podman run -d --name victim --network none "$IMAGE" sleep 600 >/dev/null
    kill -KILL "$(field '{{.State.Pid}}' victim)"
    eventually status_is exited victim && field '{{.State.ExitCode}}' victim
    podman rm victim
}
step init-killed-outside init_died
restarts() {
    podman run -d --name again --network none --restart on-failure:2 "$IMAGE" sh -c 'echo ran; exit 9' >/dev/null
    eventually prints $'ran\nran\nran' podman logs again && eventually status_is exited again
    podman logs again
    field '{{.State.ExitCode}}' again
    podman rm again
}
step restart-policy restarts
updated() {
    podman run -d --name limits --network none --memory 64m "$IMAGE" sleep 600 >/dev/null
    podman update --memory 128m --cpus 0.5 limits >/dev/null
    echo "update $?"
    podman exec limits sh -c "$group memory/memory.limit_in_bytes memory.max cpu/cpu.cfs_quota_us cpu.max; echo x >/dev/null && echo devices"
    podman rm -f -t 0 limits
}
step update updated
attached() {
    podman run -d -i --name attach --network none "$IMAGE" sh -c 'read line; echo "got $line"' >/dev/null
    echo word | podman attach attach >/dev/null
    podman wait attach
    podman logs attach
    podman rm attach
}
step attach attached

# ---- checkpoint
# The word is made up by the program, and in its memory alone.
counts='read word </proc/sys/kernel/random/uuid; i=0; while :; do i=$((i + 1)); echo $word $i >/tmp/new; mv /tmp/new /tmp/said; echo $i; sleep 0.1; done'
word_of() { podman exec "$1" cut -d" " -f1 /tmp/said; }
number_of() { podman exec "$1" cut -d" " -f2 /tmp/said; }
goes_on() { [ "$(number_of "$1")" -gt "$2" ]; }
counting() {
    podman run -d --name "$1" --network none -v "$WORK/volume:/data:ro" "$IMAGE" sh -c "$counts" >/dev/null
    eventually goes_on "$1" 2
}
checkpointed() {
    counting saved
    local word number
    word=$(word_of saved)
    podman container checkpoint saved >/dev/null && field '{{.State.Status}} {{.State.Checkpointed}}' saved
    number=$(podman logs saved | tail -n 1)
    podman container restore saved >/dev/null && field '{{.State.Status}}' saved
    eventually goes_on saved "$number" && [ "$(word_of saved)" = "$word" ] && echo 'the same word'
    podman logs saved | grep -c '^1$'
    podman exec saved sh -c 'touch /data/file; echo $?; cat /data/link'
    podman container checkpoint --leave-running saved >/dev/null && field '{{.State.Status}}' saved
    podman rm -f -t 0 saved
}
exported() {
    counting moved
    local word
    word=$(word_of moved)
    podman container checkpoint --export "$WORK/moved.tar.gz" moved >/dev/null && field '{{.State.Status}}' moved
    podman rm moved >/dev/null
    for name in here there; do
        podman container restore --import "$WORK/moved.tar.gz" --name "$name" >/dev/null
        eventually goes_on "$name" 1 && [ "$(word_of "$name")" = "$word" ] && echo "$name"
    done
    podman rm -f -t 0 here there | wc -l
}
refused_checkpoints() {
    podman run -d --name done --network none "$IMAGE" true >/dev/null
    podman wait done
    podman container checkpoint done >/dev/null
    echo "checkpoint $?"
    podman container restore done >/dev/null
    echo "restore $?"
    podman rm done
}
if criu_says=$(criu check 2>&1); then
    step checkpoint checkpointed
    step checkpoint-export exported
    step checkpoint-refused refused_checkpoints
else
    for name in checkpoint checkpoint-export checkpoint-refused; do
        skip "$name" "criu check: ${criu_says%%$'\n'*}"
    done
fi

# ---- health check
healthy() {
    podman run -d --name healthy --network none --health-cmd 'test -e /well' --health-interval disable "$IMAGE" sleep 600 >/dev/null
    podman healthcheck run healthy
    echo "before $?"
    podman exec healthy touch /well
    podman healthcheck run healthy
    echo "after $?"
    podman rm -f -t 0 healthy
}
step health healthy

# ---- networks
bridged() {
    podman run -d --name web -p 127.0.0.1:18080:80 "$IMAGE" \
        sh -c 'mkdir /www; echo served >/www/index.html; httpd -f -h /www' >/dev/null
    eventually within "$BUSYBOX" wget -q -O - http://127.0.0.1:18080/ && "$BUSYBOX" wget -q -O - http://127.0.0.1:18080/
    podman exec web ip -4 -o addr show eth0 | awk '{print $4}'
    podman rm -f -t 0 web
}
step network-published bridged
step network-bridge podman run --rm "$IMAGE" sh -c 'ip route | head -n 1; ping -c 1 -W 5 10.88.0.1 | grep -c "1 packets received"'
step network-none run "$IMAGE" ip -o link
step network-host podman run --rm --network host "$IMAGE" sh -c 'ip -o link | grep -c lo:'
step network-files podman run --rm --add-host other:1.2.3.4 --dns 5.6.7.8 "$IMAGE" grep other /etc/hosts

# ---- pods
pods() {
    podman pod create --name pod --infra-image "$IMAGE" --infra-command '/bin/sleep 600' --network none --share net,ipc,uts >/dev/null
    echo "create $?"
    podman run -d --pod pod --name one "$IMAGE" sh -c 'echo served | nc -l -p 80' >/dev/null
    eventually podman exec one sh -c 'netstat -ltn | grep -q :80'
    podman run --rm --pod pod --name two "$IMAGE" nc 127.0.0.1 80
    podman wait one
    podman pod ps --format '{{.Name}} {{.Status}}'
    podman rm one >/dev/null # Podman 5 pauses half a pod where one container has exited
    podman pod pause pod >/dev/null && podman pod ps --format '{{.Name}} {{.Status}}'
    podman pod unpause pod >/dev/null
    podman pod stop -t 1 pod >/dev/null && podman pod ps --format '{{.Name}} {{.Status}}'
    podman pod rm pod >/dev/null
    podman pod ps -q
}
step pods pods

play() {
    printf 'FROM %s\nENTRYPOINT ["/bin/sleep", "600"]\n' "$IMAGE" | podman build -q -t pause - >/dev/null
    sed -i '/^\[engine\]/a infra_image = "localhost/pause:latest"' "$CONTAINERS_CONF"
    cat >"$WORK/pod.yaml" <<YAML
apiVersion: v1
kind: Pod
metadata:
  name: played
spec:
  restartPolicy: Never
  containers:
  - name: only
    image: $IMAGE
    command: ["sh", "-c", "echo played; id; exit 3"]
    securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true}
    resources: {limits: {memory: 64Mi}}
YAML
    podman play kube --network none "$WORK/pod.yaml" >/dev/null
    podman wait played-only
    podman logs played-only
    podman pod rm -f -t 0 played >/dev/null
}
step pods-play play

# ---- build, commit, copy
built() {
    mkdir -p "$WORK/context" && echo data >"$WORK/context/data"
    cat >"$WORK/context/Containerfile" <<FILE
FROM $IMAGE
COPY data /data
RUN echo ran >/ran && cat /data && id -u
USER guest
RUN id -un && ! touch /file
CMD ["cat", "/ran", "/data"]
FILE
    podman build -q --network none -t built "$WORK/context" >/dev/null
    echo "build $?"
    run built
}
step build built
failing_build() {
    printf 'FROM %s\nRUN exit 5\n' "$IMAGE" >"$WORK/context/Failing"
    podman build -q --network none -f "$WORK/context/Failing" "$WORK/context" >/dev/null
}
step build-failing failing_build
step commit eval 'podman run --name changed --network none "$IMAGE" touch /changed; podman commit -q changed changed >/dev/null; run changed ls /changed; podman rm changed'
step copy eval 'podman run -d --name copied --network none "$IMAGE" sleep 600 >/dev/null; podman cp "$WORK/volume/file" copied:/tmp/; podman exec copied cat /tmp/file; podman rm -f -t 0 copied'

# ---- what Podman finds out about the runtime
step info eval 'podman info --format "{{.Host.OCIRuntime.Name}} {{.Host.CgroupManager}}"'
step rootfs eval 'mkdir -p $WORK/plain/bin && cp $BUSYBOX $WORK/plain/bin/sh && run --rootfs "$WORK/plain" sh -c "echo plain"'
step systemd-off run --systemd false --entrypoint '["sh","-c"]' "$IMAGE" 'echo entry'
step nothing-left left
