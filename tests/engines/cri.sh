# The Kubernetes interface of containerd, or of SERVER; its steps are Python's, who can speak gRPC.
# shellcheck shell=bash
. "$(dirname "$0")/steps.sh"
export PYTHONPATH=$TREE PYTHONDONTWRITEBYTECODE=1
# This shell stays process 1, as it reaps what a killed shim leaves.
"$PYTHON" -m tests.engines.cri.main
