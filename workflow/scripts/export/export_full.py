"""Make a Hugging Face model of a fully fine-tuned checkpoint of XTuner, with its chat template."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import launch_xtuner
from chat_format import write_chat_format, write_origin

PREFIX = "llm."
SHARD_SIZE = "2GB"


class ExportError(ValueError):
    """A checkpoint cannot become a model; the text says why."""


def export(base_model: Path, checkpoint: Path, merged: Path, trusted: bool) -> None:
    """Write the trained weights as float16 safetensors, with the base model's tokenizer.

    XTuner's own converter builds the model without storage, which takes tied weights apart.

    Args:
        base_model: the folder of the model that the training started from.
        checkpoint: from train.py.
        merged: the folder to write.
        trusted: whether code in base_model may be run.

    Raises:
        ExportError: the checkpoint is not of this model, or float16 cannot hold its weights.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    weights = {}
    for name, tensor in state.items():
        weights[name.removeprefix(PREFIX)] = half = tensor.to(torch.float16)
        if not torch.isfinite(half).all():
            raise ExportError(
                f"{name} has values that float16 cannot hold (the largest is "
                f"{tensor.abs().max():.3g}). The training has diverged: lower "
                "runs.RUN.training.learning_rate."
            )
    model = AutoModelForCausalLM.from_pretrained(
        base_model, torch_dtype=torch.float16, trust_remote_code=trusted
    )
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing = set(missing) - set(model._tied_weights_keys or ())
    if missing or unexpected:
        raise ExportError(
            f"{checkpoint} is not of {base_model}: weights missing {sorted(missing)[:3]}, "
            f"unexpected {unexpected[:3]}."
        )
    model.save_pretrained(merged, safe_serialization=True, max_shard_size=SHARD_SIZE)
    AutoTokenizer.from_pretrained(base_model, trust_remote_code=trusted).save_pretrained(merged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="rendered for XTuner")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--prompt-template", required=True)
    parser.add_argument("--trust-remote-code", action="store_true")
    parser.add_argument("--merged", type=Path, required=True)
    arguments = parser.parse_args()

    launch_xtuner.prepare()
    from mmengine.config import Config

    trusted = arguments.trust_remote_code
    base_model = Path(Config.fromfile(arguments.config).pretrained_model_name_or_path)
    try:
        export(base_model, arguments.checkpoint, arguments.merged, trusted)
    except ExportError as error:
        sys.exit(f"export_full: {error}")
    write_chat_format(arguments.merged, arguments.prompt_template, trusted)
    write_origin(arguments.merged, base_model, "fully fine-tuned")


if __name__ == "__main__":
    main()
