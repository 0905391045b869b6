"""Writes which Python and which packages this environment really has.

Runs inside the environment that it describes, so it needs the standard library only.
"""

import argparse
import json
import platform
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any


def installed() -> dict[str, Any]:
    """{"python": version, "platform": ..., "packages": {name: version}}, names sorted."""
    packages = {}
    # reversed: of two copies of a package on sys.path, the first one is what import finds
    for distribution in reversed(list(distributions())):
        name = distribution.metadata["Name"]
        if name:  # a half-removed package has metadata without a name
            packages[name] = distribution.version
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    options = parser.parse_args(argv)
    text = json.dumps(installed(), ensure_ascii=False, indent=1) + "\n"
    options.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
