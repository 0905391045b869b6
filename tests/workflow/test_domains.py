"""Every overlay of config/domains is one that Snakemake takes."""

from pathlib import Path

import pytest

OVERLAYS = sorted((Path(__file__).parents[2] / "config" / "domains").glob("*.yaml"))


def test_all_seven_are_there():
    assert [path.stem for path in OVERLAYS] == [
        *("assistant_chat", "civil_service", "identity", "medical_staged", "medqa"),
        *("recipe", "tool_use"),
    ]


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_overlay(snakemake, overlay):
    result = snakemake("--dry-run", "--configfile", overlay)
    assert result.returncode == 0, result.stdout
    assert f"Report of {overlay.stem}: " in result.stdout
