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


def test_a_set_has_the_same_order_in_every_job(tmp_path, snakemake):
    """What is written from one is the same, byte for byte, such as the layers of an adapter."""
    own = tmp_path / "Snakefile"
    own.write_text(
        f"include: {str(ROOT / 'Snakefile')!r}\n"
        "rule order:\n    output: '{number}.txt'\n"
        "    shell: 'python3 -c \"print(set(map(str, range(20))))\" > {output}'\n"
    )
    result = snakemake("--snakefile", own, "--cores", "2", "--", "1.txt", "2.txt")
    assert result.returncode == 0, result.stdout
    assert (tmp_path / "1.txt").read_text() == (tmp_path / "2.txt").read_text()
