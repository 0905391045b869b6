"""`make api`: serve a model by the API that OpenAI's clients speak.

Started by launch.py, with what it found out as JSON in place of options.
"""

import json
import os
import signal
import sys

from generation import EngineError
from options import TOKEN_VARIABLE
from web_server import PortError, bind, run


def main() -> str | None:
    """Serve until told to end; returns a message on failure, as `sys.exit` takes it."""
    # with an exception what was started is ended too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    plan = json.loads(sys.argv[1])
    token = os.environ.pop(TOKEN_VARIABLE, "")
    served = []
    try:
        port = bind(plan)
        name = plan["models"][0]["name"]
        print(f"Loading {name} ...", file=sys.stderr, flush=True)
        # these import torch, for seconds
        import api_app
        import models

        models.load(plan, served)
        app = api_app.build(served[0], models.default_sampling(plan), plan["max_requests"], token)
        url = f"http://{plan['host']}:{plan['port']}/v1"
        print(f"{name} answers at {url} (Ctrl-C ends it)", file=sys.stderr, flush=True)
        run(app, port, [one.engine for one in served])
    except (PortError, EngineError) as error:
        return f"make api: {error}"
    except KeyboardInterrupt:
        return None
    finally:
        for one in served:
            one.engine.close()
    return None


if __name__ == "__main__":
    sys.exit(main())
