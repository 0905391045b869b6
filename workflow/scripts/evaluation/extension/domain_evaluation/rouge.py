"""ROUGE-L for Chinese: the longest common subsequence of jieba's words."""

import logging

import jieba

from domain_evaluation.answers import normalise

jieba.setLogLevel(logging.WARNING)


def words(text: str) -> list[str]:
    """Words of a text, normalised as for exact match; punctuation and white space are none."""
    return [word for word in map(normalise, jieba.cut(text)) if any(map(str.isalnum, word))]


def common_subsequence(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence.

    Bit-parallel (Hyyrö 2004, "Bit-parallel LCS-length computation revisited"): each bit is a
    position of `first`, so long answers cost no more than short ones in Python.
    """
    positions: dict[str, int] = {}
    for i, word in enumerate(first):
        positions[word] = positions.get(word, 0) | 1 << i
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        matches = row & positions.get(word, 0)
        row = (row + matches | row - matches) & full
    return len(first) - row.bit_count()


def rouge_l(prediction: str, reference: str) -> float:
    """ROUGE-L F1 (Lin 2004, equal weight of precision and recall), 0 to 1; empty texts give 0."""
    predicted, wanted = words(prediction), words(reference)
    if not predicted or not wanted:
        return 0.0
    return 2 * common_subsequence(predicted, wanted) / (len(predicted) + len(wanted))
