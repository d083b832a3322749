# Sourced by the scripts of Podman and buildah, which share their configuration.
# shellcheck shell=bash

configure_containers() {
    mkdir -p "$WORK/cni"
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
network_backend = "cni"
cni_plugin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
network_config_dir = "$WORK/cni"
CONF
    export CONTAINERS_CONF=$WORK/containers.conf PODMAN_IGNORE_CGROUPSV1_WARNING=1
}
