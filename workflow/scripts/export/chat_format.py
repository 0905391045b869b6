"""Write the prompt format of training into the folder of a trained model."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
sys.path.insert(0, str(Path(__file__).parents[1] / "base_models"))
from manifest import NAME, write_manifest


def write_tokenizer(model: Path, prompt_template: str, trusted: bool, folder: Path):
    """Write a model's tokenizer with the chat template of training.

    Args:
        model: the folder of the model.
        prompt_template: a name in `xtuner.utils.PROMPT_TEMPLATE`.
        trusted: whether code in the model's folder may be run.
        folder: where to write; may be the model's own.

    Returns:
        The tokenizer, of transformers.
    """
    from chat_tokenizer import chat_tokenizer
    from xtuner.utils import PROMPT_TEMPLATE

    tokenizer = chat_tokenizer(
        PROMPT_TEMPLATE[prompt_template],
        pretrained_model_name_or_path=model,
        trust_remote_code=trusted,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_chat_format(model: Path, prompt_template: str, trusted: bool) -> None:
    """Give the tokenizer its chat template, and the generation defaults its stop words.

    Args:
        model: the folder of the model and its tokenizer; changed in place.
        prompt_template: a name in `xtuner.utils.PROMPT_TEMPLATE`.
        trusted: whether code in the folder may be run.
    """
    from transformers import GenerationConfig
    from xtuner.dataset.utils import get_bos_eos_token_ids
    from xtuner.utils import PROMPT_TEMPLATE

    tokenizer = write_tokenizer(model, prompt_template, trusted, folder=model)

    # an answer ends with the template's stop words, which a base model need not know as its end
    _, eos = get_bos_eos_token_ids(tokenizer)
    stop_words = PROMPT_TEMPLATE[prompt_template].get("STOP_WORDS", [])
    stops = {*eos, *tokenizer.convert_tokens_to_ids(stop_words)}
    stops -= {None, tokenizer.unk_token_id}
    generation = GenerationConfig.from_pretrained(model)
    generation.eos_token_id = sorted(stops)
    generation.pad_token_id = tokenizer.pad_token_id
    generation.save_pretrained(model)


def write_origin(model: Path, started_from: Path, what: str) -> None:
    """Write the manifest of a trained model: that of the model it started from, and what was done.

    Args:
        model: the folder of the trained model, complete.
        started_from: the folder of the model that the training started from, with its manifest.
        what: how the one became the other ("merged with its adapter").
    """
    origin = json.loads((started_from / NAME).read_text(encoding="utf-8"))
    write_manifest(
        model,
        source=f"{origin['source']}, {what}",
        revision=origin["revision"],
        licence=origin["licence"],
    )
