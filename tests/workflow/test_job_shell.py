"""The shell in which jobs run."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_failure_before_the_last_command_fails_the_job(tmp_path, snakemake):
    """Strict mode: Snakemake sets it only where the workflow has no prefix of its own."""
    own = tmp_path / "Snakefile"
    own.write_text(
        f"include: {str(ROOT / 'Snakefile')!r}\n"
        "rule failing:\n    output: 'failing.txt'\n"
        "    shell: 'false | cat > {output}; echo after the failure'\n"
        "rule unset:\n    output: 'unset.txt'\n    shell: 'echo $NOT_SET > {output}'\n"
    )
    for target in ("failing", "unset"):
        result = snakemake("--snakefile", own, "--cores", "1", "--", target)
        assert result.returncode == 1, result.stdout
        assert f"Error in rule {target}" in result.stdout
        assert "\nafter the failure" not in result.stdout
