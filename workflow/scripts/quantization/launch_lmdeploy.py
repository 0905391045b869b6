"""Run lmdeploy's own command line in this process, with or without a GPU.

What the launcher adds to the bare tool (lmdeploy 0.7.3):

* on a machine without CUDA, three stand-ins (``install_cpu_stand_ins``) and a shorter calibration
  with the same result (``observe_only_what_awq_reads``); with CUDA nothing of that is done;
* the domain's own text as calibration set (see ``calibration.py``): 0.7.3 only accepts the names
  of a few data sets of the model hub;
* an honest exit status: besides exceptions, a message logged at ERROR level or a product that is
  missing afterwards (``expect``) is a failure. The bare tool prints its help and exits 0 when
  the sub-command is missing.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
import types
from pathlib import Path


def install_cpu_stand_ins() -> None:
    """Make lmdeploy's Python side usable where torch sees no CUDA device."""
    import torch

    # `lmdeploy.turbomind` imports its compiled engine, which links against CUDA libraries. The
    # converter is pure torch and only names the engine's classes in annotations and defaults.
    engine = types.ModuleType("_turbomind")

    def engine_attribute(name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})

    engine.__getattr__ = engine_attribute  # type: ignore[method-assign]
    sys.modules["_turbomind"] = engine

    # The converter moves every tensor to the GPU before re-ordering it
    # (turbomind/deploy/policy.py); the re-ordering itself does not care where the tensor is.
    torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]

    # Asked of the first CUDA device, which raises without one. It only decides whether bf16
    # weights are stored as bf16, which a CPU can do.
    import lmdeploy.utils

    lmdeploy.utils.is_bf16_supported = lambda *args, **kwargs: True


def observe_only_what_awq_reads() -> None:
    """On CPU, leave out the statistics that `auto_awq` collects and never looks at.

    Its calibration takes minimum, maximum, mean, absolute mean and a NaN count of the inputs and
    outputs of every linear, all in float16, which a CPU has to emulate: most of the run time.
    Without --search-scale only the largest absolute input is read (lmdeploy/lite/apis/auto_awq.py:
    ``act_scales = input_stats['absmax']``), so the quantised model is the same bit for bit.
    """
    import torch
    from lmdeploy.lite.quantization.activation.observer import ActivationObserver
    from lmdeploy.lite.quantization.calibration import CalibrationContext

    @torch.no_grad()
    def observe(self: ActivationObserver, x: torch.Tensor, save_input: bool = False) -> None:
        largest = x.flatten(0, -2).abs().amax(0).cpu()
        # a NaN anywhere makes the maximum NaN: the same refusal as the original's
        assert not torch.isnan(largest).any(), "the model gives NaN on the calibration text"
        self.absmax_val = torch.maximum(self.absmax_val, largest)

    ActivationObserver.observe = observe
    CalibrationContext._insert_output_observers = lambda self: None


class ErrorCounter(logging.Handler):
    """Counts what a logger reports at ERROR level or above."""

    def __init__(self) -> None:
        super().__init__(level=logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def use_calibration_text(path: Path, seed: int) -> None:
    """Replace lmdeploy's closed list of calibration sets by windows of the given conversations.

    ``get_calib_loaders`` of 0.7.3 returns ``(list of (inputs, targets), test set)``, of which
    ``calibrate`` only uses the inputs (lmdeploy/lite/apis/calibrate.py).
    """
    import lmdeploy.lite.apis.calibrate as calibrate
    import torch
    from calibration import calibration_windows

    def domain_loaders(
        name: str, tokenizer: object, nsamples: int = 128, seqlen: int = 2048, **_: object
    ) -> tuple[list[torch.Tensor], None]:
        windows = calibration_windows(path, tokenizer, samples=nsamples, length=seqlen, seed=seed)
        return [torch.tensor([ids], dtype=torch.long) for ids in windows], None

    calibrate.get_calib_loaders = domain_loaders


def launch(
    arguments: list[str],
    *,
    calibration: Path | None = None,
    seed: int = 0,
    expect: list[Path] | None = None,
) -> int:
    """Run ``lmdeploy ARGUMENTS`` here and return the exit status it deserves (0 = success)."""
    # A misspelt local path would otherwise be looked up on the model hub.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    if not torch.cuda.is_available():
        print("launch_lmdeploy: no CUDA device, using the CPU stand-ins", flush=True)
        install_cpu_stand_ins()
        if "--search-scale" in arguments:
            # auto_scale_block keeps its backup of the weights with `.cpu()`, which copies nothing
            # on a CPU, and then scales the "backup" too.
            sys.exit("launch_lmdeploy: --search-scale silently corrupts the weights on a CPU.")
        if arguments[:2] == ["lite", "auto_awq"]:
            observe_only_what_awq_reads()
    if calibration is not None:
        use_calibration_text(calibration, seed)

    from lmdeploy.cli.entrypoint import run
    from lmdeploy.utils import get_logger

    errors = ErrorCounter()
    get_logger("lmdeploy").addHandler(errors)
    previous = sys.argv
    sys.argv = ["lmdeploy", *arguments]
    try:
        run()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        if stop.code not in (None, 0):
            return stop.code if isinstance(stop.code, int) else 1
    except Exception:
        # The tool's own trace is the only description of what went wrong inside it.
        traceback.print_exc()
        print(f"launch_lmdeploy: `lmdeploy {' '.join(arguments)}` failed", file=sys.stderr)
        return 1
    finally:
        sys.argv = previous
        get_logger("lmdeploy").removeHandler(errors)
    if errors.messages:
        print(f"launch_lmdeploy: lmdeploy logged an error: {errors.messages[0]}", file=sys.stderr)
        return 1
    missing = [str(path) for path in expect or [] if not path.exists()]
    if missing:
        print(f"launch_lmdeploy: lmdeploy did not write {', '.join(missing)}", file=sys.stderr)
        return 1
    return 0
