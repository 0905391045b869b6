"""The configuration as the Snakefile reads it, for programs that Snakemake does not start."""

from pathlib import Path

import validation
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

ROOT = Path(__file__).resolve().parents[3]


def read_config(overlays: list[str]) -> dict:
    """The configuration with its overlays, checked.

    Raises:
        WorkflowError: a file cannot be read.
        validation.ConfigError: it has mistakes.
    """
    files = [ROOT / "config" / "config.yaml", *map(Path, overlays)]
    config: dict = {}
    for file in files:
        if not file.is_file():
            raise WorkflowError(f"--configfile: there is no file {file}.")
        update_config(config, load_configfile(file))
    schema = ROOT / "workflow" / "schemas" / "config.schema.yaml"
    validation.prepare(config, schema_file=schema, config_files=files)
    return config
