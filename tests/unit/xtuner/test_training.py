"""The rendered configuration, and what is kept and read of a training."""

import errno
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import launch_xtuner
import pytest
import stages
import torch
import train
import work_folders
from bitsandbytes.optim import PagedAdamW8bit, PagedAdamW32bit
from loss_watch import TrainingStopped
from mmengine.config import Config
from stages import SCRIPTS
from work_folders import held, work_folder


def rendered(tmp_path, method="sft", device="cpu", **training):
    path = tmp_path / f"{method}_{device}.py"
    return Config.fromfile(stages.render(tmp_path, path, method, device, **training))


def test_cpu_and_cuda_configs_differ_only_in_what_the_device_asks_for(tmp_path):
    cpu, cuda = rendered(tmp_path), rendered(tmp_path, device="cuda", precision="fp16")
    assert cpu.optim_wrapper.type.__name__ == "OptimWrapper"
    assert cuda.optim_wrapper.type.__name__ == "AmpOptimWrapper"
    assert (cpu.compute_dtype, cuda.compute_dtype) == (torch.float32, torch.float16)
    assert (cpu.model.use_activation_checkpointing, cuda.model.use_activation_checkpointing) == (
        False,
        True,
    )
    for config in (cpu, cuda):
        quantization = config.model.llm.quantization_config
        assert quantization.bnb_4bit_quant_type == "nf4"
        assert quantization.bnb_4bit_use_double_quant
        assert quantization.bnb_4bit_compute_dtype == config.compute_dtype
        assert config.model.llm.torch_dtype == config.compute_dtype
        assert config.pretrained_model_name_or_path == str(tmp_path / "base")
        assert config.trust_remote_code is False


def test_a_step_is_one_of_the_optimiser(tmp_path):
    config = rendered(tmp_path, steps=40, gradient_accumulation=3, checkpoint_every=10)
    assert (config.max_iters, config.checkpoint_iters, config.accumulative_counts) == (120, 30, 3)


@pytest.mark.parametrize(
    ("precision", "has_bf16", "dtype"),
    [
        ("bf16", False, torch.bfloat16),
        ("fp16", True, torch.float16),
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float16),
    ],
)
def test_precision_on_a_gpu(precision, has_bf16, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    monkeypatch.delitem(sys.modules, "precision", raising=False)
    config = rendered(tmp_path, device="cuda", precision=precision)
    assert config.compute_dtype == config.optim_wrapper.dtype == dtype
    assert config.model.llm.torch_dtype == dtype


@pytest.mark.parametrize("method", stages.METHODS)
def test_finetuning_decides_what_is_loaded(method, tmp_path):
    qlora = rendered(tmp_path, method, "cuda", precision="bf16").model
    lora = rendered(tmp_path, method, "cuda", precision="bf16", finetuning="lora").model
    full = rendered(tmp_path, method, "cuda", precision="bf16", finetuning="full").model
    assert "quantization_config" in qlora.llm
    assert "quantization_config" not in lora.llm
    assert "quantization_config" not in full.llm
    assert qlora.lora.r == lora.lora.r == 8
    assert "lora" not in full
    # what the optimiser changes is kept in 32 bits
    assert (lora.llm.torch_dtype, full.llm.torch_dtype) == (torch.bfloat16, torch.float32)
    assert ("ref_llm" in full) == (method == "dpo")


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [
        ("adamw", torch.optim.AdamW),
        ("paged_adamw_32bit", PagedAdamW32bit),
        ("paged_adamw_8bit", PagedAdamW8bit),
    ],
)
def test_optimizers(optimizer, kind, tmp_path):
    config = rendered(tmp_path, device="cuda", optimizer=optimizer)
    assert config.optim_wrapper.optimizer.type is kind


def test_gradient_checkpointing_can_be_chosen(tmp_path):
    assert rendered(tmp_path, gradient_checkpointing=True).model.use_activation_checkpointing
    config = rendered(tmp_path, device="cuda", gradient_checkpointing=False)
    assert not config.model.use_activation_checkpointing


@pytest.mark.parametrize(("ratio", "peak_after"), [(0.0, 0), (0.025, 0), (0.25, 10)])
def test_the_learning_rate_comes_to_its_peak(ratio, peak_after, tmp_path):
    """mmengine's schedulers on a real optimiser: a warm-up of one iteration never ends."""
    from mmengine.optim import OptimWrapper
    from mmengine.registry import PARAM_SCHEDULERS

    config = rendered(tmp_path, steps=40, warmup_ratio=ratio)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=config.learning_rate)
    wrapper = OptimWrapper(optimizer)
    schedulers = [
        PARAM_SCHEDULERS.build(scheduler, default_args={"optimizer": wrapper})
        for scheduler in config.param_scheduler
    ]
    rates = []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert max(rates) == pytest.approx(config.learning_rate, rel=0.01)
    assert abs(rates.index(max(rates)) - peak_after) <= 1


def test_out_of_memory_becomes_advice():
    text = launch_xtuner.advice(torch.OutOfMemoryError("CUDA out of memory."))
    order = ["batch_size", "gradient_accumulation", "gradient_checkpointing", "qlora", "max_length"]
    places = [text.index(key) for key in [*order, "deepspeed"]]
    assert places == sorted(places)
    assert launch_xtuner.advice(TrainingStopped("flat")) == "flat"
    assert launch_xtuner.advice(ValueError("x")) is None


def test_work_folder_follows_the_contents(tmp_path):
    config, data = tmp_path / "config.py", tmp_path / "train.jsonl"
    config.write_text("lr = 1")
    data.write_text("{}")
    first = work_folder(tmp_path / "work", config, data)
    with pytest.raises(SystemExit), held(first):
        (first / "iter_5.pth").write_bytes(b"x")
        sys.exit("interrupted")
    assert work_folder(tmp_path / "work", config, data) == first
    assert (first / "iter_5.pth").exists()
    config.write_text("lr = 2")
    second = work_folder(tmp_path / "work", config, data)
    assert second != first
    with held(second):
        assert not first.exists(), "nothing would ever resume from it"
    assert not second.exists()


# Holds the folder until a line comes in, and ends well or badly.
HOLDER = """
import sys
from pathlib import Path
from work_folders import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    if sys.stdin.readline().strip() == "fail":
        sys.exit(1)
"""


@pytest.mark.parametrize(
    ("end", "same", "to_do"),
    [("finish", True, False), ("fail", True, True), ("finish", False, True)],
    ids=["the same training has ended", "it has failed", "another one has ended"],
)
def test_a_second_training_waits_for_the_first(tmp_path, capsys, end, same, to_do):
    folder = tmp_path / "work" / "key"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder if same else tmp_path / "work" / "older"],
        env=os.environ | {"PYTHONPATH": str(Path(work_folders.__file__).parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "held\n"
    threading.Timer(0.5, lambda: other.communicate(f"{end}\n")).start()
    with held(folder) as found:
        other.wait(10)
        assert found is to_do
        assert folder.exists() is to_do
    assert f"waiting for process {other.pid} on " in capsys.readouterr().out
    with held(folder) as found:
        assert found, "who did not wait is asked to train again"


def test_a_disk_without_locks(tmp_path, capsys, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(work_folders.fcntl, "flock", flock)
    with held(tmp_path / "work" / "key") as found:
        assert found
    assert "No locks available" in capsys.readouterr().out


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


def test_a_folder_of_deepspeed_is_whole_with_a_share_of_every_process(tmp_path):
    def checkpoint(number, shares):
        folder = tmp_path / f"iter_{number}.pth"
        folder.mkdir()
        names = [f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in range(shares)]
        for name in [*names, "mp_rank_00_model_states.pt"]:
            torch.save({"w": torch.rand(10)}, folder / name)
        return folder

    first, second, third = checkpoint(10, 2), checkpoint(20, 2), checkpoint(30, 1)
    share = next(second.glob("*_optim_states.pt"))
    share.write_bytes(share.read_bytes()[:-100])
    assert train.last_whole_checkpoint(tmp_path, processes=2) == first
    assert not second.exists()
    assert not third.exists()


def test_curve_of_pairs(tmp_path):
    folder = tmp_path / "20260101_000000" / "vis_data"
    folder.mkdir(parents=True)
    common = {"loss": 0.5, "lr": 0.1, "time": 0.5}
    dpo = common | {"iter": 10, "reward_acc": 0.75, "reward_margin": 0.2, "grad_norm": 1.5}
    scores = {"chosen_score_mean": 1.5, "rejected_score_mean": 0.5}
    reward = common | {"iter": 20, "acc": 1.0, "reduced_loss": 0.5} | scores
    (folder / "scalars.json").write_text("\n".join(map(json.dumps, (dpo, reward))))
    first, second = train.curve(tmp_path)
    assert first == {
        "iteration": 10,
        "loss": 0.5,
        "learning_rate": 0.1,
        "grad_norm": 1.5,
        "seconds": 0.5,
        "reward_accuracy": 0.75,
        "reward_margin": 0.2,
    }
    assert (second["reward_accuracy"], second["reward_margin"]) == (1.0, 1.0)


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


def test_scripts_start_where_there_is_no_torchvision():
    """Nothing of xtuner is imported before launch_xtuner.prepare has made that possible."""
    names = ["count_tokens", "train", "launch_xtuner", "merge_adapter", "export_full"]
    names += ["convert_reward_model", "check_chat_template", "score_reward_model"]
    folders = [str(SCRIPTS / folder) for folder in ("training", "export", "evaluation")]
    code = f"import sys; sys.path[:0] = {folders}\nimport {', '.join(names)}"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_tool_that_crashes_is_a_failed_process(tmp_path):
    launcher = SCRIPTS / "training" / "launch_xtuner.py"
    command = [sys.executable, str(launcher), "merge", str(tmp_path / "none"), "x", "y"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode != 0
    assert subprocess.run([sys.executable, str(launcher), "chat"]).returncode != 0
