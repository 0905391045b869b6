"""Prove that an AWQ model is the merged model rounded to 4 bits, and nothing else.

What lmdeploy 0.7.3 does (lmdeploy/lite/quantization/awq.py), all in float16:

    smooth_ln_fcs   norm' = norm / s          W' = W * s[None, :]       for the linears after a norm
    smooth_fc_fcs   W1'   = W1 / t[:, None]   W2' = W2 * t[None, :]     for v -> o and up -> down
    pseudo_quantize_tensor, per row and group of 128 inputs
                    scale = (max - min) / 15  zero = clamp(round(-min / scale), 0, 15)
                    q     = clamp(round(W' / scale) + zero, 0, 15)

(W is (out, in), fp16 of the merged weight; 0.7.3 leaves v -> o alone when v has fewer outputs than
o has inputs, i.e. with grouped key/value heads.) The factors s and t cancel in exact arithmetic, so
the model's function is kept up to rounding **if** the same factor is on both sides. So this is
what is checked:

* s is read off the norms, ``norm / norm'``, and used for every linear behind that norm;
* t is stored nowhere. Each weight allows an interval of t for which it is within half a step; the
  check is that *one* t per channel lies in all intervals of its row of the first linear and its
  column of the second;
* then for every weight ``|(q - zero) * scale - W'| <= allowed * scale`` with ``allowed`` half a
  step plus the float16 rounding derived at `allowed_error`;
* everything that is not quantised is equal bit for bit, nothing is missing, nothing is extra, and
  the configuration agrees, with rope_theta at its top level.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from architectures import Architecture, architecture_of
from model_folder import Weights, copy_companions, read_config, save_weights, write_json
from packing import AWQ_ORDER, dequantize, unpack_int4

PARTS = ("qweight", "qzeros", "scales")
UNIT = 2.0**-11  # unit roundoff of float16 (11 significant bits)
SMALLEST = 2.0**-25  # half of the spacing of float16 numbers below 2**-14
# What may differ between the two configurations.
FREE_CONFIG = {
    "_name_or_path",
    "dtype",
    "quantization_config",
    "torch_dtype",
    "transformers_version",
}


class Mismatch(Exception):
    """The AWQ model is not the merged model in 4 bits; the message says where."""


def allowed_error(distance: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Largest honest rounding error of a weight, in steps.

    distance: |q - zero| of each weight; scales: its step. Rounding to the nearest level gives 1/2.
    On top of that come roundings of float16 with relative error u = 2**-11 each. With x the weight
    in steps (|x| <= distance + 1):

    * W * s, (W * s) / t, their quotient by `scale`, and s itself, which is known only from a
      rounded norm', and that norm's weight: at most 5 u |x|;
    * `max - min` and its 15th part: the 15 steps may fall short of the group's range by 15 * 2 u,
      by which its largest weight is clamped;
    * below 2**-14 float16 has an absolute error of 2**-25 instead of a relative one, on the same
      5 values and on the scale (times 15).
    """
    return 0.5 + UNIT * (30 + 5 * (distance + 1)) + 20 * SMALLEST / scales


class QuantizedLinear:
    """One linear of the AWQ model, dequantised; all matrices are (out, in), float32."""

    def __init__(self, weights: Weights, name: str, group_size: int) -> None:
        self.name = name
        levels = unpack_int4(weights[f"{name}.qweight"], AWQ_ORDER)
        zeros = unpack_int4(weights[f"{name}.qzeros"], AWQ_ORDER)
        scales = weights[f"{name}.scales"]
        if scales.dtype != torch.float16:
            raise Mismatch(f"{name}.scales is {scales.dtype}, not float16")
        if not (torch.isfinite(scales).all() and (scales > 0).all()):
            raise Mismatch(f"{name}.scales has values that are not positive numbers")
        if scales.shape != zeros.shape or levels.shape[0] != scales.shape[0] * group_size:
            raise Mismatch(
                f"{name}: qweight {tuple(levels.shape)}, qzeros {tuple(zeros.shape)} and scales "
                f"{tuple(scales.shape)} do not fit groups of {group_size}"
            )
        self.weight = dequantize(levels, zeros, scales, group_size).t().contiguous()
        self.step = scales.float().repeat_interleave(group_size, 0).t().contiguous()
        wide_zeros = zeros.repeat_interleave(group_size, 0).int()
        distance = (levels.int() - wide_zeros).abs().float().t()
        self.allowed = allowed_error(distance, self.step)

    def intervals(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Smallest and largest smoothed weight that may have been rounded to each entry."""
        slack = self.allowed * self.step
        return self.weight - slack, self.weight + slack


def norm_factor(before: torch.Tensor, after: torch.Tensor, name: str) -> torch.Tensor:
    """The smoothing factor s of each channel, from a norm before and after (both fp16)."""
    before, after = before.float(), after.float()
    zero = before == 0
    # smooth_ln_fcs sets s = 1 where the norm is zero.
    if (after[zero] != 0).any() or (after[~zero] == 0).any():
        raise Mismatch(f"{name}: zero in only one of the two models")
    factor = torch.where(zero, torch.ones_like(before), before / after)
    if not torch.isfinite(factor).all() or (factor <= 0).any():
        raise Mismatch(f"{name}: the smoothing factors are not positive numbers")
    return factor


def factor_bounds(
    weight: torch.Tensor, lowest: torch.Tensor, highest: torch.Tensor, dim: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Range of f > 0 per channel with ``lowest <= weight * f <= highest`` along `dim`.

    A zero weight says nothing about f.
    """
    infinite = torch.full_like(weight, torch.inf)
    left, right = lowest / weight, highest / weight
    bottom = torch.where(weight == 0, -infinite, torch.minimum(left, right))
    top = torch.where(weight == 0, infinite, torch.maximum(left, right))
    return bottom.amax(dim), top.amin(dim)


def chain_factor(
    first: torch.Tensor,
    first_quantized: QuantizedLinear,
    second: torch.Tensor,
    second_quantized: QuantizedLinear,
    biases: tuple[torch.Tensor, torch.Tensor] | None,
) -> torch.Tensor:
    """One factor t per channel between two linears, the middle of what every weight allows.

    first: (channels, in), second: (out, channels), before this smoothing; biases: the first
    linear's bias before and after, which is divided by t too. Where the intervals do not meet, t
    is what one linear asks for, and the comparison that follows finds the other one wrong.
    """
    inverse_low, inverse_high = factor_bounds(first, *first_quantized.intervals(), dim=1)
    if biases is not None:
        before, after = biases[0].float()[:, None], biases[1].float()[:, None]
        slack = 2 * UNIT * after.abs() + SMALLEST
        bounds = factor_bounds(before, after - slack, after + slack, dim=1)
        inverse_low = torch.maximum(inverse_low, bounds[0])
        inverse_high = torch.minimum(inverse_high, bounds[1])
    # The first linear is W1 * (1 / t). A bound that is not positive does not restrict t > 0.
    by_first = (1 / inverse_high, torch.where(inverse_low > 0, 1 / inverse_low, torch.inf))
    by_second = factor_bounds(second, *second_quantized.intervals(), dim=0)

    def middle(low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        low, high = low.clamp(1e-6, 1e6), high.clamp(1e-6, 1e6)
        return (low * high).sqrt(), low <= high

    factor, possible = middle(
        torch.maximum(by_first[0], by_second[0]), torch.minimum(by_first[1], by_second[1])
    )
    for bounds in (by_first, by_second):
        alone, alone_possible = middle(*bounds)
        factor = torch.where(possible, factor, alone)
        possible = possible | alone_possible
    return factor


def compare_linear(expected: torch.Tensor, linear: QuantizedLinear) -> dict[str, Any]:
    """Figures of one matrix; errors are in steps (multiples of the weight's own scale)."""
    if expected.shape != linear.weight.shape:
        raise Mismatch(
            f"{linear.name}: shape {tuple(linear.weight.shape)}, merged model has "
            f"{tuple(expected.shape)}"
        )
    error = (linear.weight - expected).abs() / linear.step
    outside = error > linear.allowed
    return {
        "name": f"{linear.name}.weight",
        "shape": list(expected.shape),
        "max_error_steps": error.max().item(),
        "mean_error_steps": error.mean().item(),
        "max_allowed_steps": linear.allowed.max().item(),
        "max_excess_steps": (error - linear.allowed).max().item(),
        "mean_step": linear.step.mean().item(),
        "weights": expected.numel(),
        "outside": int(outside.sum()),
    }


def expected_names(merged: Weights, architecture: Architecture, config: dict[str, Any]) -> set[str]:
    """Names the AWQ model must have, no more and no less."""
    names = set()
    linears = {
        f"{architecture.layers}.{layer}.{linear}.weight"
        for layer in range(config["num_hidden_layers"])
        for linear in architecture.linears
    }
    missing = linears - merged.names()
    if missing:
        raise Mismatch(f"the merged model has no {sorted(missing)[0]}")
    for name in merged.names():
        if name == architecture.head and config.get("tie_word_embeddings"):
            continue
        if name in linears:
            names.update(f"{name.removesuffix('weight')}{part}" for part in PARTS)
        else:
            names.add(name)
    return names


def check_names(found: set[str], expected: set[str], where: Path) -> None:
    """Raise unless both sets of tensor names are the same."""
    if expected - found:
        raise Mismatch(f"{where}: tensor {sorted(expected - found)[0]} is missing")
    if found - expected:
        raise Mismatch(f"{where}: unknown tensor {sorted(found - expected)[0]}")


def check_config(merged: dict[str, Any], quantized: dict[str, Any]) -> None:
    """Raise unless the AWQ configuration is the merged one plus its quantisation."""
    if "rope_theta" not in quantized:
        raise Mismatch("config.json of the AWQ model has no top-level rope_theta")
    for key in sorted((merged.keys() | quantized.keys()) - FREE_CONFIG):
        # A key that transformers adds with a null default says nothing.
        if merged.get(key) != quantized.get(key):
            raise Mismatch(
                f"config.json: {key} is {quantized.get(key)!r} in the AWQ model and "
                f"{merged.get(key)!r} in the merged model"
            )
    scheme = quantized.get("quantization_config") or {}
    wanted = {"quant_method": "awq", "version": "gemm", "bits": 4, "zero_point": True}
    for key, value in wanted.items():
        if scheme.get(key) != value:
            raise Mismatch(f"quantization_config: {key} is {scheme.get(key)!r}, not {value!r}")


def check_layer(
    layer: str, merged: Weights, awq: Weights, architecture: Architecture, group_size: int
) -> Iterator[tuple[dict[str, Any], QuantizedLinear]]:
    """Figures and dequantised matrix of every linear of one layer.

    Raises `Mismatch` for what needs no figure: norms and biases.
    """
    expected: dict[str, torch.Tensor] = {}
    linears: dict[str, QuantizedLinear] = {}
    for norm, names in architecture.norm_to_linears.items():
        name = f"{layer}.{norm}.weight"
        factor = norm_factor(merged[name].half(), awq[name], name)
        for linear in names:
            expected[linear] = merged[f"{layer}.{linear}.weight"].half().float() * factor
    for linear in (architecture.output, architecture.down):
        expected[linear] = merged[f"{layer}.{linear}.weight"].half().float()
    for name, matrix in expected.items():
        linears[name] = QuantizedLinear(awq, f"{layer}.{name}", group_size)
        if linears[name].weight.shape != matrix.shape:
            raise Mismatch(
                f"{layer}.{name}: shape {tuple(linears[name].weight.shape)}, merged model has "
                f"{tuple(matrix.shape)}"
            )

    smoothed_biases = set()
    for first, second in architecture.chains.items():
        if expected[first].shape[0] != expected[second].shape[1]:
            continue  # grouped key/value heads: not smoothed
        bias = f"{layer}.{first}.bias"
        biases = (merged[bias].half(), awq[bias]) if bias in merged else None
        factor = chain_factor(
            expected[first], linears[first], expected[second], linears[second], biases
        )
        expected[first] = expected[first] / factor[:, None]
        expected[second] = expected[second] * factor
        if biases is not None:
            smoothed_biases.add(bias)
            wanted, found = biases[0].float() / factor, biases[1].float()
            if ((found - wanted).abs() > 4 * UNIT * wanted.abs() + 2 * SMALLEST).any():
                raise Mismatch(f"{bias} was not divided by the factor of {layer}.{second}")
    for name in expected:
        bias = f"{layer}.{name}.bias"
        if bias in merged and bias not in smoothed_biases:
            check_equal(bias, merged, awq)
        yield compare_linear(expected[name], linears[name]), linears[name]


def check_equal(name: str, merged: Weights, awq: Weights) -> None:
    """Raise unless an unquantised tensor is the merged one in float16, bit for bit."""
    wanted, found = merged[name].half(), awq[name]
    if found.dtype != torch.float16 or found.shape != wanted.shape:
        raise Mismatch(f"{name}: {found.dtype} {tuple(found.shape)}, expected {wanted.dtype}")
    if not torch.equal(found.view(torch.int16), wanted.view(torch.int16)):
        raise Mismatch(f"{name} differs from the merged model")


def verify(merged_folder: Path, awq_folder: Path, dense_folder: Path | None) -> dict[str, Any]:
    """Check a whole AWQ model; returns the figures and writes its dense read-back.

    Raises `Mismatch` for a difference that is not a matter of tolerance.
    """
    config, awq_config = read_config(merged_folder), read_config(awq_folder)
    architecture = architecture_of(config)
    check_config(config, awq_config)
    group_size = awq_config["quantization_config"]["group_size"]
    merged, awq = Weights(merged_folder), Weights(awq_folder)
    check_names(awq.names(), expected_names(merged, architecture, config), awq_folder)

    figures: list[dict[str, Any]] = []

    def dense() -> Iterator[tuple[str, torch.Tensor]]:
        for name in (architecture.embeddings, architecture.final_norm, architecture.head):
            if name in awq:
                check_equal(name, merged, awq)
                yield name, awq[name]
        for number in range(config["num_hidden_layers"]):
            layer = f"{architecture.layers}.{number}"
            for norm in architecture.norm_to_linears:
                yield f"{layer}.{norm}.weight", awq[f"{layer}.{norm}.weight"]
            for figure, linear in check_layer(layer, merged, awq, architecture, group_size):
                figures.append(figure)
                print(
                    f"{figure['name']}: max {figure['max_error_steps']:.4f} mean "
                    f"{figure['mean_error_steps']:.4f} steps of {figure['mean_step']:.3g}, "
                    f"{figure['outside']} of {figure['weights']} outside"
                )
                yield figure["name"], linear.weight.half()
                if f"{linear.name}.bias" in awq:
                    yield f"{linear.name}.bias", awq[f"{linear.name}.bias"]

    if dense_folder is None:
        for _ in dense():
            pass
    else:
        save_weights(dense(), dense_folder)
        copy_companions(awq_folder, dense_folder)
        dense_config = {k: v for k, v in awq_config.items() if k != "quantization_config"}
        write_json(dense_folder / "config.json", {**dense_config, "torch_dtype": "float16"})

    weights = sum(figure["weights"] for figure in figures)
    worst = max(figures, key=lambda figure: figure["max_error_steps"])
    return {
        "passed": all(figure["outside"] == 0 for figure in figures),
        "tensors": figures,
        "summary": {
            "matrices": len(figures),
            "weights": weights,
            "group_size": group_size,
            "max_error_steps": worst["max_error_steps"],
            "worst_matrix": worst["name"],
            "mean_error_steps": sum(f["mean_error_steps"] * f["weights"] for f in figures)
            / weights,
            "max_excess_steps": max(figure["max_excess_steps"] for figure in figures),
            "outside": sum(figure["outside"] for figure in figures),
            "rope_theta": awq_config["rope_theta"],
        },
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--merged", type=Path, required=True, help="merged model folder")
    parser.add_argument("--awq", type=Path, required=True, help="AWQ model folder")
    parser.add_argument("--report", type=Path, required=True, help="figures to write (json)")
    parser.add_argument("--dense", type=Path, help="dense float16 model folder to write")
    args = parser.parse_args(argv)
    try:
        report = verify(args.merged, args.awq, args.dense)
    except Mismatch as problem:
        sys.exit(f"verify_awq: {problem}.")
    summary = report["summary"]
    if not report["passed"]:
        bad = next(figure for figure in report["tensors"] if figure["outside"])
        sys.exit(
            f"verify_awq: {bad['outside']} weights of {bad['name']} are farther from the merged "
            f"model than rounding to 4 bits explains (up to {bad['max_error_steps']:.3f} steps)."
        )
    write_json(args.report, report)
    print(
        f"verify_awq: {summary['weights']} weights in {summary['matrices']} matrices agree, max "
        f"error {summary['max_error_steps']:.4f} steps, mean {summary['mean_error_steps']:.4f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
