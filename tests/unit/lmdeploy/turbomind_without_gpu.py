"""measure_turbomind.py with one part exchanged: LMDeploy's compiled engine, which needs a GPU.

    turbomind_without_gpu.py OPTIONS...

Settings, the reading of the workspace or of the AWQ folder, requests and answers are LMDeploy's own
Python; below that, a pretended GPU of MEMORY bytes counts what is taken of it, and FIRST seconds
after a prompt tokens begin to come, one each EACH seconds. Prints lines "stand-in: JSON" of what
reaches it. With STAND_IN_FAILS=BITS the engine ends as one does that cannot do such a cache.
"""

import atexit
import json
import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

SCRIPTS = Path(__file__).resolve().parents[3] / "workflow" / "scripts"
for folder in ("quantization", "evaluation"):
    sys.path.insert(0, str(SCRIPTS / folder))

import launch_lmdeploy

launch_lmdeploy.install_cpu_stand_ins()

import torch
import yaml

MEMORY = 10**9
OTHERS = 10**8  # what is taken before anything is loaded
BUFFERS = 10**7
ON_DEMAND = 10**6  # taken when the first prompt comes
FIRST, EACH = 0.05, 0.01
gpu = {"free": MEMORY - OTHERS}


def note(**facts):
    print(f"stand-in: {json.dumps(facts)}", flush=True)


class Model:
    """What LMDeploy calls model_comm."""

    def __init__(self, model_dir, config, tensor_para_size, data_type):
        self.folder, self.config = model_dir, yaml.safe_load(config)
        note(engine=self.config["engine_config"], workspace=bool(model_dir))

    def create_shared_weights(self, device, rank):
        files = Path(self.folder).iterdir() if self.folder else ()
        gpu["free"] -= sum(path.stat().st_size for path in files)

    def get_params(self, device, rank):
        return {}

    def process_weight(self, device, rank):
        pass

    def create_engine(self, device, rank):
        engine, model = self.config["engine_config"], self.config["model_config"]
        bits = engine["quant_policy"] or 16
        if os.environ.get("STAND_IN_FAILS") == str(bits):
            os.abort()
        heads = model["num_layer"] * model["kv_head_num"]
        block = engine["cache_block_seq_len"] * heads * 2 * model["size_per_head"] * bits // 8
        blocks = int(gpu["free"] * engine["cache_max_entry_count"]) // block
        gpu["free"] -= blocks * block + BUFFERS
        if os.environ["TM_LOG_LEVEL"] == "INFO":
            # its output is a file of C's, written when the process ends
            line = f"[TM][INFO] [BlockManager] max_block_count = {blocks}"
            atexit.register(print, line, flush=True)

    def create_model_instance(self, device):
        return Instance()


class Instance:
    """What LMDeploy calls model_inst."""

    taken = False

    def forward(self, inputs, session, wish, stream_output, signal):
        if not self.taken:
            gpu["free"] -= ON_DEMAND
            self.taken = True
        ids = inputs["input_ids"]
        note(session=vars(session), prompt=len(ids), wish=vars(wish), streamed=stream_output)
        state = State()
        threading.Thread(target=self._write, args=(state, len(ids), wish, signal)).start()
        return {"output_ids": torch.zeros(len(ids) + wish.max_new_tokens, dtype=torch.int32)}, state

    def _write(self, state, prompt, wish, signal):
        time.sleep(FIRST)
        for number in range(1, wish.max_new_tokens + 1):
            state.now = SimpleNamespace(
                status=7 if number == wish.max_new_tokens else 0, seq_len=prompt + number
            )
            signal()
            time.sleep(EACH)


class State:
    """What LMDeploy calls shared_state."""

    def consume(self):
        return self.now


engine = sys.modules["_turbomind"]
engine.TensorMap = dict
engine.from_dlpack = lambda tensor: tensor
engine.DataType = SimpleNamespace(TYPE_UINT32="uint32")
engine.SessionParam = SimpleNamespace
engine.GenerationConfig = SimpleNamespace
engine.AbstractTransformerModel = SimpleNamespace(create_llama_model=Model)
torch.cuda.synchronize = lambda: None
torch.cuda.mem_get_info = lambda: (gpu["free"], MEMORY)
torch.cuda.get_device_name = lambda device: "Made-up GPU"
torch.cuda.get_device_properties = lambda device: SimpleNamespace(
    name="Made-up GPU", total_memory=80 * 2**30
)

if __name__ == "__main__":
    import measure_turbomind

    measure_turbomind.main()
