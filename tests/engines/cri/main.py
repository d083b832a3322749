"""What a kubelet does with containerd or CRI-O, step by step; started by cri.sh in its world.

Writes the same results as steps.sh: what each step printed, its exit status, its time.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import signal
import time
import traceback
from pathlib import Path

import grpc

from tests.engines.cri.crio import Crio
from tests.engines.cri.node import Node, Unable, plain
from tests.engines.cri.steps import SERVER, STEPS, Step

# In this order; the last step of all looks at what the others have left.
MODULES = ("pods", "containers", "streams", "security", "surroundings", "ends")


def record(results: Path, number: int, name: str, function: Step, node: Node) -> None:
    """Run one step, and write down what it does."""
    place = results / f"{number:03}-{name}"
    place.mkdir()
    code, printed, trouble = 0, io.StringIO(), ""
    began = time.monotonic()
    try:
        with contextlib.redirect_stdout(printed):
            function(node)
    except Exception as error:
        code = 1
        words = error.details() if isinstance(error, grpc.RpcError) else error
        print(f"{type(error).__name__}: {plain(str(words))}", file=printed)
        trouble = traceback.format_exc()
    taken = round((time.monotonic() - began) * 1e6)
    (place / "stdout").write_text(printed.getvalue())
    (place / "stderr").write_text(trouble)
    (place / "microseconds").write_text(f"{taken}")
    (place / "code").write_text(f"{code}")


def main() -> None:
    """Start the server, and run the steps that match ONLY."""
    for name in MODULES:
        importlib.import_module(f"tests.engines.cri.{name}")
    results, work = Path(os.environ["RESULTS"]), Path(os.environ["WORK"])
    server = {"containerd": Node, "crio": Crio}[SERVER]
    node = server(work, results, os.environ["RUNTIME"])
    try:
        node.start()
        node.load_images(os.environ["IMAGE_FILE"])
        for number, (name, function, reason) in enumerate(STEPS, start=1):
            if not re.search(os.environ.get("ONLY") or ".", name):
                continue
            if reason:
                (results / f"{number:03}-{name}.skipped").write_text(reason)
            else:
                record(results, number, name, function, node)
        node.end(signal.SIGTERM)
    except Unable as reason:
        (results / "unable").write_text(str(reason))


if __name__ == "__main__":
    main()
