"""Where the variant int4 cannot be computed, that is said before anything starts."""

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "workflow" / "scripts"
for folder in ("config", "base_models"):
    sys.path.insert(0, str(SCRIPTS / folder))

import validation


def config(variants, own_code=False):
    return {
        "evaluation": {"variants": variants},
        "base_models": {
            "mine": {"trust_remote_code": own_code},
            "unused": {"trust_remote_code": True},
        },
        "runs": {"a": {"base_model": "mine"}, "b": {"base_model": "mine"}},
    }


def test_a_gpu_has_an_engine_of_its_own():
    with pytest.raises(validation.ConfigError, match="int4 computes on a CPU only"):
        validation.check_int4(config(["tuned", "int4"]), "cuda")


def test_own_code_was_not_tried():
    with pytest.raises(validation.ConfigError) as raised:
        validation.check_int4(config(["int4"], own_code=True), "cpu")
    (line,) = str(raised.value).splitlines()
    assert line.endswith("base_models.mine brings code of its own. Leave int4 out.")


@pytest.mark.parametrize(
    ("found", "accelerator"),
    [
        (config(["base", "int4"]), "cpu"),
        (config(["tuned", "awq"], own_code=True), "cuda"),
    ],
)
def test_nothing_to_say(found, accelerator):
    validation.check_int4(found, accelerator)


def test_int4_is_four_bit():
    assert validation.is_four_bit(config(["tuned", "int4"]))
