# Snakemake and all environments of the workflow, without the workflow itself: that is the clone
# one works in, mounted where the container starts. README.md says how to build and run it.
FROM debian:12.11-slim

# git and make: what the README asks for. The compiler: Triton builds its kernels on the GPU machine.
# hadolint ignore=DL3008 # an exact version is gone from Debian's mirrors with its next update
RUN apt-get update \
    && apt-get install --no-install-recommends --yes \
        ca-certificates gcc git libc6-dev make python3.11-dev python3.11-venv \
    && rm -rf /var/lib/apt/lists/*

# The build of PyTorch; it is part of an environment's name, so it must stay the same when run.
ARG UV_TORCH_BACKEND=cpu
ENV UV_TORCH_BACKEND=$UV_TORCH_BACKEND \
    FINETUNE_ENV_STORE=/opt/finetune/.envs \
    PATH=/opt/finetune/.venv/bin:$PATH

WORKDIR /opt/finetune
COPY requirements.txt ./
COPY envs envs
COPY workflow/scripts/environments workflow/scripts/environments
# Byte code is compiled now: whoever runs the container may not write here. The cache goes in the
# same step that fills it, whose packages are hard links into it.
RUN sh workflow/scripts/environments/bootstrap.sh \
    && UV_COMPILE_BYTECODE=1 python workflow/scripts/environments/environments.py ensure \
    && rm -rf ~/.cache

# A user that the container does not know has no name and no home, and PyTorch asks for both.
ENV HOME=/tmp USER=finetune
CMD ["snakemake", "--version"]
