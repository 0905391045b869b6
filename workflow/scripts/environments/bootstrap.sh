#!/bin/sh
# Make .venv, which runs Snakemake, with the first Python >= 3.11 there is. Does nothing, in a
# tenth of a second, if it is current. PYTHON=/path/to/python chooses another one.
set -eu

root=$(cd "$(dirname "$0")/../../.." && pwd)
runner=$root/workflow/scripts/environments/runner.py

if [ -x "$root/.venv/bin/python" ] && "$root/.venv/bin/python" -E -s "$runner" --check; then
    exit 0
fi

# 3.11 first: the tools' environments need it, so that no other one has to be downloaded.
# Each candidate is run, because a name in PATH may be a version manager's empty shim.
for python in ${PYTHON:-python3.11 python3 python3.12 python3.13 python}; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" -E -s "$runner"
    fi
done

found=$("${PYTHON:-python3}" --version 2>/dev/null || echo "no ${PYTHON:-python3}")
echo "make: Python 3.11 or newer is needed, and this machine has $found: install python3.11 (with its venv module), or name one with \`make PYTHON=/path/to/python3.11\`" >&2
exit 1
