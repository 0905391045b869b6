"""What config/base_models.yaml says of the 4-bit stages, compared with LMDeploy and our checks."""

import importlib.util
import sys
from pathlib import Path

import lmdeploy
import pytest
from architectures import ARCHITECTURES
from lmdeploy.lite.apis.calibrate import HEAD_NAME_MAP, LAYER_TYPE_MAP, NORM_TYPE_MAP
from lmdeploy.lite.quantization.awq import FC_FCS_MAP, NORM_FCS_MAP

sys.path.append(str(Path(__file__).resolve().parents[3] / "workflow/scripts/base_models"))

import limits
import table

KNOWN = table.read()


def supported_archs():
    """What the engine takes. Without CUDA its package cannot be imported, but this file can."""
    path = Path(lmdeploy.__file__).parent / "turbomind" / "supported_models.py"
    spec = importlib.util.spec_from_file_location("supported_models", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SUPPORTED_ARCHS


def quantised_by_lmdeploy(architecture):
    layer = LAYER_TYPE_MAP.get(architecture)
    by_name = all(architecture in names for names in (HEAD_NAME_MAP, NORM_TYPE_MAP))
    return by_name and layer in NORM_FCS_MAP and layer in FC_FCS_MAP


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_promised_is_done_and_checked(name):
    entry = KNOWN[name]
    architecture = entry["architecture"]
    checked = architecture in ARCHITECTURES and architecture in limits.HEAD_DIMS
    if entry["awq"] is True:
        assert quantised_by_lmdeploy(architecture) and checked
    if entry["turbomind"] is True:
        assert architecture in supported_archs() and checked
    # a check that has learned an architecture is no reason any more
    for key in ("awq", "turbomind"):
        if entry[key] is not True and "our check" in entry[key]:
            assert not checked
