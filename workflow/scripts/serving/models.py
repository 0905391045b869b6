"""From the plan of `launch.py` to models that answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from generation import Engine, Sampling
from lmdeploy_command import command_line
from prompts import Prompts
from server_process import free_port
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

LMDEPLOY_SHELL = Path(__file__).parents[2] / "envshell" / "lmdeploy" / "bash"
# Where a model's config.json names no length.
CONTEXT = 2048


@dataclass(frozen=True)
class Served:
    """A model that answers.

    Attributes:
        name: "RUN/VARIANT".
        prompts: what it reads.
        engine: what computes.
    """

    name: str
    prompts: Prompts
    engine: Engine


def default_sampling(plan: Mapping) -> Sampling:
    """How answers are drawn where nobody says otherwise."""
    return Sampling(plan["temperature"], plan["top_p"], plan["max_tokens"], plan["seed"])


def load(plan: Mapping, served: list[Served]) -> None:
    """Load all models of a plan.

    Args:
        plan: as launch.py makes it.
        served: gets one after the other, so that the caller can close what is there in any case.

    Raises:
        generation.EngineError: one of them cannot be loaded.
    """
    for model in plan["models"]:
        served.append(_load(model, plan))


def _load(model: Mapping[str, str], plan: Mapping) -> Served:
    trusted = plan["trust_remote_code"]
    folder = Path(model["tokenizer"])
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trusted)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trusted)
    context = getattr(config, "max_position_embeddings", CONTEXT)
    # written by the export: the end of an answer in this chat template
    eos = GenerationConfig.from_pretrained(folder).eos_token_id
    stop_ids = eos if isinstance(eos, list) else [eos]
    prompts = Prompts(tokenizer, plan["system"], context)
    if plan["device"] == "cuda":
        from lmdeploy_engine import LmdeployEngine, start

        port = free_port()
        process = start(command_line(model, port, 1 / len(plan["models"])), LMDEPLOY_SHELL, port)
        try:
            process.wait_until_ready()
        except BaseException:
            process.stop()
            raise
        url = f"http://127.0.0.1:{port}"
        engine = LmdeployEngine(url, model["name"], tokenizer, stop_ids, process)
    else:
        from transformers_engine import TransformersEngine

        engine = TransformersEngine(
            Path(model["folder"]), tokenizer, stop_ids, plan["dtype"], trusted
        )
    return Served(model["name"], prompts, engine)
