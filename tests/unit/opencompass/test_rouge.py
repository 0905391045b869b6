"""ROUGE-L over jieba's words."""

import itertools

import pytest
from domain_evaluation.rouge import common_subsequence, rouge_l, words


def _textbook(first: str, second: str) -> int:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, j in itertools.product(range(len(first)), range(len(second))):
        table[i + 1][j + 1] = (
            table[i][j] + 1 if first[i] == second[j] else max(table[i][j + 1], table[i + 1][j])
        )
    return table[-1][-1]


def test_common_subsequence_agrees_with_the_textbook() -> None:
    samples = ["", "a", "abc", "abcbdab", "bdcaba", "aaaa", "cbacbacba" * 10]
    for first, second in itertools.product(samples, samples):
        assert common_subsequence(list(first), list(second)) == _textbook(first, second)


def test_words_are_words() -> None:
    assert words("法国的首都是巴黎。") == ["法国", "的", "首都", "是", "巴黎"]


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("法国的首都是巴黎。", "法国的首都是巴黎", 1.0),
        ("", "巴黎", 0.0),
        ("。", "巴黎", 0.0),
        ("东京", "巴黎", 0.0),
        # 4 of 5 words in order on both sides
        ("法国的首都是里昂", "法国的首都是巴黎", 0.8),
    ],
)
def test_rouge_l(prediction: str, reference: str, expected: float) -> None:
    assert rouge_l(prediction, reference) == pytest.approx(expected)
