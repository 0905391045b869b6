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
    if not hasattr(torch.cpu, "is_bf16_supported"):
        # xtuner asks torch.DEVICE.is_bf16_supported(); only torch.cuda has it
        torch.cpu.is_bf16_supported = lambda: True


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TOOLS:
        sys.exit(f"usage: launch_xtuner.py {{{','.join(TOOLS)}}} ARGUMENTS...")
    run(sys.argv[1], sys.argv[2:])


if __name__ == "__main__":
    main()
