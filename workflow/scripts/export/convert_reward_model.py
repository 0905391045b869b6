"""Make a Hugging Face model of a reward model that XTuner trained.

It is a sequence classifier with one label, or XTuner's own InternLM2ForRewardModel where
transformers has no such class. Its config.json says at which token the score is given.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import launch_xtuner
from chat_format import write_origin


def convert(config: Path, checkpoint: Path, model: Path, reward_token: int) -> None:
    """Write the reward model, its adapter merged, with XTuner's own tool."""
    launch_xtuner.run(
        "pth_to_hf",
        [
            *(str(config), str(checkpoint), str(model), "--safe-serialization"),
            *("--cfg-options", f"reward_token_id={reward_token}"),
        ],
    )


def write_reward_token(model: Path, reward_token: int, padding: int | None) -> None:
    """Write the reward token and the padding, which must differ, into config.json.

    transformers takes the score at the last token that is not padding.
    """
    path = model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if padding is None:
        # any token that is not the last one does: attention does not see it
        padding = 0 if reward_token else 1
    config |= {"reward_token_id": reward_token, "pad_token_id": padding}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def write_internlm2_code(model: Path) -> None:
    """Put the code of XTuner's InternLM2ForRewardModel beside the weights."""
    from xtuner.tools.model_converters import modeling_internlm2_reward

    folder = Path(modeling_internlm2_reward.__file__).parent
    for name in ("configuration_internlm2.py", "modeling_internlm2.py"):
        shutil.copy(folder / name, model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="rendered for XTuner")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    arguments = parser.parse_args()

    launch_xtuner.prepare()  # before anything that imports XTuner
    from chat_tokenizer import reward_token_id
    from mmengine.config import Config
    from xtuner.registry import BUILDER

    config = Config.fromfile(arguments.config)
    tokenizer = BUILDER.build(config.tokenizer)
    reward_token = reward_token_id(tokenizer)
    convert(arguments.config, arguments.checkpoint, arguments.model, reward_token)
    if not any(arguments.model.glob("*.safetensors")):
        sys.exit("convert_reward_model: XTuner ended without writing weights; its log is above.")
    if json.loads((arguments.model / "config.json").read_text())["model_type"] == "internlm2":
        write_internlm2_code(arguments.model)
    write_reward_token(arguments.model, reward_token, tokenizer.pad_token_id)
    base_model = Path(config.pretrained_model_name_or_path)
    write_origin(arguments.model, base_model, "trained as a reward model")


if __name__ == "__main__":
    main()
