#!/usr/bin/env bash
# Runs in the new environment, after the pip list of lmdeploy.yaml.
set -euo pipefail

# --no-deps: it asks for torch<=2.6.0, torchvision<=0.21.0, peft<=0.14.0 and numpy<2.
pip install --no-deps lmdeploy==0.7.3

# The engine of 0.7.3 is linked with CUDA 12 and looks for it in nvidia/*/lib of this
# environment; torch 2.13.0 from PyPI brings CUDA 13, whose files lie elsewhere, so both fit side
# by side. These are the versions of torch 2.6.0, for which 0.7.3 was released. NCCL is left
# out: torch's own lies in the same place under the same name and serves both.
if python -c 'import sys, torch; sys.exit(not (torch.version.cuda or "").startswith("13."))'; then
    pip install --no-deps nvidia-cublas-cu12==12.4.5.8 nvidia-cuda-runtime-cu12==12.4.127 \
        nvidia-curand-cu12==10.3.5.147
fi
