"""ChatModel answers from AWQ weights in 4 bits, and as the same weights do dense."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import CAPITALS, make_model
from domain_evaluation.chat_model import ChatModel
from int4_model import Int4Linear
from packing import AWQ_ORDER, dequantize, pack_int4
from safetensors.torch import load_file, save_file
from test_chat_model import load, prompts

GROUP = 128


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A trained model rounded to 4 bits: as AWQ stores it, and the same weights dense."""
    root = tmp_path_factory.mktemp("int4")
    trained = make_model(root / "trained", hidden=128, steps=60)
    awq = Path(shutil.copytree(trained, root / "awq"))
    dense = Path(shutil.copytree(trained, root / "dense"))
    packed, rounded = {}, {}
    for name, weight in load_file(trained / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            packed[name] = rounded[name] = weight.half()
            continue
        columns = weight.t()
        groups = columns.reshape(-1, GROUP, columns.shape[1])
        low, high = groups.amin(1).clamp(max=0), groups.amax(1).clamp(min=0)
        scales = ((high - low) / 15).half()
        zeros = (-low / scales.float()).round().clamp(0, 15)
        levels = (groups / scales.float()[:, None] + zeros[:, None]).round().clamp(0, 15)
        levels = levels.reshape(columns.shape).to(torch.uint8)
        layer = name.removesuffix(".weight")
        packed[f"{layer}.qweight"] = pack_int4(levels, AWQ_ORDER)
        packed[f"{layer}.qzeros"] = pack_int4(zeros.to(torch.uint8), AWQ_ORDER)
        packed[f"{layer}.scales"] = scales
        rounded[name] = dequantize(levels, zeros, scales, GROUP).t().contiguous()
    for folder, tensors in ((awq, packed), (dense, rounded)):
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((awq / "config.json").read_text("utf-8"))
    config["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": GROUP}
    (awq / "config.json").write_text(json.dumps(config), "utf-8")
    return awq, dense


@pytest.fixture(scope="module")
def model(folders: tuple[Path, Path]) -> ChatModel:
    return load(folders[0])


def test_all_matrices_stay_in_4_bits(model: ChatModel) -> None:
    linears = [layer for layer in model.model.modules() if isinstance(layer, Int4Linear)]
    assert len(linears) == 7 * model.model.config.num_hidden_layers
    left = {name for name, _ in model.model.named_parameters() if "norm" not in name}
    assert left == {"model.embed_tokens.weight"}


def test_answers(model: ChatModel) -> None:
    assert model.generate(prompts(), 16) == list(CAPITALS.values())


def test_likelihoods_are_those_of_the_dense_weights(
    model: ChatModel, folders: tuple[Path, Path]
) -> None:
    options = list(CAPITALS.values())
    wanted = load(folders[1]).score_options(prompts(), options)
    found = model.score_options(prompts(), options)
    for ours, theirs in zip(found, wanted, strict=True):
        assert sum(ours) == pytest.approx(sum(theirs), abs=0.1)
