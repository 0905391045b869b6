"""XTuner's models of DPO, ORPO and reward without two of their mistakes."""

import torch
from xtuner.model.dpo import DPO
from xtuner.model.orpo import ORPO
from xtuner.model.reward import RewardModel


class _AnswerTokens:
    """Counts every token of an answer.

    XTuner 0.2.0 marks what is not an answer by 0, and so leaves out answer tokens whose number is
    0, which is "!" in the vocabulary of Qwen.
    """

    def compute_loss(self, data, data_samples=None):
        following = data["labels"][:, 1:] != -100
        self._answers = torch.cat((following, torch.zeros_like(following[:, :1])), dim=1)
        return super().compute_loss(data, data_samples)

    def _gather_masked_logits(self, logits, labels, mask):
        return super()._gather_masked_logits(logits, labels, self._answers)


class AnswerDPO(_AnswerTokens, DPO):
    """Direct preference optimisation over all tokens of the answers."""

    def state_dict(self, *args, **kwargs):
        """Without the reference model, which does not change and is twice the size."""
        state = super().state_dict(*args, **kwargs)
        return type(state)((k, v) for k, v in state.items() if not k.startswith("ref_llm."))


class AnswerORPO(_AnswerTokens, ORPO):
    """Odds ratio preference optimisation over all tokens of the answers."""


class RewardModelWithHead(RewardModel):
    """A reward model that saves its head; XTuner's leaves it out of the checkpoint with LoRA."""

    def state_dict(self, *args, **kwargs):
        state = super().state_dict(*args, **kwargs)
        state["v_head.weight"] = self.v_head.weight.detach()
        return state
