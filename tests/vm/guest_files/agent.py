#!/usr/bin/python3 -I
"""Run the one command that the host sends over a virtio-serial port.

Each message is a line of JSON. From here: {"ready": seconds since boot}, then
{"output": base64} as the command writes, last {"exit": its status}. From the host:
{"script": for bash, "time": seconds since the epoch}; a guest out of a snapshot would
otherwise believe that it is still the day on which the snapshot was made.
"""

import base64
import json
import os
import select
import subprocess
import time
from typing import Any

PORT = "agent"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


def find_port() -> int:
    """The device of the host's port; there is no udev that would make a link by its name."""
    for name in os.listdir("/sys/class/virtio-ports"):
        with open(f"/sys/class/virtio-ports/{name}/name") as file:
            if file.read().strip() == PORT:
                return os.open(f"/dev/{name}", os.O_RDWR)
    raise SystemExit("no port of the name " + PORT)


def send(port: int, **message: object) -> None:
    rest = json.dumps(message).encode() + b"\n"
    while rest:
        rest = rest[os.write(port, rest) :]


def receive(port: int) -> Any:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(port, 65536)
        if not part:  # the host is not connected, as for a moment after a restore
            time.sleep(0.05)
        line += part
    return json.loads(line)


def forward(port: int, pipe: int) -> bool:
    """Send what the pipe holds now; False at its end."""
    try:
        part = os.read(pipe, 65536)
    except BlockingIOError:
        return False
    if part:
        send(port, output=base64.b64encode(part).decode())
    return bool(part)


def perform(port: int, script: str) -> int:
    """Run the script; what it leaves in the background may keep the pipe open."""
    pipe, end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(end, True)
    process = subprocess.Popen(
        ["/bin/bash", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=end,
        stderr=end,
        cwd="/root",
        env=ENVIRONMENT,
    )
    os.close(end)
    ended = os.pidfd_open(process.pid)
    waiting = [ended, pipe]
    while True:
        ready = select.select(waiting, [], [])[0]
        if pipe in ready and not forward(port, pipe):
            waiting = [ended]
        if ended in ready:
            break
    while forward(port, pipe):
        pass
    status = process.wait()
    return status if status >= 0 else 128 - status


def main() -> None:
    port = find_port()
    subprocess.run(["systemctl", "is-system-running", "--wait"], stdout=subprocess.DEVNULL)
    os.sync()
    send(port, ready=time.clock_gettime(time.CLOCK_BOOTTIME))
    request = receive(port)
    time.clock_settime(time.CLOCK_REALTIME, request["time"])
    send(port, exit=perform(port, request["script"]))
    time.sleep(600)  # the host ends the machine


main()
