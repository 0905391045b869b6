"""Score a reward model on held-out pairs: how often the better answer has the higher reward."""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import launch_xtuner
from grpo_reward import Messages, RewardModel, RewardModelError

BENCHMARK = "heldout_preference"
SIDES = ("chosen", "rejected")


class CutRewardModel(RewardModel):
    """A reward model that reads no more of a conversation than it was trained on."""

    max_length: int

    def tokens(self, conversation: Messages) -> list[int]:
        """The tokens to score: cut at max_length, and then the reward token, as in training."""
        *ids, reward_token = super().tokens(conversation)
        return [*ids[: self.max_length], reward_token]


def read_pairs(path: Path) -> list[dict]:
    """The pairs of a file of JSON lines."""
    # a line ends at \n only: U+2028 and its like are characters of an answer
    with path.open(encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def pair_scores(
    model: RewardModel, pairs: list[dict], batch_size: int
) -> list[tuple[float, float]]:
    """The rewards of the chosen and the rejected answer of each pair."""
    conversations = [pair["prompt"] + pair[side] for pair in pairs for side in SIDES]
    scores = model.score(conversations, batch_size)
    return list(zip(scores[::2], scores[1::2], strict=True))


def accuracy(scores: list[tuple[float, float]]) -> dict:
    """What the scores of the pairs say.

    Returns:
        `accuracy`, the share of pairs whose chosen answer has the higher score, 0 to 1: a tie is
        wrong, since a model that gives every answer the same score tells nothing. `ties`, and
        `mean_margin` of the chosen over the rejected answers.
    """
    return {
        "accuracy": sum(chosen > rejected for chosen, rejected in scores) / len(scores),
        "ties": sum(chosen == rejected for chosen, rejected in scores),
        "mean_margin": statistics.fmean(chosen - rejected for chosen, rejected in scores),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="of convert_reward_model.py")
    parser.add_argument("--pairs", type=Path, required=True, help="prompt, chosen, rejected")
    parser.add_argument("--trust-remote-code", action="store_true")
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--max-length", type=int, required=True, help="tokens, as in training")
    parser.add_argument("--accuracy", type=Path, required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    arguments = parser.parse_args()

    launch_xtuner.prepare()
    import torch

    started = time.monotonic()
    pairs = read_pairs(arguments.pairs)
    if not pairs:
        sys.exit(
            f"score_reward_model: {arguments.pairs} holds no pair. corpus.sources must give pairs, "
            "and corpus.split.heldout must keep some of them from training."
        )
    dtype = torch.float32 if arguments.device == "cpu" else torch.float16
    try:
        model = CutRewardModel(
            arguments.model, arguments.trust_remote_code, arguments.device, dtype
        )
    except RewardModelError as error:
        sys.exit(f"score_reward_model: {error}")
    model.max_length = arguments.max_length
    scores = pair_scores(model, pairs, arguments.batch_size)

    with arguments.predictions.open("w", encoding="utf-8") as file:
        for pair, (chosen, rejected) in zip(pairs, scores, strict=True):
            row = pair | {
                "chosen_score": chosen,
                "rejected_score": rejected,
                "correct": chosen > rejected,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    found = accuracy(scores)
    result = {
        "variant": "reward",
        "benchmarks": {
            BENCHMARK: {
                "n": len(pairs),
                "metrics": {"accuracy": found["accuracy"]},
                "seconds": round(time.monotonic() - started, 1),
                # a tie counts as wrong
                "ties": found["ties"],
                "mean_margin": found["mean_margin"],
            }
        },
    }
    text = json.dumps(result, ensure_ascii=False, indent=1)
    arguments.accuracy.write_text(text + "\n", encoding="utf-8")
    print(f"score_reward_model: {result['benchmarks'][BENCHMARK]}")


if __name__ == "__main__":
    main()
