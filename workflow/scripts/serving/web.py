"""`make web`: a chat page in the browser, the base model and the tuned one beside each other.

Started by launch.py, with what it found out as JSON in place of options.
"""

import os
import sys
import warnings
from typing import TYPE_CHECKING

import program
from options import TOKEN_VARIABLE
from web_server import bind, run

if TYPE_CHECKING:
    from models import Served


def serve(plan: dict, served: list["Served"]) -> None:
    """Serve until told to end."""
    # one of gradio's own, at every question
    warnings.filterwarnings("ignore", "'HTTP_422_UNPROCESSABLE_ENTITY' is deprecated")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    token = os.environ.pop(TOKEN_VARIABLE, "")
    port = bind(plan)
    names = " and ".join(model["name"] for model in plan["models"])
    print(f"Loading {names} ...", file=sys.stderr, flush=True)
    import models
    import web_app

    models.load(plan, served)
    default = models.default_sampling(plan)
    app = web_app.application(plan["domain"], served, default, plan["max_requests"], token)
    url = f"http://{plan['host']}:{plan['port']}"
    print(f"Open {url} in a browser (Ctrl-C ends it)", file=sys.stderr, flush=True)
    run(app, port, [one.engine for one in served])


if __name__ == "__main__":
    sys.exit(program.run("web", serve))
