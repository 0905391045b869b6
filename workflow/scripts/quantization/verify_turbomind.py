"""Prove that a TurboMind workspace holds exactly the AWQ model, and rebuild the model from it.

Every tensor is read back from the workspace's bytes (`workspace.py`), put into Hugging Face's
order and compared bit for bit: 4-bit levels, scales and zeros of each quantised matrix, and
embeddings, norms, biases and output matrix. Sizes, rotary base and norm epsilon in the workspace's
config.yaml must be those of the AWQ model. A file that is missing, of a wrong size or unknown is a
failure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from architectures import Architecture, architecture_of, fuse_qkv
from model_folder import Weights, copy_companions, read_config, save_weights, write_json
from packing import AWQ_ORDER, dequantize, unpack_int4
from workspace import Workspace, WorkspaceError

sys.path.insert(0, str(Path(__file__).parents[1] / "base_models"))
from limits import head_dim


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Equal dtype, shape and bits (a NaN equals itself, 0.0 differs from -0.0)."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype == torch.float16:
        left, right = left.contiguous().view(torch.int16), right.contiguous().view(torch.int16)
    return torch.equal(left, right)


def check_config(config: dict[str, Any], workspace: Workspace) -> None:
    """Raise unless the engine's configuration says what the model's configuration says."""
    heads = config["num_attention_heads"]
    layers = config["num_hidden_layers"]
    wanted = {
        "model_arch": config["architectures"][0],
        "model_format": "awq",
        "num_layer": layers,
        "hidden_units": config["hidden_size"],
        "head_num": heads,
        "kv_head_num": config.get("num_key_value_heads") or heads,
        "size_per_head": head_dim(config),
        "inter_size": [config["intermediate_size"]] * layers,
        "vocab_size": config["vocab_size"],
        "embedding_size": config["vocab_size"],
        "norm_eps": config["rms_norm_eps"],
        "group_size": config["quantization_config"]["group_size"],
    }
    attention = {
        "rope_theta": float(config["rope_theta"]),
        "rotary_embedding": head_dim(config),
        "max_position_embeddings": config["max_position_embeddings"],
    }
    scaling = config.get("rope_scaling") or {}
    attention["rope_scaling_type"] = scaling.get("rope_type") or scaling.get("type") or ""
    attention["rope_scaling_factor"] = scaling.get("factor", 0.0)
    for found, expected in ((workspace.model, wanted), (workspace.attention, attention)):
        for key, value in expected.items():
            if found.get(key) != value:
                raise WorkspaceError(
                    f"config.yaml: {key} is {found.get(key)!r}, the AWQ model has {value!r}"
                )


class Comparison:
    """Collects one row per compared tensor."""

    def __init__(self, awq: Weights) -> None:
        self.awq = awq
        self.rows: list[dict[str, Any]] = []
        self.unseen = awq.names()

    def expect(self, name: str) -> torch.Tensor:
        if name not in self.awq:
            raise WorkspaceError(f"the AWQ model has no {name}, the workspace has")
        self.unseen.discard(name)
        return self.awq[name]

    def plain(self, name: str, found: torch.Tensor) -> None:
        """Compare an unquantised tensor."""
        wanted = self.expect(name)
        self.add(name, [("weight", found, wanted)], found.numel())

    def quantized(self, name: str, found: dict[str, torch.Tensor]) -> None:
        """Compare one 4-bit matrix: levels, scales, zeros."""
        levels = unpack_int4(self.expect(f"{name}.qweight"), AWQ_ORDER)
        zeros = unpack_int4(self.expect(f"{name}.qzeros"), AWQ_ORDER).half()
        scales = self.expect(f"{name}.scales")
        parts = [
            ("qweight", found["levels"], levels),
            ("scales", found["scales"], scales),
            ("zeros", found["zeros"], zeros),
        ]
        self.add(f"{name}.weight", parts, found["levels"].numel())

    def add(
        self, name: str, parts: list[tuple[str, torch.Tensor, torch.Tensor]], values: int
    ) -> None:
        different = {}
        for kind, found, wanted in parts:
            if not same_bits(found, wanted):
                same_shape = found.shape == wanted.shape
                different[kind] = int((found != wanted).sum()) if same_shape else found.numel()
        row = {"name": name, "values": values, "quantized": len(parts) == 3}
        self.rows.append({**row, "equal": not different, "different": different})
        print(f"{name}: {'equal' if not different else f'DIFFERENT {different}'}")


def named_linears(
    architecture: Architecture, workspace: Workspace, number: int
) -> dict[str, dict[str, torch.Tensor]]:
    """The linears of a layer by their names in the model, with q, k, v fused where it has them."""
    roles = workspace.layer(number)
    qkv = [roles.pop(role) for role in "qkv"]
    if len(architecture.qkv) == 1:
        heads, size = workspace.model["kv_head_num"], workspace.head_dim
        kinds = qkv[0]
        qkv = [{kind: fuse_qkv(*(x[kind] for x in qkv), heads, size) for kind in kinds}]
    named = dict(zip(architecture.qkv, qkv, strict=True))
    return named | {getattr(architecture, role): parts for role, parts in roles.items()}


def verify(awq_folder: Path, workspace_folder: Path, dense_folder: Path | None) -> dict[str, Any]:
    """Compare a whole workspace; returns the figures and writes the model rebuilt from it."""
    config = read_config(awq_folder)
    architecture = architecture_of(config)
    workspace, awq = Workspace(workspace_folder), Weights(awq_folder)
    check_config(config, workspace)
    comparison = Comparison(awq)
    hidden, vocabulary = workspace.model["hidden_units"], workspace.model["vocab_size"]
    tied = bool(config.get("tie_word_embeddings"))

    def dense() -> Iterator[tuple[str, torch.Tensor]]:
        embeddings = workspace.read("tok_embeddings.0.weight", (vocabulary, hidden))
        comparison.plain(architecture.embeddings, embeddings)
        yield architecture.embeddings, embeddings
        norm = workspace.read("norm.weight", (hidden,))
        comparison.plain(architecture.final_norm, norm)
        yield architecture.final_norm, norm
        head = workspace.read("output.0.weight", (vocabulary, hidden))
        # With tied embeddings the engine has its own copy of the embeddings as output matrix.
        comparison.plain(architecture.embeddings if tied else architecture.head, head)
        if not tied:
            yield architecture.head, head
        for number in range(workspace.model["num_layer"]):
            layer = f"{architecture.layers}.{number}"
            files = ("attention_norm", "ffn_norm")
            for file, norm_name in zip(files, architecture.norm_to_linears, strict=True):
                tensor = workspace.read(f"layers.{number}.{file}.weight", (hidden,))
                comparison.plain(f"{layer}.{norm_name}.weight", tensor)
                yield f"{layer}.{norm_name}.weight", tensor
            for name, parts in named_linears(architecture, workspace, number).items():
                comparison.quantized(f"{layer}.{name}", parts)
                weight = dequantize(
                    parts["levels"], parts["zeros"], parts["scales"], workspace.model["group_size"]
                )
                yield f"{layer}.{name}.weight", weight.t().half()
            for role, bias in workspace.biases(number).items():
                linears = dict(zip("qkv", architecture.qkv, strict=True))
                name = f"{layer}.{linears.get(role, architecture.output)}.bias"
                if role == "output" and name not in awq:
                    # The engine wants a bias for all four or none; the converter adds zeros.
                    if bias.any():
                        raise WorkspaceError(f"layers.{number}: the output bias is not zero")
                    continue
                comparison.plain(name, bias)
                yield name, bias

    if dense_folder is None:
        for _ in dense():
            pass
    else:
        save_weights(dense(), dense_folder)
        copy_companions(workspace_folder, dense_folder)
        dense_config = read_config(workspace_folder)
        if dense_config != config:
            raise WorkspaceError("the workspace's config.json is not the AWQ model's")
        dense_config.pop("quantization_config")
        write_json(dense_folder / "config.json", {**dense_config, "torch_dtype": "float16"})
    if workspace.unread():
        raise WorkspaceError(f"unknown file {sorted(workspace.unread())[0]} in the workspace")
    if comparison.unseen:
        raise WorkspaceError(f"{sorted(comparison.unseen)[0]} of the AWQ model was not converted")
    rows = comparison.rows
    return {
        "passed": all(row["equal"] for row in rows),
        "tensors": rows,
        "summary": {
            "tensors": len(rows),
            "quantized_matrices": sum(row["quantized"] for row in rows),
            "values": sum(row["values"] for row in rows),
            "different": sum(not row["equal"] for row in rows),
            "rope_theta": workspace.attention["rope_theta"],
        },
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--awq", type=Path, required=True, help="AWQ model folder")
    parser.add_argument("--workspace", type=Path, required=True, help="TurboMind workspace")
    parser.add_argument("--report", type=Path, required=True, help="figures to write (json)")
    parser.add_argument("--dense", type=Path, help="dense float16 model folder to write")
    args = parser.parse_args(argv)
    try:
        report = verify(args.awq, args.workspace, args.dense)
    except WorkspaceError as problem:
        sys.exit(f"verify_turbomind: {problem}.")
    summary = report["summary"]
    if not report["passed"]:
        bad = next(row for row in report["tensors"] if not row["equal"])
        sys.exit(
            f"verify_turbomind: {summary['different']} of {summary['tensors']} tensors differ from "
            f"the AWQ model, first {bad['name']} ({bad['different']})."
        )
    write_json(args.report, report)
    print(
        f"verify_turbomind: {summary['tensors']} tensors ({summary['quantized_matrices']} "
        f"quantised matrices, {summary['values']} values) are equal bit for bit"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
