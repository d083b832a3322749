"""One container of each engine on pyruntime; `make test-engines` tries everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines import run

LIMIT = 200  # seconds; the engines need three, and wait 60 for whatever they wait for


@pytest.mark.parametrize("engine", ["podman", "containerd", "docker"])
def test_run_prints_and_exits(engine: str, tmp_path: Path) -> None:
    """`run --rm` prints what the program printed and ends with its exit status."""
    reason = run.missing(engine)
    if reason:
        pytest.skip(f"{engine}: {reason}")
    outcome = run.run_engine(engine, run.PYRUNTIME, tmp_path / engine, "^run$", LIMIT)
    if outcome.unable:
        pytest.skip(f"{engine}: {outcome.unable}")
    assert outcome.trouble == ""
    step = outcome.steps["run"]
    assert (step.code, step.stdout) == (7, "hello\n"), step.stderr
