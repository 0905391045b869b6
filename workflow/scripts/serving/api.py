"""`make api`: serve a model by the API that OpenAI's clients speak.

Started by launch.py, with what it found out as JSON in place of options.
"""

import os
import sys
from typing import TYPE_CHECKING

import program
from options import TOKEN_VARIABLE
from web_server import bind, run

if TYPE_CHECKING:
    from models import Served


def serve(plan: dict, served: list["Served"]) -> None:
    """Serve until told to end."""
    token = os.environ.pop(TOKEN_VARIABLE, "")
    port = bind(plan)
    name = plan["models"][0]["name"]
    print(f"Loading {name} ...", file=sys.stderr, flush=True)
    import api_app
    import models

    models.load(plan, served)
    app = api_app.build(served[0], models.default_sampling(plan), plan["max_requests"], token)
    url = f"http://{plan['host']}:{plan['port']}/v1"
    print(f"{name} answers at {url} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    run(app, port, [one.engine for one in served])


if __name__ == "__main__":
    sys.exit(program.run("api", serve))
