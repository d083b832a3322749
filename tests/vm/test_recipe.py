"""The name of an image in the cache: same recipe, same name; any change, another."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.vm import recipe as module
from tests.vm.recipe import KERNELS, SECURITY_MODULES, Recipe, image_sources, recipe


def test_digest_is_stable() -> None:
    """Two recipes of the same content share an image."""
    assert recipe().digest() == recipe().digest()
    assert len(recipe().digest()) == 16


def test_each_variant_has_an_image_of_its_own() -> None:
    """No kernel or security module finds the image of another."""
    variants = [recipe(kernel, lsm) for kernel in KERNELS for lsm in SECURITY_MODULES]
    assert len({each.digest() for each in variants}) == len(variants)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Recipe)])
def test_every_field_counts(field: str) -> None:
    """What is not in the hash would leave an old image in use."""
    base = recipe()
    value: object = 1 if field == "disk_bytes" else ("x",) if field == "packages" else "x"
    other: Recipe = dataclasses.replace(base, **{field: value})  # type: ignore[arg-type]
    assert other.digest() != base.digest()


def test_files_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A change of the agent, as of any file that shapes the image, makes a new image."""
    before = recipe().digest()
    changed = tmp_path / "agent.py"
    changed.write_text("another agent")
    kept = [path for path in image_sources() if path.name != "agent.py"]
    assert len(kept) == len(image_sources()) - 1
    monkeypatch.setattr(module, "image_sources", lambda: [*kept, changed])
    assert recipe().digest() != before


def test_selinux_brings_its_policy() -> None:
    """Without a policy the kernel's SELinux decides nothing."""
    assert "selinux-policy-default" in recipe(lsm="selinux").packages
    assert "selinux-policy-default" not in recipe().packages
