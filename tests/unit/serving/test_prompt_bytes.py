"""What the model reads through the API is what it was trained on, id by id."""

import json

import api_app
import pytest
from conftest import load, plan_of
from generation import Sampling
from starlette.testclient import TestClient

# "own_code" is an InternLM2
TEMPLATES = ("qwen_chat", "internlm2_chat", "llama3_chat", "minicpm", "own_code")


@pytest.fixture(scope="module")
def trained(made):
    return json.loads((made / "trained.json").read_text(encoding="utf-8"))


def ask(served, body):
    """The ids that reached the model itself, all of them, and the response."""
    read = []

    def note(module, arguments, options):
        read.extend(options["input_ids"].tolist()[0])

    hook = served.engine.model.register_forward_pre_hook(note, with_kwargs=True)
    app = api_app.build(served, Sampling(0.0, 1.0, 1), most_requests=1, token="")
    try:
        response = TestClient(app, base_url="http://localhost").post(
            "/v1/chat/completions", json=body
        )
    finally:
        hook.remove()
    return read, response


@pytest.mark.parametrize("template", TEMPLATES)
def test_ids_are_those_of_training(template, made, trained):
    served = load(plan_of(made / template, trust_remote_code=template == "own_code"))
    assert len(trained[template]) == (1 if template == "minicpm" else 3)
    for prompt in trained[template]:
        read, response = ask(served, {"messages": prompt["messages"], "max_tokens": 3})
        assert response.status_code == 200, response.text
        assert read[: len(prompt["ids"])] == prompt["ids"]
        assert len(read) == len(prompt["ids"]) + 2  # and then its own tokens, all but the last
        assert response.json()["usage"]["prompt_tokens"] == len(prompt["ids"])


def test_system_prompt_of_the_configuration_where_a_client_sends_none(made, trained):
    with_system = trained["qwen_chat"][0]
    system, question = with_system["messages"]
    served = load(plan_of(made / "qwen_chat", system=system["content"]))
    assert ask(served, {"messages": [question]})[0] == with_system["ids"]


def test_a_client_may_bring_another_system_prompt_or_none(made, trained):
    served = load(plan_of(made / "qwen_chat", system="Something else."))
    own = trained["qwen_chat"][0]
    assert ask(served, {"messages": own["messages"]})[0] == own["ids"]
    none = trained["qwen_chat"][1]
    assert none["messages"][0]["role"] == "user"
    empty = [{"role": "system", "content": ""}, *none["messages"]]
    assert ask(served, {"messages": empty})[0] == none["ids"]


def test_parts_of_a_message_are_its_text(made, trained):
    served = load(plan_of(made / "qwen_chat"))
    prompt = trained["qwen_chat"][1]
    text = prompt["messages"][0]["content"]
    parts = [{"type": "text", "text": text[:2]}, {"type": "text", "text": text[2:]}]
    assert ask(served, {"messages": [{"role": "user", "content": parts}]})[0] == prompt["ids"]
