"""The 4-bit layouts, against numbers worked out by hand."""

import pytest
import torch
from architectures import fuse_qkv
from packing import AWQ_ORDER, PLAIN_ORDER, dequantize, pack_int4, unpack_int4
from workspace import undo_interleave

# Columns 0..7 hold the values 0..7. Nibbles from low to high are columns 0 2 4 6 1 3 5 7 (AWQ)
# and 0 1 2 3 4 5 6 7 (TurboMind); hexadecimal shows the highest nibble first.
COUNTING = torch.arange(8, dtype=torch.uint8).reshape(1, 8)


@pytest.mark.parametrize(
    ("order", "word"), [(AWQ_ORDER, 0x75316420), (PLAIN_ORDER, 0x76543210)], ids=["awq", "plain"]
)
def test_one_word(order, word):
    assert pack_int4(COUNTING, order).tolist() == [[word]]
    assert unpack_int4(torch.tensor([[word]], dtype=torch.int32), order).tolist() == [[*range(8)]]


def test_negative_words():
    values = torch.full((1, 8), 15, dtype=torch.uint8)
    assert pack_int4(values, AWQ_ORDER).tolist() == [[-1]]
    assert unpack_int4(torch.tensor([[-(2**31)]], dtype=torch.int32), PLAIN_ORDER).tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 8]
    ]


@pytest.mark.parametrize("order", [AWQ_ORDER, PLAIN_ORDER])
def test_round_trip(order):
    values = torch.randint(0, 16, (33, 64), generator=torch.Generator().manual_seed(1))
    values = values.to(torch.uint8)
    assert torch.equal(unpack_int4(pack_int4(values, order), order), values)


def test_unpack_refuses_other_types():
    with pytest.raises(ValueError, match="int32"):
        unpack_int4(torch.zeros(1, 1, dtype=torch.int64), AWQ_ORDER)


def test_dequantize():
    levels = torch.tensor([[0, 15], [8, 1], [3, 3], [4, 0]], dtype=torch.uint8)
    zeros = torch.tensor([[8, 1], [0, 3]], dtype=torch.uint8)
    scales = torch.tensor([[0.5, 2.0], [1.0, 0.25]], dtype=torch.float16)
    expected = [[-4.0, 28.0], [0.0, 0.0], [3.0, 0.0], [4.0, -0.75]]
    assert dequantize(levels, zeros, scales, 2).tolist() == expected
    with pytest.raises(ValueError, match="groups of 4"):
        dequantize(levels, zeros, scales, 4)


def test_undo_interleave():
    # two heads of four channels; the engine pairs channel i with i + 2
    engine = torch.tensor([[0, 2, 1, 3, 10, 12, 11, 13]])
    assert undo_interleave(engine, 4).tolist() == [[0, 1, 2, 3, 10, 11, 12, 13]]


def test_fuse_qkv():
    # four query heads, two key/value heads, head_dim 1: heads 0 1 share key 0, 2 3 share key 1
    q, k, v = torch.tensor([0, 1, 2, 3]), torch.tensor([10, 11]), torch.tensor([20, 21])
    fused = fuse_qkv(q, k, v, kv_heads=2, head_dim=1)
    assert fused.tolist() == [0, 1, 10, 20, 2, 3, 11, 21]
