"""Evaluators that OpenCompass runs on its predictions.

Scores are percentages here, the convention of OpenCompass' own tables. The details carry the id of
each question, so that whoever reads the result can see that none was lost or moved.
"""

from collections.abc import Callable, Iterable
from typing import Any

from opencompass.openicl.icl_evaluator import BaseEvaluator

from domain_evaluation import answers, rouge


def _percentages(details: list[dict[str, Any]], metrics: Iterable[str]) -> dict[str, Any]:
    scores = {name: 100 * sum(d[name] for d in details) / len(details) for name in metrics}
    return {**scores, "details": details}


class AnswerEvaluator(BaseEvaluator):
    """Free-form answers: exact match and containment after normalisation.

    Args:
        long_answers: also ROUGE-L over jieba words; where a reference is a few characters long
            it says nothing that exact match does not.
    """

    def __init__(self, long_answers: bool = False) -> None:
        super().__init__()
        self.long_answers = long_answers

    def score(self, predictions: list[str], references: list[str], test_set: Any) -> dict[str, Any]:
        metrics: dict[str, Callable[[str, str], float]] = {
            "exact_match": answers.exact_match,
            "contains": answers.contains,
        }
        if self.long_answers:
            metrics["rouge_l"] = rouge.rouge_l
        details = [
            {
                "id": question["id"],
                "pred": prediction,
                "answer": reference,
                "correct": answers.exact_match(prediction, reference),
                **{name: metric(prediction, reference) for name, metric in metrics.items()},
            }
            for prediction, reference, question in zip(
                predictions, references, test_set, strict=True
            )
        ]
        return _percentages(details, metrics)


class ChoiceEvaluator(BaseEvaluator):
    """Multiple choice from the likelihoods that OptionPPLInferencer wrote.

    accuracy: the option that is most likely to be the whole answer, its end included.
    accuracy_norm: the option whose text has the highest log-likelihood per character, the
    `acc_norm` of lm-evaluation-harness; it shows whether long options were at a disadvantage.
    """

    def score(
        self,
        predictions: list[str],
        references: list[str],
        test_set: Any,
        option_scores: list[dict[str, dict[str, float]]],
    ) -> dict[str, Any]:
        details = []
        for prediction, reference, question, scores in zip(
            predictions, references, test_set, option_scores, strict=True
        ):
            per_character = {
                label: score["text"] / len(question[label]) for label, score in scores.items()
            }
            normalised = max(per_character, key=per_character.__getitem__)
            details.append(
                {
                    "id": question["id"],
                    "pred": prediction,
                    "answer": reference,
                    "correct": prediction == reference,
                    "accuracy": prediction == reference,
                    "accuracy_norm": normalised == reference,
                    "log_likelihood": {k: s["text"] + s["end"] for k, s in scores.items()},
                }
            )
        return _percentages(details, ("accuracy", "accuracy_norm"))
