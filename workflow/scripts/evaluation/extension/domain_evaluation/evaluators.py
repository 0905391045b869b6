"""Evaluators that OpenCompass runs on its predictions.

Scores are percentages here, the convention of OpenCompass' own tables. The details carry the id of
each question, so that whoever reads the result can see that none was lost or moved.
"""

from collections.abc import Callable, Iterable
from typing import Any

from opencompass.openicl.icl_evaluator import BaseEvaluator

from domain_evaluation import answers, rouge
from domain_evaluation.choices import choice_of


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


class LetterEvaluator(BaseEvaluator):
    """Multiple choice from what a model wrote.

    accuracy: the answer chooses the right option.
    no_choice: it chooses none, which counts as wrong.

    Args:
        labels: letters of the options, columns of the dataset.
    """

    def __init__(self, labels: list[str]) -> None:
        super().__init__()
        self.labels = labels

    def score(self, predictions: list[str], references: list[str], test_set: Any) -> dict[str, Any]:
        details = []
        for prediction, reference, question in zip(predictions, references, test_set, strict=True):
            choice = choice_of(prediction, {label: question[label] for label in self.labels})
            details.append(
                {
                    "id": question["id"],
                    "pred": prediction,
                    "answer": reference,
                    "correct": choice == reference,
                    "accuracy": choice == reference,
                    "no_choice": choice is None,
                    "choice": choice,
                }
            )
        return _percentages(details, ("accuracy", "no_choice"))


class ChoiceEvaluator(BaseEvaluator):
    """Multiple choice from the likelihoods that OptionPPLInferencer wrote.

    accuracy: the likeliest option; of a chat, as the whole answer, its end included.
    accuracy_norm: the option whose text has the highest log-likelihood per character, the
    `acc_norm` of lm-evaluation-harness; it shows whether long options were at a disadvantage.

    Args:
        normalise: whether the options may differ in length, so that accuracy_norm says something.
    """

    def __init__(self, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise

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
            detail = {
                "id": question["id"],
                "pred": prediction,
                "answer": reference,
                "correct": prediction == reference,
                "accuracy": prediction == reference,
            }
            if self.normalise:
                per_character = {
                    label: score["text"] / len(question[label]) for label, score in scores.items()
                }
                normalised = max(per_character, key=per_character.__getitem__)
                detail["accuracy_norm"] = normalised == reference
            detail["log_likelihood"] = {k: s["text"] + s["end"] for k, s in scores.items()}
            details.append(detail)
        return _percentages(details, ("accuracy", "accuracy_norm")[: 1 + self.normalise])
