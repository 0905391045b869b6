"""XTuner's models of pairs, compared with the papers' formulas and not with XTuner."""

import copy

import pytest
import stages
import torch
from mmengine.config import Config
from xtuner.registry import BUILDER

BETA = 0.1
PROMPT, PADDING = 3, 2
# token 0 is an answer's token like any other: "!" in the vocabulary of Qwen
CHOSEN = [5, 6, 7, 8, 0, 9, 0]
REJECTED = [5, 6, 7, 0, 11]


@pytest.fixture(scope="module")
def batch():
    """One pair as XTuner's collate function lays it out."""
    rows = [CHOSEN, REJECTED + [0] * PADDING]
    lengths = [len(CHOSEN), len(REJECTED)]
    labels = [
        [-100] * PROMPT + row[PROMPT:length] + [-100] * (len(row) - length)
        for row, length in zip(rows, lengths, strict=True)
    ]
    mask = [[True] * length + [False] * (len(CHOSEN) - length) for length in lengths]
    return {
        "input_ids": torch.tensor(rows),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor(labels),
    }


def built(project, tmp_path, method):
    config = stages.render(project, tmp_path / "config.py", method, finetuning="full", beta=BETA)
    return BUILDER.build(Config.fromfile(config).model)


def answer_logps(model, ids):
    """Log probabilities of the answer's tokens, one by one."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return torch.stack([logits[at - 1, ids[at]] for at in range(PROMPT, len(ids))])


def test_dpo_counts_every_token_of_an_answer(project, tmp_path, batch):
    model = built(project, tmp_path, "dpo")
    with torch.no_grad():
        # away from the reference model, or every loss is ln 2
        for parameter in model.llm.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        loss = model(copy.deepcopy(batch))
    margin = sum(
        sign * (answer_logps(model.llm, ids).sum() - answer_logps(model.ref_llm, ids).sum())
        for sign, ids in ((1, CHOSEN), (-1, REJECTED))
    )
    expected = -torch.nn.functional.logsigmoid(BETA * margin)
    assert loss["loss"].item() == pytest.approx(expected.item(), abs=1e-5)
    assert loss["reward_margin"].item() == pytest.approx(BETA * margin.item(), abs=1e-5)


def test_orpo_counts_every_token_of_an_answer(project, tmp_path, batch):
    model = built(project, tmp_path, "orpo")
    with torch.no_grad():
        loss = model(copy.deepcopy(batch))["loss"]
    chosen, rejected = (answer_logps(model.llm, ids).mean() for ids in (CHOSEN, REJECTED))
    odds = (chosen - torch.log1p(-chosen.exp())) - (rejected - torch.log1p(-rejected.exp()))
    expected = -chosen - BETA * torch.nn.functional.logsigmoid(odds)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_reference_model_is_not_saved(project, tmp_path):
    model = built(project, tmp_path, "dpo")
    names = set(model.state_dict())
    assert names == {f"llm.{name}" for name in model.llm.state_dict()}
    assert not any(parameter.requires_grad for parameter in model.ref_llm.parameters())
