"""Run a tool of XTuner 0.2.0 in this process: python launch_xtuner.py TOOL ARGUMENTS...

The `xtuner` command exits 0 when the tool it starts crashes; run as a module, the exit status is
real. On a machine with CUDA the tools run untouched. Without it, `prepare` adds what they miss.
"""

import importlib.util
import os
import runpy
import sys
import types
from enum import Enum
from functools import cache

import torch

TOOLS = {
    "train": "xtuner.tools.train",
    "pth_to_hf": "xtuner.tools.model_converters.pth_to_hf",
    "merge": "xtuner.tools.model_converters.merge",
}


def run(tool: str, arguments: list[str]) -> None:
    """Run one of TOOLS as if from the command line; whatever it raises passes through."""
    prepare()
    command_line = sys.argv
    sys.argv = [tool, *arguments]
    try:
        runpy.run_module(TOOLS[tool], run_name="__main__", alter_sys=True)
    finally:
        sys.argv = command_line


@cache
def prepare() -> None:
    """Keep XTuner off the network, and make it importable where there is no CUDA."""
    # models and data are local files: nothing may be fetched in mid-run
    os.environ["HF_HUB_OFFLINE"] = "1"
    if torch.cuda.is_available():
        return
    # imported first: they look for torchvision and must not find the stand-in
    import datasets  # noqa: F401
    import peft  # noqa: F401
    import transformers  # noqa: F401

    if importlib.util.find_spec("torchvision") is None:
        # xtuner.dataset imports it for InternVL's images; PyPI has no build of it without CUDA
        package, transforms, functional = (
            types.ModuleType(name)
            for name in (
                "torchvision",
                "torchvision.transforms",
                "torchvision.transforms.functional",
            )
        )
        functional.InterpolationMode = Enum("InterpolationMode", {"BICUBIC": "bicubic"})
        transforms.functional = functional
        transforms.InterpolationMode = functional.InterpolationMode
        package.transforms = transforms
        package.__version__ = "not installed"  # mmengine logs it
        for module in (package, transforms, functional):
            sys.modules[module.__name__] = module
    # mmengine takes a GPU for every process of a training
    torch.cuda.set_device = lambda device: None
    if not hasattr(torch.cpu, "is_bf16_supported"):
        # xtuner asks torch.DEVICE.is_bf16_supported(); only torch.cuda has it
        torch.cpu.is_bf16_supported = lambda: True


def advice(error: Exception) -> str | None:
    """What to do about an error that ended a training, None if it is none of the known ones."""
    from loss_watch import TrainingStopped

    if isinstance(error, TrainingStopped):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return (
            f"{error}\nThe GPU's memory is too small for this stage. In runs.RUN.training, in this "
            "order: lower batch_size and raise gradient_accumulation by as much; set "
            "gradient_checkpointing: true; set finetuning: qlora; lower max_length; with several "
            "GPUs, set deepspeed: zero2 or zero3."
        )
    return None


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TOOLS:
        sys.exit(f"usage: launch_xtuner.py {{{','.join(TOOLS)}}} ARGUMENTS...")
    try:
        run(sys.argv[1], sys.argv[2:])
    except Exception as error:
        if text := advice(error):
            sys.exit(f"{sys.argv[1]}: {text}")
        raise


if __name__ == "__main__":
    main()
