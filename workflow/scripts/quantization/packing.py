"""Layouts of 4-bit weights: AWQ "gemm" (lmdeploy's lite) and TurboMind.

AWQ gemm (lmdeploy/lite/quantization/modules/linear.py, ``pack_order``; read back by
lmdeploy/turbomind/deploy/policy.py ``unpack_awq_gemm``): a linear of (out, in) weights is stored
transposed. ``qweight`` is int32 of shape (in, out / 8); bits 4i..4i+3 of word c hold column
``8 c + [0, 2, 4, 6, 1, 3, 5, 7][i]``. ``qzeros`` is (in / group, out / 8) in the same order,
``scales`` is float16 (in / group, out). ``weight = (q - zero) * scale``.

TurboMind (lmdeploy/turbomind/deploy/parameter.py ``pack_u4_row``): bits 4i..4i+3 of word c hold
column ``8 c + i``; zeros are float16.
"""

from __future__ import annotations

import torch

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
PLAIN_ORDER = (0, 1, 2, 3, 4, 5, 6, 7)


def unpack_int4(words: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    """int32 (rows, n) -> uint8 (rows, 8 n) of values 0..15; `order[i]` = column of nibble i."""
    if words.dtype != torch.int32:
        raise ValueError(f"packed 4-bit words must be int32, not {words.dtype}")
    columns = torch.empty((*words.shape, 8), dtype=torch.uint8)
    for nibble, column in enumerate(order):
        # The shift is arithmetic; the mask removes the copies of the sign bit.
        columns[..., column] = ((words >> (4 * nibble)) & 15).to(torch.uint8)
    return columns.reshape(words.shape[0], -1)


def pack_int4(values: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    """Inverse of `unpack_int4`: uint8 (rows, 8 n) -> int32 (rows, n)."""
    columns = values.reshape(values.shape[0], -1, 8).to(torch.int64)
    words = torch.zeros(columns.shape[:-1], dtype=torch.int64)
    for nibble, column in enumerate(order):
        words |= columns[..., column] << (4 * nibble)
    # Words with the top bit set are negative int32 numbers.
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def dequantize(
    levels: torch.Tensor, zeros: torch.Tensor, scales: torch.Tensor, group_size: int
) -> torch.Tensor:
    """``(q - z) * s`` in float32.

    levels: (in, out), 0..15; zeros, scales: (in / group_size, out). Returns (in, out).
    """
    rows, columns = levels.shape
    if rows % group_size or zeros.shape != (rows // group_size, columns):
        raise ValueError(
            f"zeros of shape {tuple(zeros.shape)} do not fit levels of shape {(rows, columns)} "
            f"in groups of {group_size}"
        )
    grouped = levels.reshape(-1, group_size, columns).float()
    weights = (grouped - zeros.float()[:, None, :]) * scales.float()[:, None, :]
    return weights.reshape(rows, columns)
