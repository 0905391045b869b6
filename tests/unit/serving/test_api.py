"""The API: what it answers, what it refuses, and how it ends."""

import asyncio
import json
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import api_app
import pytest
from conftest import client, free_port, in_environment, is_free, load, plan_of
from generation import EngineError, Sampling
from guards import MAX_BODY, BodyLimit
from models import Served
from starlette.testclient import TestClient

TOKEN = "a-secret-of-some-length"
CHAT = "/v1/chat/completions"
QUESTION = [{"role": "user", "content": "第5号城市叫什么？"}]


def app_of(served, token="", most=4):
    app = api_app.build(served, Sampling(0.0, 1.0, 12), most, token)
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


def events_of(response):
    lines = [line for line in response.text.splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def error_of(response, status):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_answer_in_one_and_as_a_stream_are_the_same(served):
    app = app_of(served)
    whole = app.post(CHAT, json={"messages": QUESTION}).json()
    body = {"messages": QUESTION, "stream": True, "stream_options": {"include_usage": True}}
    response = app.post(CHAT, json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, usage = events_of(response)
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert text == whole["choices"][0]["message"]["content"] != ""
    assert len(events) > 3
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]] == [None] * (
        len(events) - 1
    )
    assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == []
    assert usage["usage"] == whole["usage"]
    assert whole["usage"]["completion_tokens"] == 12
    assert whole["object"] == "chat.completion"
    assert whole["model"] == "mine/tuned"


def test_models(served):
    (model,) = app_of(served).get("/v1/models").json()["data"]
    assert model["id"] == "mine/tuned"


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
def test_max_tokens(key, served):
    response = app_of(served).post(CHAT, json={"messages": QUESTION, key: 3}).json()
    assert response["usage"]["completion_tokens"] == 3


def test_an_answer_is_no_longer_than_the_context(served):
    question = [{"role": "user", "content": "城" * 2000}]
    response = app_of(served).post(CHAT, json={"messages": question, "max_tokens": 400}).json()
    assert response["usage"]["total_tokens"] == 2048
    assert response["choices"][0]["finish_reason"] == "length"


def test_stop_word_ends_the_answer(served):
    app = app_of(served)
    text = app.post(CHAT, json={"messages": QUESTION}).json()["choices"][0]["message"]["content"]
    word = text[4:6]
    for stop in (word, [word, "never said"]):
        response = app.post(CHAT, json={"messages": QUESTION, "stop": stop}).json()
        choice = response["choices"][0]
        assert choice["message"]["content"] == text[: text.index(word)]
        assert choice["finish_reason"] == "stop"


def test_sampling_of_a_request(served):
    app = app_of(served)

    def text(**sampling):
        body = {"messages": QUESTION, **sampling}
        return app.post(CHAT, json=body).json()["choices"][0]["message"]["content"]

    assert text(temperature=2.0, seed=1) == text(temperature=2.0, seed=1) != text()
    assert text(temperature=2.0, top_p=0.0001, seed=1) == text()  # the likeliest token is left


@pytest.mark.parametrize(
    "change, place",
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "NaN"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"tools": []}, "tools"),
        ({"logprobs": True}, "logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"seed": -1}, "seed"),
        ({"stop": ["a"] * 5}, ""),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
    ],
)
def test_what_cannot_be_done_is_refused(change, place, served):
    response = app_of(served).post(CHAT, json={"messages": QUESTION, **change})
    assert error_of(response, 400)["param"] == place


@pytest.mark.parametrize(
    "change",
    [
        {"user": "me"},
        {"n": 1},
        {"frequency_penalty": 0},
        {"presence_penalty": 0.0},
        {"logprobs": False},
        {"response_format": {"type": "text"}},
        {"model": "mine/tuned"},
        {"stop": None},
        {"temperature": 1},
    ],
)
def test_what_changes_nothing_is_accepted(change, served):
    body = {"messages": QUESTION, "max_tokens": 1, **change}
    assert app_of(served).post(CHAT, json=body).status_code == 200


def test_another_model_is_not_found(served):
    body = {"messages": QUESTION, "model": "/etc/passwd"}
    assert error_of(app_of(served).post(CHAT, json=body), 404)["code"] == "model_not_found"


def test_too_long_a_conversation(served):
    body = {"messages": [{"role": "user", "content": "城" * 2100}]}
    assert error_of(app_of(served).post(CHAT, json=body), 400)["code"] == "context_length_exceeded"


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b"", b'{"messages":'])
def test_no_json(content, served):
    headers = {"content-type": "application/json"}
    error_of(app_of(served).post(CHAT, content=content, headers=headers), 400)


def test_a_page_of_the_web_cannot_ask(served):
    """What a browser sends from elsewhere without asking first: no JSON by its type."""
    app = app_of(served)
    content = json.dumps({"messages": QUESTION})
    assert app.post(CHAT, content=content, headers={"content-type": "text/plain"}).is_client_error
    response = app.get("/v1/models", headers={"host": "elsewhere.example"})
    assert response.status_code == 400


def test_unknown_path_and_method(served):
    error_of(app_of(served).get("/v1/nothing"), 404)
    error_of(app_of(served).get(CHAT), 405)
    for path in ("/docs", "/openapi.json"):
        error_of(app_of(served).get(path), 404)


@pytest.mark.parametrize("given", [None, "Bearer wrong", f"Bearer {TOKEN} ", TOKEN, "Bearer \xff"])
def test_without_the_token_nothing_is_answered(given, served):
    app = app_of(served, TOKEN)
    headers = {"authorization": given.encode("latin-1")} if given else {}
    response = app.post(CHAT, json={"messages": QUESTION}, headers=headers)
    assert error_of(response, 401)["type"] == "authentication_error"
    assert response.headers["www-authenticate"] == "Bearer"
    assert app.get("/v1/models", headers=headers).status_code == 401
    assert app.get("/health").status_code == 200


def test_with_the_token(served):
    headers = {"authorization": f"Bearer {TOKEN}", "host": "server.example"}
    assert app_of(served, TOKEN).get("/v1/models", headers=headers).status_code == 200


def test_large_bodies(served):
    app = app_of(served)
    error_of(app.post(CHAT, content=b"x" * (MAX_BODY + 1)), 413)

    def chunks():  # of no announced length
        for _ in range(MAX_BODY // 1000 + 2):
            yield b"x" * 1000

    error_of(app.post(CHAT, content=chunks()), 413)


def test_a_body_that_does_not_come():
    sent = []

    async def never():
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "headers": [(b"content-length", b"100")]}
    asyncio.run(BodyLimit(None, seconds=0.05)(scope, never, send))
    assert sent[0]["status"] == 408


class Broken:
    """An engine that fails after some text."""

    parallel = 1

    def __init__(self, engine):
        self.engine = engine

    def generate(self, ids, sampling, cancelled):
        source = self.engine.generate(ids, sampling, cancelled)
        yield next(source)
        source.close()
        raise EngineError("out of memory")


def test_a_failing_engine(served):
    app = app_of(Served(served.name, served.prompts, Broken(served.engine)))
    assert error_of(app.post(CHAT, json={"messages": QUESTION}), 500)["message"] == "out of memory"
    lines = app.post(CHAT, json={"messages": QUESTION, "stream": True}).text.splitlines()
    last = json.loads([line for line in lines if line][-1].removeprefix("data: "))
    assert last["error"]["message"] == "out of memory"
    assert app.post(CHAT, json={"messages": QUESTION}).status_code == 500  # its turn was given back


# ----------------------------------------------------------------------------- as a real process


@pytest.fixture(scope="module")
def plan(made):
    slow = {"max_tokens": 1900, "max_requests": 2}
    return plan_of(made / "qwen_chat", host="127.0.0.1", **slow)


def start(program, plan, **variables):
    server = program("api", plan | {"port": free_port()}, **variables)
    server.wait_until("answers at")
    return server


def test_one_at_a_time_two_in_line_the_third_is_sent_away(program, plan):
    server = start(program, plan | {"max_tokens": 400})

    def ask(_):
        with client(server.url) as one:
            return one.post(CHAT, json={"messages": QUESTION})

    with ThreadPoolExecutor(6) as threads:
        responses = list(threads.map(ask, range(6)))
    by_status = {response.status_code: response for response in responses}
    assert set(by_status) == {200, 429}
    assert error_of(by_status[429], 429)["type"] == "rate_limit_error"
    assert by_status[429].headers["retry-after"] == "5"
    answers = {
        response.json()["choices"][0]["message"]["content"]
        for response in responses
        if response.status_code == 200
    }
    assert len(answers) == 1  # nobody got another's tokens
    assert ask(0).status_code == 200  # and places are given back


def test_a_client_that_goes_away_ends_its_answer(program, plan):
    server = start(program, plan | {"max_requests": 1})
    body = {"messages": QUESTION, "stream": True}
    started = time.monotonic()
    with client(server.url) as one:
        assert one.post(CHAT, json=body).status_code == 200
    whole = time.monotonic() - started
    with client(server.url) as one, one.stream("POST", CHAT, json=body) as response:
        assert response.status_code == 200
        next(response.iter_lines())
    started = time.monotonic()
    status = None
    while status != 200:
        with client(server.url) as one:
            status = one.post(CHAT, json={"messages": QUESTION, "max_tokens": 1}).status_code
        assert status in (200, 429)
        time.sleep(0.02)
    assert time.monotonic() - started < whole / 2


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_ends_in_order_in_mid_answer(sign, program, plan):
    server = start(program, plan)
    port = int(server.url.rpartition(":")[2])
    assert not is_free(port)
    said = []

    def ask():
        body = {"messages": QUESTION, "stream": True}
        with client(server.url) as one, one.stream("POST", CHAT, json=body) as response:
            for line in response.iter_lines():
                said.append(line) if line else None

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    while not said:
        time.sleep(0.01)
    assert server.end(sign) == 0
    assert is_free(port)
    asking.join(60)
    assert "the server ends" in said[-1]
    assert server.said().count("\n") == 2, server.said()


def test_who_waits_at_the_end_is_told(made):
    served = load(plan_of(made / "qwen_chat"))
    served.engine.interrupt()
    response = app_of(served).post(CHAT, json={"messages": QUESTION})
    assert error_of(response, 503)["message"] == "the server ends"


def test_ends_while_loading(program, plan):
    server = program("api", plan | {"port": free_port()})
    server.wait_until("Loading")
    assert server.end(signal.SIGTERM) == 0


def test_a_port_in_use(program, plan):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        server = program("api", plan | {"port": port})
        assert server.process.wait(180) == 1
    assert server.said() == (
        f"make api: port {port} is in use: end what listens there, or take another one with "
        f"--port {port + 1}\n"
    )


def test_an_address_that_cannot_be(program, plan):
    server = program("api", plan | {"port": free_port(), "host": "192.0.2.1"})
    assert server.process.wait(180) == 1
    assert server.said().startswith("make api: cannot listen on ")


def test_the_token_of_the_variable(program, plan):
    server = start(program, plan, SERVING_TOKEN=TOKEN)
    with client(server.url) as one:
        assert one.get("/v1/models").status_code == 401
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert one.get("/v1/models", headers=headers).status_code == 200


def test_openai_s_own_client(program, plan, served):
    server = start(program, plan | {"system": "你是一个助手。"}, SERVING_TOKEN=TOKEN)
    script = Path(__file__).with_name("ask_by_openai.py")
    command = in_environment("opencompass", script, server.url, TOKEN)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    ids = served.prompts.ids(QUESTION)
    pieces = served.engine.generate(ids, Sampling(0.0, 1.0, 8), threading.Event())
    text = "".join(piece.text for piece in pieces)
    assert said == {
        "model": "mine/tuned",
        "text": text,
        "finish": "length",
        "tokens": 8,
        "streamed": text,
        "usage": True,
        "errors": [
            ["NotFoundError", "there is no model 'other'; this is mine/tuned"],
            ["BadRequestError", "n: Input should be 1"],
            [
                "AuthenticationError",
                "the header `Authorization: Bearer TOKEN` is missing or wrong",
            ],
        ],
    }
