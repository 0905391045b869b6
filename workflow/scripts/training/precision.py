"""The numbers a GPU computes in where the configuration says `auto`."""

import torch

# In lazy configurations mmengine can read a name from a module, but not call a function.
# fp16 needs a scaled loss and overflows; bf16 does not. GPUs before Ampere only emulate bf16.
auto_dtype = (
    torch.bfloat16
    if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    else torch.float16
)
