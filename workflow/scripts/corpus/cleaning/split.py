"""On which side of the split each record is.

The side of a record depends on nothing but its answer and the seed: more data never moves a
record from one side to the other. All records with the same answer, and so all paraphrases of one
fact, are on one side. A row of a file that is meant for one side is there, whatever it answers.
"""

from hashlib import blake2b

import numpy as np
from normalise import digest, key_form

# What the configuration says of a row: nothing, or a side.
EITHER, TRAIN, HELDOUT = 0, 1, 2


def group_of(answer: str) -> str:
    """The unit that is never split: all records with one normalised answer."""
    return group_of_form(key_form(answer))


def group_of_form(form: str) -> str:
    """The group of an answer in the form of `normalise.key_form`."""
    return digest("group", form)


def groups_of_forms(forms: list[bytes]) -> list[str]:
    """`group_of_form` of each form, given in UTF-8."""
    return [blake2b(b"group\x1f" + form, digest_size=8).hexdigest() for form in forms]


def draws(groups: list[str], seed: int) -> np.ndarray:
    """`normalise.fraction` of each group: numbers in [0, 1) that decide about the groups.

    Args:
        groups: results of `group_of`.
        seed: another seed draws other numbers.
    """
    prefix = f"split\x1f{seed}\x1f"
    hashes = [blake2b((prefix + group).encode(), digest_size=8).digest() for group in groups]
    numbers = np.frombuffer(b"".join(hashes), ">u8").astype(np.uint64)
    return (numbers >> np.uint64(12)) / 2**52


def held_out(
    groups: np.ndarray, draws: np.ndarray, given: np.ndarray, is_text: np.ndarray, heldout: float
) -> np.ndarray:
    """Which records are held out.

    Args:
        groups, draws: of each record.
        given: EITHER, TRAIN or HELDOUT for each record.
        is_text: whether a record is a document; one asks nothing and is trained on.
        heldout: a share of the groups, or from 1 on a number of questions: the groups with the
            smallest draws that have so many. More data then moves records to the other side.
    """
    free = (given == EITHER) & ~is_text
    if heldout < 1:
        drawn = draws < heldout
    else:
        _, first, size = np.unique(groups[free], return_index=True, return_counts=True)
        smallest = draws[free][first]
        order = np.argsort(smallest, kind="stable")
        before = np.cumsum(size[order]) - size[order]
        taken = order[before < heldout]
        limit = smallest[taken].max() if len(taken) else -1.0
        drawn = draws <= limit
    return (given == HELDOUT) | (free & drawn)


def explicit_groups(groups: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Groups of records whose side the configuration says, apart from all others.

    A test file asks, as a rule, also for answers that the training data has, such as yes and no.
    """
    salt = np.array([0, 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)
    return groups ^ salt[given]
