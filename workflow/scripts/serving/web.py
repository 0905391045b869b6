"""`make web`: a chat page in the browser, the base model and the tuned one beside each other.

Started by launch.py, with what it found out as JSON in place of options.
"""

import json
import os
import signal
import sys
import warnings

from generation import EngineError
from options import TOKEN_VARIABLE
from web_server import PortError, bind, run


def main() -> str | None:
    """Serve until told to end; returns a message on failure, as `sys.exit` takes it."""
    # with an exception what was started is ended too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # one of gradio's own, at every question
    warnings.filterwarnings("ignore", "'HTTP_422_UNPROCESSABLE_ENTITY' is deprecated")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    plan = json.loads(sys.argv[1])
    token = os.environ.pop(TOKEN_VARIABLE, "")
    served = []
    try:
        port = bind(plan)
        names = " and ".join(model["name"] for model in plan["models"])
        print(f"Loading {names} ...", file=sys.stderr, flush=True)
        # these import torch and gradio, for seconds
        import models
        import web_app

        models.load(plan, served)
        default = models.default_sampling(plan)
        app = web_app.application(plan["domain"], served, default, plan["max_requests"], token)
        url = f"http://{plan['host']}:{plan['port']}"
        print(f"Open {url} in a browser (Ctrl-C ends it)", file=sys.stderr, flush=True)
        run(app, port, [one.engine for one in served])
    except (PortError, EngineError) as error:
        return f"make web: {error}"
    except KeyboardInterrupt:
        return None
    finally:
        for one in served:
            one.engine.close()
    return None


if __name__ == "__main__":
    sys.exit(main())
