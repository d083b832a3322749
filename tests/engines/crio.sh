# CRI-O, whose only interface is that of Kubernetes.
# shellcheck shell=bash
export SERVER=crio
# shellcheck source=cri.sh
. "$(dirname "$0")/cri.sh"
