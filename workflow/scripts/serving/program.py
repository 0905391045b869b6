"""What the three programs have in common: their plan, and an end in order."""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

from generation import CannotRun

if TYPE_CHECKING:  # imports torch, for seconds
    from models import Served


def run(name: str, body: Callable[[dict, list["Served"]], None]) -> str | None:
    """Run a program; returns a message on failure, as `sys.exit` takes it.

    Args:
        name: as in `make NAME`.
        body: is given the plan of launch.py, and an empty list for the models that it loads, which
            are closed in the end, however it ends.
    """
    # with an exception what was started is ended too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # a shell's background jobs inherit that Ctrl-C is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    plan = json.loads(sys.argv[1])
    served: list[Served] = []
    # transformers copies the code of a model that brings its own to one place for all processes,
    # under the bare name of the model's folder; it reads this when it is imported
    with tempfile.TemporaryDirectory(prefix="modules-") as modules:
        os.environ["HF_MODULES_CACHE"] = modules
        try:
            body(plan, served)
        except CannotRun as error:
            return f"make {name}: {error}"
        except KeyboardInterrupt:
            return None
        finally:
            for one in served:
                one.engine.close()
    return None
