import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"
for stage in ("base_models", "training", "export"):
    sys.path.insert(0, str(SCRIPTS / stage))

import launch_xtuner
import make_tiny

launch_xtuner.prepare()


@pytest.fixture(scope="session")
def tokenizer():
    """A tokenizer of the kind the tiny base model has."""
    return make_tiny.train_tokenizer(["中国的首都是北京。", "The sky is blue."] * 3, 512)
