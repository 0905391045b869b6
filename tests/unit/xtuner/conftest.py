import os
import sys
import tempfile
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"
for stage in ("base_models", "training", "export", "evaluation"):
    sys.path.insert(0, str(SCRIPTS / stage))
# where datasets keeps what it has read; its own choice is the user's home
_cache = tempfile.TemporaryDirectory(prefix="datasets-")
os.environ["HF_DATASETS_CACHE"] = _cache.name

import launch_xtuner
import make_tiny

launch_xtuner.prepare()


@pytest.fixture(scope="session")
def tokenizer():
    """A tokenizer of the kind the tiny base model has."""
    return make_tiny.train_tokenizer(["中国的首都是北京。", "The sky is blue."] * 3, 512)


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A folder with a tiny base model of random weights, and training data of every kind."""
    import stages

    folder = tmp_path_factory.mktemp("project")
    stages.make_base(folder / "base")
    stages.write_data(folder)
    return folder
