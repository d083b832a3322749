# buildah: bud, run, and what a failing RUN does.
# shellcheck shell=bash
. "$(dirname "$0")/steps.sh"
. "$(dirname "$0")/containers.sh"

buildah() {
    within /usr/bin/buildah --root "$WORK/buildah" --runroot "$WORK/buildah-run" \
        --storage-driver overlay "$@"
}

# build FILE OPTION...: the Containerfile is read from standard input
build() (
    set -o pipefail
    buildah bud --network none --runtime "$RUNTIME" --no-cache "$@" -f - "$WORK/context" |
        sed -E 's/^(--> )?[0-9a-f]{11,64}$/\1ID/'
)

# show IMAGE COMMAND...: what a command prints in a container of the image
show() {
    local container code=0
    container=$(buildah from --pull-never "$1") || return
    shift
    buildah run --network none --runtime "$RUNTIME" "$container" -- "$@" || code=$?
    buildah rm "$container" >/dev/null
    return "$code"
}

configure_containers
buildah pull -q "oci-archive:$IMAGE_FILE" >"$RESULTS/load" 2>&1 ||
    unable "buildah cannot load an image: $(tail -n 1 "$RESULTS/load")"
buildah tag "$(tail -n 1 "$RESULTS/load")" "$IMAGE" || unable 'buildah cannot name an image'
mkdir -p "$WORK/context" && echo data >"$WORK/context/data"

step run show "$IMAGE" sh -c 'echo hello; exit 7'
step build build -t built <<FILE
FROM $IMAGE
COPY data /data
RUN echo ran >/ran && cat /data && id -u
USER guest
RUN id -un >/tmp/name && ! touch /file
WORKDIR /home
ENV COLOUR=red
FILE
step build-result show built sh -c 'cat /ran /data /tmp/name; echo $COLOUR; pwd; id -un'
step build-failing build <<<"FROM $IMAGE
RUN echo before; exit 5"
step build-not-found build <<<"FROM $IMAGE
RUN [\"/no/such/program\"]"
logged() {
    build --runtime-flag "log=$WORK/build.log" --runtime-flag log-format=json <<<"FROM $IMAGE
RUN [\"/no/such/program\"]"
    echo "build $?"
    log_lines "$WORK/build.log"
}
step build-log logged
step build-output build <<<"FROM $IMAGE
RUN echo to-stdout; echo to-stderr >&2; tty || true"
step build-layers build --layers <<<"FROM $IMAGE
RUN mkdir /one && chmod 0700 /one
RUN ls -ld /one | cut -c1-10"
step build-limits build --memory 64m --cpu-shares 512 --ulimit nofile=64:64 <<<"FROM $IMAGE
RUN ulimit -n; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.shares 2>/dev/null || true"
step build-capabilities build --cap-drop all --cap-add chown <<<"FROM $IMAGE
RUN grep -E 'Cap|Seccomp:|NoNewPrivs' /proc/self/status"
step build-volume build -v "$WORK/context:/context:ro" <<<"FROM $IMAGE
RUN cat /context/data; ! touch /context/data"
step build-mount build <<<"FROM $IMAGE
RUN --mount=type=bind,target=/context cat /context/data
RUN --mount=type=tmpfs,target=/scratch touch /scratch/file && ls /scratch"
step build-host-network build --network host <<<"FROM $IMAGE
RUN ip -o link | grep -c lo:"
step build-shell build <<<"FROM $IMAGE
SHELL [\"/bin/sh\", \"-ec\"]
RUN false; echo not reached"
step run-terminal on_terminal 'c=$(buildah from --pull-never $IMAGE); buildah run -t --network none --runtime $RUNTIME $c -- sh -c "tty; test -t 1 && echo terminal"; buildah rm $c >/dev/null'
step run-user show "$IMAGE" sh -c 'su guest -c id'
step nothing-left eval 'buildah containers -q; ls -A /run/pyruntime /run/runc 2>/dev/null | grep -vE "^~seccomp$|:$|^$"; find /sys/fs/cgroup -name "buildah-*" -type d'
