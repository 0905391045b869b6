"""The whole chain, from a corpus to the report of a 4-bit model, in as little time as it takes."""

import yaml
from test_stages import BASE, TRAINING, write_sources

CONFIG = {
    "domain": "short",
    "corpus": {
        "sources": [{"path": "people.csv"}],
        "clean": {"near_duplicates": None},
        "split": {"recall": 10, "calibration": 10},
    },
    "base_models": {"mini": BASE},
    "runs": {
        # so many checkpoints that a kill falls before, between and into them
        "tiny-qlora": {
            "base_model": "mini",
            "training": TRAINING | {"steps": 60, "checkpoint_every": 3},
        },
    },
    "evaluation": {"benchmarks": ["heldout"], "max_new_tokens": 8},
}


def write(folder, config=CONFIG):
    """Make a folder with the sources and a config.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    write_sources(folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
