"""The web page as an application, with what guards it."""

import secrets
from collections.abc import Sequence

import gradio as gr
from api_app import LOCAL_NAMES
from fastapi import FastAPI
from generation import Sampling
from guards import BodyLimit, OwnContentOnly
from models import Served
from options import TOKEN_VARIABLE
from page import CSS, THEME, build
from starlette.middleware.trustedhost import TrustedHostMiddleware

LOGIN = f"密码是 {TOKEN_VARIABLE}，用户名随意 · The password is {TOKEN_VARIABLE}, the name any"


def application(
    domain: str,
    served: Sequence[Served],
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
