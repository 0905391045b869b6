"""What machine this is, as far as it says. Standard library only."""

import re
from pathlib import Path


def processor() -> str | None:
    """The name of the processor; None where the system does not tell."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return found[1] if found else None
