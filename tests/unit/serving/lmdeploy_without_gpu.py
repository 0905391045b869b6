"""LMDeploy's own command line with one part exchanged: the engine itself, which needs a GPU.

    lmdeploy_without_gpu.py RECORD serve api_server ...

Options, routes, tokenizer, prompts, stop words and the text that comes out are LMDeploy's; the
tokens come from transformers. RECORD gets a line with the ids and settings of each prompt that has
reached the engine, and one for each that was cancelled.
"""

import asyncio
import json
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[3] / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS / "quantization"))

import launch_lmdeploy

launch_lmdeploy.install_cpu_stand_ins()

import torch
from lmdeploy.cli import serve
from lmdeploy.cli.entrypoint import run
from lmdeploy.messages import EngineOutput, ResponseType
from lmdeploy.serve.async_engine import AsyncEngine
from transformers import AutoConfig, AutoModelForCausalLM

record = Path(sys.argv.pop(1))


def note(**facts: object) -> None:
    with record.open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")


class Instance:
    """Greedy decoding, a token at a time."""

    def __init__(self, model) -> None:
        self.model = model

    async def async_stream_infer(self, session_id, input_ids, gen_config, **options):
        settings = ("max_new_tokens", "top_k", "top_p", "temperature", "stop_token_ids")
        note(ids=input_ids, **{name: getattr(gen_config, name) for name in settings})
        ids, new = torch.tensor([input_ids]), []
        while len(new) < gen_config.max_new_tokens:
            with torch.no_grad():
                token = self.model(ids).logits[0, -1].argmax().item()
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
            new.append(token)
            if token in gen_config.stop_token_ids:
                break
            await asyncio.sleep(0)
            yield EngineOutput(ResponseType.SUCCESS, [*new], len(new))
        yield EngineOutput(ResponseType.FINISH, [*new], len(new))

    async def async_cancel(self, session_id):
        note(cancelled=session_id)


def build(self, model_path, backend_config, **options):
    """In place of `AsyncEngine._build_turbomind`."""
    self.engine = self
    model = AutoModelForCausalLM.from_pretrained(model_path)
    self.create_instance = lambda: Instance(model)
    self.backend_config = backend_config
    self.hf_tm_cfg = AutoConfig.from_pretrained(model_path)


AsyncEngine._build_turbomind = build
# asks the GPU's name
serve.get_max_batch_size = lambda device: 4

if __name__ == "__main__":
    sys.exit(run())
