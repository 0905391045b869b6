"""`make web`: a chat page in the browser, the base model and the tuned one beside each other.

Started by launch.py, with what it found out as JSON in place of options.
"""

import json
import os
import secrets
import signal
import sys
from collections.abc import Sequence

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
import models
from api_app import LOCAL_NAMES
from fastapi import FastAPI
from generation import EngineError, Sampling
from guards import BodyLimit, OwnContentOnly
from options import TOKEN_VARIABLE
from page import CSS, THEME, build
from starlette.middleware.trustedhost import TrustedHostMiddleware
from web_server import PortError, bind, run

LOGIN = f"密码是 {TOKEN_VARIABLE}，用户名随意 · The password is {TOKEN_VARIABLE}, the name any"


def application(
    domain: str,
    served: Sequence[models.Served],
    default: Sampling,
    most_requests: int,
    token: str,
) -> FastAPI:
    """The page as an application.

    Args:
        domain: title of the page.
        served: the models, from left to right.
        default: how answers are drawn at first.
        most_requests: waiting at a time.
        token: password; empty: none, and only this machine may ask.
    """
    page = build(domain, served, default)
    page.queue(max_size=most_requests)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=THEME,
        css=CSS,
        footer_links=[],
        ssr_mode=False,
        auth=(lambda _, given: secrets.compare_digest(given.encode(), token.encode()))
        if token
        else None,
        auth_message=LOGIN,
    )
    app.add_middleware(BodyLimit)
    app.add_middleware(OwnContentOnly)
    if not token:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOCAL_NAMES, www_redirect=False)
    return app


def main() -> str | None:
    """Serve until told to end; returns a message on failure, as `sys.exit` takes it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    plan = json.loads(sys.argv[1])
    token = os.environ.pop(TOKEN_VARIABLE, "")
    served: list[models.Served] = []
    try:
        port = bind(plan)
        names = " and ".join(model["name"] for model in plan["models"])
        print(f"Loading {names} ...", file=sys.stderr, flush=True)
        served = models.load(plan)
        app = application(
            plan["domain"], served, models.default_sampling(plan), plan["max_requests"], token
        )
        url = f"http://{plan['host']}:{plan['port']}"
        print(f"Open {url} in a browser (Ctrl-C ends it)", file=sys.stderr, flush=True)
        run(app, port)
    except (PortError, EngineError) as error:
        return f"make web: {error}"
    except KeyboardInterrupt:
        return None
    finally:
        models.close(served)
    return None


if __name__ == "__main__":
    sys.exit(main())
