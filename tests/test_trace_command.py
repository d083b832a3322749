"""trace: a recorded trace as bars and as an image."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree
from pathlib import Path
from typing import Any, cast

import pytest

from pyruntime.errors import PyruntimeError
from pyruntime.init_process import InitProcess
from pyruntime.plan import operations as op
from pyruntime.plan.builder import Plan
from pyruntime.timeline import bars, events, svg
from pyruntime.trace import Trace

CHECKOUT = Path(__file__).resolve().parent.parent
SVG = "{http://www.w3.org/2000/svg}"
ENOENT = 2


class Recorded:
    """Stands for an init: four operations, of which one failed and the last was not reached."""

    def __init__(self) -> None:
        self.plan = Plan()
        self.plan.at = ".mounts[0]"
        self.plan.add(op.fsopen(0, "tmpfs"))
        self.plan.add(op.fsmount(1, 0, 0))
        self.plan.at = '.x["<&>\n"]'
        self.plan.add(op.chdir("/"))
        self.plan.add(op.umask(0))

    def outcomes(self) -> tuple[int, list[tuple[int, int, int]]]:
        """When it began, and each operation's value, errno and end."""
        ends = [(3, 0, 3_000_000), (4, 0, 8_000_000), (-1, ENOENT, 9_000_000), (0, 0, 0)]
        return 2_000_000, ends


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A file as --trace writes it: 10 ms, of which the host compiles for 2."""
    trace = Trace()
    trace.steps = [("compile", 0), ("wait", 2_000_000), ("end", 10_000_000)]
    path = tmp_path / "trace.json"
    trace.write(str(path), cast(InitProcess, Recorded()))
    return path


def run(*words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [CHECKOUT / "bin/pyruntime", "trace", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={"COLUMNS": "120", **env},
    )


def test_the_hottest_come_first(recorded: Path) -> None:
    result = run(recorded)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "10.000 ms in all"
    assert lines[2] == "hottest operations"
    assert lines[3].split() == ["5.000", "ms", "50.0", "%", "init:", "fsmount", ".mounts[0]"]
    assert lines[4].split()[4:] == ["host:", "compile"]
    hot = lines[3 : lines.index("", 3)]
    assert len(hot) == 4
    assert not any("wait" in line for line in hot)


def test_each_step_has_a_bar(recorded: Path) -> None:
    lines = bars.lines(events.load(recorded.read_bytes(), "trace"), 122, plain=True)
    host = [line for line in lines if line.startswith(("  compile", "  wait"))]
    room = 122 - bars.LABEL - bars.NUMBERS - 4
    assert [line.count("#") for line in host] == [room // 5, room - room // 5]
    init = lines[[line.split()[:1] for line in lines].index(["init"]) + 1 :]
    assert init[0].startswith("  .mounts[0] (2 operations) ")
    assert init[0].split()[3:5] == ["2.000", "6.000"]
    assert init[1].startswith('  chdir .x["<&>?"] (no such file or')
    assert len(init) == 2


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(("begin", "end"), [(0, 0), (0, 1), (0.999, 1), (1, 1), (0.5, 0.5001)])
def test_a_bar_is_neither_empty_nor_too_long(begin: float, end: float, plain: bool) -> None:
    drawn = bars.bar(begin, end, 40, plain)
    assert drawn.strip()
    assert len(drawn) <= 40


def test_the_image_is_sound(recorded: Path, tmp_path: Path) -> None:
    image = tmp_path / "trace.svg"
    assert run(recorded, "--svg", image).returncode == 0
    root = xml.etree.ElementTree.parse(image).getroot()
    assert root.tag == SVG + "svg"
    titles = [each.text or "" for each in root.iter(SVG + "title")]
    assert titles[2] == "fsopen .mounts[0]: 1.000 ms"
    assert len(titles) == 5
    assert any('.x["<&>?"]' in title for title in titles)
    boxes = {
        group.findtext(SVG + "title", "").split()[0]: group.find(SVG + "rect")
        for group in root.iter(SVG + "g")
    }
    widths = {name: float(box.get("width", "")) for name, box in boxes.items() if box is not None}
    assert widths["fsmount"] == pytest.approx((svg.WIDTH - 2 * svg.MARGIN) / 2, abs=0.1)
    chdir = boxes["chdir"]
    assert chdir is not None
    assert chdir.get("fill") == svg.FAILED


def test_what_cannot_be_written_is_told(recorded: Path) -> None:
    result = run(recorded, "--svg", "/no/such/directory/x.svg")
    assert result.returncode == 1
    assert "open /no/such/directory/x.svg: no such file or directory" in result.stderr


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        "x",
        {"traceEvents": {}},
        {"traceEvents": [1]},
        {"traceEvents": []},
        {"traceEvents": [{"ph": "X"}]},
        {"traceEvents": [{"ph": "X", "name": "a", "ts": "x", "dur": 1}]},
        {"traceEvents": [{"ph": "X", "name": "a", "ts": 1, "dur": 1, "args": 5}]},
        {"traceEvents": [{"ph": "M", "name": "thread_name", "tid": [], "args": {"name": "a"}}]},
    ],
    ids=json.dumps,
)
def test_what_is_no_trace_is_refused(document: Any) -> None:
    with pytest.raises(PyruntimeError, match=r"^FILE: "):
        events.load(json.dumps(document).encode(), "FILE")


def test_a_missing_file_is_told() -> None:
    result = run("/no/such/file")
    assert result.returncode == 1
    assert "open /no/such/file: no such file or directory" in result.stderr


def test_a_foreign_trace_is_drawn() -> None:
    row = {"ph": "X", "name": "a", "ts": 5, "dur": 0, "tid": 7}
    timeline = events.load(json.dumps([row]).encode(), "trace")
    assert list(timeline.lanes) == ["thread 7"]
    assert timeline.duration == 0
    assert any("a" in line for line in bars.lines(timeline, 80))
    xml.etree.ElementTree.fromstring(svg.draw(timeline, "trace"))
