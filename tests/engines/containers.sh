# Sourced by the scripts of Podman and buildah, which share their configuration.
# shellcheck shell=bash

# network_backend: Podman 5 has netavark only, and its default network is the one below
network_backend() {
    local major
    major=$(/usr/bin/podman --version 2>/dev/null | tr -dc '0-9.' | cut -d. -f1)
    if [ "${major:-4}" -ge 5 ]; then echo netavark; else echo cni; fi
}

configure_containers() {
    local backend
    backend=$(network_backend)
    mkdir -p "$WORK/cni" "$WORK/netavark"
    cat >"$WORK/cni/87-podman.conflist" <<'CONF'
{"cniVersion": "0.4.0", "name": "podman", "plugins": [
  {"type": "bridge", "bridge": "cni-podman0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}],
            "ranges": [[{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}},
  {"type": "firewall"}, {"type": "tuning"}]}
CONF
    cat >"$WORK/containers.conf" <<CONF
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=4096:4096"]
[engine]
runtime = "under-test"
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = ["under-test"]
[engine.runtimes]
under-test = ["$RUNTIME"]
[network]
network_backend = "$backend"
cni_plugin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
network_config_dir = "$WORK/$backend"
CONF
    export CONTAINERS_CONF=$WORK/containers.conf PODMAN_IGNORE_CGROUPSV1_WARNING=1
}
