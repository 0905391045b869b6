import json
import subprocess
import sys
import zipfile
from pathlib import Path

import render_config
import torch
import train
from mmengine.config import Config

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"
TRAINING = {
    "steps": 40,
    "batch_size": 2,
    "gradient_accumulation": 3,
    "learning_rate": 1e-3,
    "warmup_ratio": 0.0,
    "max_length": 64,
    "pack": True,
    "seed": 1,
    "checkpoint_every": 10,
    "lora": {"r": 8, "alpha": 16, "dropout": 0.0},
}
BASE = {"prompt_template": "qwen_chat", "trust_remote_code": False, "lora_target_modules": None}
PATHS = {"base_model": "a 'quoted' folder", "train": "train.jsonl"}


def rendered(tmp_path, device):
    path = tmp_path / f"{device}.py"
    template = SCRIPTS / "training" / "config.py.jinja"
    path.write_text(render_config.render(template, TRAINING, BASE, PATHS, device))
    return Config.fromfile(path)


def test_cpu_and_cuda_configs_differ_only_in_what_the_device_asks_for(tmp_path):
    cpu, cuda = rendered(tmp_path, "cpu"), rendered(tmp_path, "cuda")
    assert cpu.optim_wrapper.type.__name__ == "OptimWrapper"
    assert cuda.optim_wrapper.type.__name__ == "AmpOptimWrapper"
    assert (cpu.compute_dtype, cuda.compute_dtype) == (torch.float32, torch.float16)
    for config in (cpu, cuda):
        quantization = config.model.llm.quantization_config
        assert quantization.bnb_4bit_quant_type == "nf4"
        assert quantization.bnb_4bit_use_double_quant
        assert config.pretrained_model_name_or_path == PATHS["base_model"]
        assert config.trust_remote_code is False
        # a step of the workflow is one of the optimiser
        assert config.max_iters == 40 * 3
        assert config.param_scheduler[0].end == 1, "a warm-up of nothing crashes mmengine"


def test_work_folder_follows_the_contents(tmp_path):
    config, data = tmp_path / "config.py", tmp_path / "train.jsonl"
    config.write_text("lr = 1")
    data.write_text("{}")
    first = train.work_folder(tmp_path / "work", config, data)
    (first / "iter_5.pth").write_bytes(b"x")
    assert train.work_folder(tmp_path / "work", config, data) == first
    assert (first / "iter_5.pth").exists()
    config.write_text("lr = 2")
    second = train.work_folder(tmp_path / "work", config, data)
    assert second != first
    assert not first.exists(), "nothing would ever resume from it"


def test_a_checkpoint_cut_short_is_passed_over(tmp_path):
    for number in (90, 100, 110):
        torch.save({"state_dict": {"w": torch.rand(1000)}}, tmp_path / f"iter_{number}.pth")
    cut = tmp_path / "iter_110.pth"
    cut.write_bytes(cut.read_bytes()[:-500])
    damaged = tmp_path / "iter_100.pth"
    content = bytearray(damaged.read_bytes())
    with zipfile.ZipFile(damaged) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content[largest.header_offset + 1000] ^= 1
    damaged.write_bytes(content)
    assert train.last_whole_checkpoint(tmp_path) == tmp_path / "iter_90.pth"
    assert not cut.exists()
    assert not damaged.exists()


def test_curve_of_two_attempts(tmp_path):
    def attempt(name, losses, ending=""):
        folder = tmp_path / name / "vis_data"
        folder.mkdir(parents=True)
        lines = [
            json.dumps({"iter": number, "loss": loss, "lr": 0.1, "time": 0.5})
            for number, loss in losses.items()
        ]
        (folder / "scalars.json").write_text("\n".join([*lines, ending]))

    attempt("20260101_000000", {10: 5.0, 20: 4.0, 30: 3.5}, '{"iter": 40, "lo')
    attempt("20260101_000100", {30: 3.0, 40: 2.0})
    points = train.curve(tmp_path)
    assert [(point["iteration"], point["loss"]) for point in points] == [
        (10, 5.0),
        (20, 4.0),
        (30, 3.0),
        (40, 2.0),
    ]


def test_a_tool_that_crashes_is_a_failed_process(tmp_path):
    launcher = SCRIPTS / "training" / "launch_xtuner.py"
    command = [sys.executable, str(launcher), "merge", str(tmp_path / "none"), "x", "y"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode != 0
    assert subprocess.run([sys.executable, str(launcher), "chat"]).returncode != 0
