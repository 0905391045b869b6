#!/usr/bin/env bash
# Runs in the new environment, after the pip list of xtuner.yaml.
set -euo pipefail

# --no-deps: xtuner 0.2.0 pins transformers 4.48.0 and bitsandbytes 0.45.0 (no CPU). mmengine
# 0.10.6 is the version xtuner pins; its OpenCV requirement is met by the headless build.
pip install --no-deps xtuner==0.2.0 mmengine==0.10.6

# xtuner imports torchvision for InternVL. There is no CPU build on PyPI, and on a CPU the
# project's launcher stands in for it.
if python -c 'import sys, torch; sys.exit(torch.version.cuda is None)'; then
    pip install torchvision==0.28.0 # the one made for torch 2.13.0
fi
