"""The page in a browser: type, send, see two answers, stop, clear, change the language."""

import shutil
import signal

import pytest
from browser import CHROMIUM, Browser
from conftest import client, free_port, is_free, plan_of
from page_texts import TEXTS, language_of, title_of

TOKEN = "a-secret-of-some-length"
BASE, TUNED = "#chat-base", "#chat-tuned"

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


def test_both_languages_have_the_same_words():
    chinese, english = TEXTS["zh"], TEXTS["en"]
    assert set(chinese) == set(english)
    for key in chinese:
        assert chinese[key].count("{}") == english[key].count("{}")
        assert key == "top_p" or chinese[key] != english[key]


@pytest.mark.parametrize(
    "header, language",
    [("zh-CN,zh;q=0.9", "zh"), ("ZH-tw", "zh"), ("en-GB,zh;q=0.8", "en"), ("", "en"), ("de", "en")],
)
def test_language_of_a_browser(header, language):
    assert language_of(header) == language


def test_titles():
    assert title_of("one/base", "zh") == "微调前 · one/base"
    assert title_of("one/sft", "en") == "one/sft"


@pytest.fixture(scope="module")
def plan(made):
    plan = plan_of(made / "qwen_chat", host="127.0.0.1", max_requests=4, max_tokens=24)
    (tuned,) = plan["models"]
    # other weights, so that the answers differ
    base = tuned | {"name": "mine/base", "folder": str(made / "llama3_chat-base")}
    if not (made / "llama3_chat-base").exists():
        shutil.copytree(made / "qwen_chat", made / "llama3_chat-base")
        change_weights(made / "llama3_chat-base" / "model.safetensors")
    return plan | {"models": [base, tuned]}


def change_weights(path):
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    weights["model.layers.0.mlp.up_proj.weight"] *= -1
    save_file(weights, path, metadata={"format": "pt"})


@pytest.fixture
def web(program, plan):
    server = program("web", plan | {"port": free_port()})
    server.wait_until("Open")
    return server


def shown(selector):
    """JavaScript: whether an element is there to be seen."""
    return f"!!document.querySelector('{selector}')?.offsetParent"


def greet(browser, server):
    """Open the page, and wait until one can type."""
    browser.open(server.url)
    browser.wait("document.querySelector('#question textarea')?.disabled === false")


def answered(browser, selector, number):
    """Wait until so many answers have come to their end, and the next can be asked."""
    browser.wait(
        f"document.querySelector('{selector}').innerText.split('(cut)').length == {number + 1}"
        f" && {shown('#send')}"
    )
    return browser.text(selector)


@needs_browser
def test_talking(web, tmp_path, served):
    with Browser(tmp_path / "profile", "en-US") as browser:
        greet(browser, web)
        assert browser.text("#send") == "Send"
        browser.click("#question textarea")
        browser.type("第5号城市叫什么？")
        browser.press_enter()
        first = answered(browser, TUNED, 1)
        assert "第5号城市叫什么？" in first
        assert "(cut)" in first
        other = answered(browser, BASE, 1)
        text = answer_to(served, ["第5号城市叫什么？"])
        assert text.strip() in first
        assert text.strip() not in other
        assert browser.value("document.querySelector('#question textarea').value") == ""

        browser.click("#question textarea")
        browser.type("第6号呢？")
        browser.click("#send")
        second = answered(browser, TUNED, 2)
        assert text.strip() in second
        assert answer_to(served, ["第5号城市叫什么？", "第6号呢？"]).strip() in second

        browser.click("#clear")
        browser.wait(f"document.querySelector('{TUNED}').innerText.includes('Nothing said yet')")
        assert "第5号" not in browser.text(BASE)

        # nothing of the conversation that was cleared is read
        browser.click("#question textarea")
        browser.type("第5号城市叫什么？")
        browser.press_enter()
        assert text.strip() in answered(browser, TUNED, 1)

        foreign = [url for url in browser.requested if not url.startswith((web.url, "data:"))]
        assert foreign == ["about:blank"] * len(foreign)
        assert browser.complaints == []
        assert browser.value(
            "[...document.querySelectorAll('.top-panel')].every(one => !one.offsetParent)"
        )


def answer_to(served, questions):
    from conversation import Conversation
    from generation import Sampling

    conversation = Conversation(served, "")
    for question in questions:
        answer = "".join(one.text for one in conversation.ask(question, Sampling(0.0, 1.0, 24)))
    return answer


@needs_browser
def test_settings_languages_and_stop(program, plan, tmp_path):
    server = program(
        "web", plan | {"port": free_port(), "max_tokens": 1900, "system": "你是助手。"}
    )
    server.wait_until("Open")
    with Browser(tmp_path / "profile", "zh-CN", (500, 900)) as browser:
        greet(browser, server)
        assert browser.text("#send") == "发送"
        assert "微调前 · mine/base" in browser.text(BASE)

        # one below the other on a narrow screen
        places = [
            browser.value(f"document.querySelector('{one}').getBoundingClientRect().y")
            for one in (BASE, TUNED)
        ]
        assert places[1] > places[0] + 100

        browser.click("#question textarea")
        browser.type("你好")
        browser.press_enter()
        browser.wait(shown("#stop"))
        assert browser.value("document.querySelector('#question textarea').disabled")
        browser.wait(f"document.querySelectorAll('{TUNED} .bot.message').length >= 1")
        browser.click("#stop")
        browser.wait(f"document.querySelector('{TUNED}').innerText.includes('（已停止）')")
        browser.wait(shown("#send"))

        browser.click("#language label:nth-of-type(2)")
        browser.wait("document.querySelector('#send').innerText == 'Send'")
        assert "Before tuning · mine/base" in browser.text(BASE)
        assert "你好" in browser.text(BASE)  # what was said stays

        browser.click("#settings button")
        browser.wait(shown("#system textarea"))
        assert browser.value("document.querySelector('#system textarea').value") == "你是助手。"
        assert (
            browser.value("document.querySelector('#max-tokens input[type=number]').value")
            == "1900"
        )
        browser.call(
            "Runtime.evaluate",
            expression="""(() => {
            const input = document.querySelector('#max-tokens input[type=number]');
            input.value = 3;
            input.dispatchEvent(new Event('input', {bubbles: true}));
            input.dispatchEvent(new Event('change', {bubbles: true}));
            input.dispatchEvent(new Event('blur', {bubbles: true}));
        })()""",
        )
        browser.click("#clear")
        browser.wait(f"document.querySelector('{TUNED}').innerText.includes('Nothing said yet')")
        browser.click("#question textarea")
        browser.type("你好")
        browser.press_enter()
        text = answered(browser, TUNED, 1)
        assert "(cut)" in text
        assert len(text) < 100

        browser.click("#question textarea")
        browser.type("城" * 2100)
        browser.press_enter()
        browser.wait(
            f"document.querySelector('{TUNED}').innerText.includes('the model can read 2048')"
        )
        browser.wait(shown("#send"))
    assert server.end(signal.SIGINT) == 0
    assert is_free(int(server.url.rpartition(":")[2]))
    assert server.said().count("\n") == 2, server.said()


@needs_browser
def test_ends_in_order_with_a_page_open(program, plan, tmp_path):
    server = program("web", plan | {"port": free_port(), "max_tokens": 1900})
    server.wait_until("Open")
    with Browser(tmp_path / "profile") as browser:
        greet(browser, server)
        browser.click("#question textarea")
        browser.type("你好")
        browser.press_enter()
        browser.wait(shown("#stop"))
        assert server.end() == 0
    assert server.said().count("\n") == 2, server.said()


def test_password(program, plan):
    server = program(
        "web", plan | {"port": free_port(), "models": plan["models"][1:]}, SERVING_TOKEN=TOKEN
    )
    server.wait_until("Open")
    with client(server.url) as one:
        assert "第5号" not in one.get("/").text
        assert one.get("/config").status_code == 401
        wrong = one.post("/login", data={"username": "me", "password": "wrong"})
        assert wrong.status_code == 400
        right = one.post("/login", data={"username": "me", "password": TOKEN})
        assert right.status_code == 200
        assert one.get("/config").status_code == 200


def test_guards(web):
    with client(web.url) as one:
        page = one.get("/")
        assert page.status_code == 200
        assert b"default-src 'self'" in page.headers["content-security-policy"].encode()
        assert one.get("/", headers={"host": "elsewhere.example"}).status_code == 400
        assert one.post("/gradio_api/queue/join", content=b"x" * (1 << 21)).status_code == 413


def test_a_port_in_use_is_told_before_anything_is_loaded(program, plan, web):
    port = int(web.url.rpartition(":")[2])
    second = program("web", plan | {"port": port})
    assert second.process.wait(180) == 1
    assert second.said().startswith(f"make web: port {port} is in use")
