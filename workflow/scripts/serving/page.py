"""The web page: one question to one or two models, in Chinese or English."""

import threading
from collections.abc import Iterator, Sequence

import gradio as gr
from conversation import Conversation
from generation import Sampling
from models import Served
from page_texts import LANGUAGES, TEXTS, language_of, title_of
from side_by_side import Race

# Fonts of the reader's own machine: the page loads nothing from elsewhere.
FONTS = ["system-ui", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "sans-serif"]
THEME = gr.themes.Default(
    primary_hue="teal", neutral_hue="slate", font=FONTS, font_mono=["monospace"]
)
CSS = """
.gradio-container {
    width: 100% !important; max-width: 1200px !important; margin: 0 auto !important;
}
#top { align-items: center; }
#top h1 { margin: 0; font-size: 1.4rem; }
#top p { margin: .2rem 0 0; color: var(--body-text-color-subdued); }
#language { border: none !important; padding: 0; }
#language .wrap { flex-wrap: nowrap; justify-content: end; white-space: nowrap; }
/* Gradio's own button would empty what is seen of one conversation, not what the model reads */
#chats .top-panel { display: none; }
#send, #stop, #clear { white-space: nowrap; }
"""
MAX_QUESTION = 20_000  # characters
STOP_SECONDS = 10  # in which an answer that is stopped has ended


def build(domain: str, served: Sequence[Served], default: Sampling) -> gr.Blocks:
    """The page.

    Args:
        domain: its title.
        served: the models, from left to right.
        default: what the sliders show at first.
    """
    with gr.Blocks(title=domain, analytics_enabled=False, fill_width=True) as page:
        _Page(domain, served, default).fill(page)
    return page


class Running:
    """An answer on its way.

    Attributes:
        race: the models that answer.
        ended: set when the page has got the last of it.
    """

    def __init__(self, race: Race) -> None:
        self.race, self.ended = race, threading.Event()


class _Page:
    def __init__(self, domain: str, served: Sequence[Served], default: Sampling) -> None:
        self.domain, self.served, self.default = domain, served, default
        self.running: dict[str, Running] = {}  # by session

    def fill(self, page: gr.Blocks) -> None:
        """Put everything onto the page, and connect it."""
        words, first = TEXTS["zh"], self.served[0].prompts
        self.turns = gr.State([[] for _ in self.served])
        with gr.Row(elem_id="top"):
            with gr.Column(scale=1, min_width=260):
                self.head = gr.Markdown(self._head("zh"))
            with gr.Column(scale=0, min_width=190):
                self.language = gr.Radio(
                    list(LANGUAGES),
                    value="中文",
                    show_label=False,
                    container=False,
                    elem_id="language",
                )
        self.chats = []
        with gr.Row(elem_id="chats"):
            for one in self.served:
                with gr.Column(min_width=330):
                    chat = gr.Chatbot(
                        label=title_of(one.name, "zh"),
                        placeholder=words["empty"],
                        height="56vh",
                        layout="bubble",
                        buttons=["copy"],
                        elem_id=f"chat-{one.name.rpartition('/')[2]}",
                    )
                self.chats.append(chat)
        with gr.Row():
            self.question = gr.Textbox(
                placeholder=words["question"],
                show_label=False,
                container=False,
                interactive=False,  # until the page is ready
                lines=1,
                max_lines=8,
                max_length=MAX_QUESTION,
                scale=8,
                min_width=330,
                elem_id="question",
            )
            self.send = gr.Button(words["send"], variant="primary", min_width=110, elem_id="send")
            self.stop = gr.Button(
                words["stop"], variant="stop", min_width=110, visible=False, elem_id="stop"
            )
            self.clear = gr.Button(words["clear"], min_width=110, elem_id="clear")
        with gr.Accordion(words["settings"], open=False, elem_id="settings") as self.settings:
            self.system = gr.Textbox(
                first.system,
                label=words["system"],
                info=words["system_info"],
                lines=1,
                max_lines=6,
                max_length=MAX_QUESTION,
                elem_id="system",
            )
            with gr.Row():
                self.temperature = gr.Slider(
                    0,
                    2,
                    self.default.temperature,
                    step=0.05,
                    label=words["temperature"],
                    info=words["temperature_info"],
                    elem_id="temperature",
                )
                self.top_p = gr.Slider(
                    0.05,
                    1,
                    self.default.top_p,
                    step=0.05,
                    label=words["top_p"],
                    info=words["top_p_info"],
                    elem_id="top-p",
                )
                self.max_tokens = gr.Slider(
                    1,
                    first.context,
                    min(self.default.max_tokens, first.context),
                    step=1,
                    label=words["max_tokens"],
                    info=words["max_tokens_info"],
                    elem_id="max-tokens",
                )
            self.remember = gr.Checkbox(
                True, label=words["remember"], info=words["remember_info"], elem_id="remember"
            )
        self._connect(page)

    def _connect(self, page: gr.Blocks) -> None:
        # what a person types is no interface for programs; `make api` is
        private = {"api_visibility": "private", "show_progress": "hidden"}
        labelled = [
            self.language,
            self.head,
            *self.chats,
            self.question,
            self.send,
            self.stop,
            self.clear,
            self.settings,
            self.system,
            self.temperature,
            self.top_p,
            self.max_tokens,
            self.remember,
        ]
        page.load(self._greet, None, labelled, **private)
        self.language.input(self._relabel, self.language, labelled, **private)
        inputs = [
            self.question,
            self.language,
            self.turns,
            self.system,
            self.temperature,
            self.top_p,
            self.max_tokens,
            self.remember,
        ]
        buttons = [self.question, self.send, self.stop]
        outputs = [self.turns, *buttons, *self.chats]
        gr.on(
            [self.send.click, self.question.submit],
            self._answer,
            inputs,
            outputs,
            **private,
            concurrency_limit=self.served[0].engine.parallel,
        )
        # These do not wait for their turn. Gradio's own way to cancel would let what the answer
        # writes last come after what they write.
        self.stop.click(self._stop, None, None, **private, queue=False)
        self.clear.click(self._clear, None, outputs, **private, queue=False)

    def _head(self, language: str) -> str:
        words = TEXTS[language]
        subtitle = words["subtitle" if len(self.served) > 1 else "subtitle_single"]
        return f"# {self.domain}\n{subtitle}"

    def _greet(self, request: gr.Request) -> list:
        """The words in the reader's language; now one can type."""
        labels = self._labels(language_of(request.headers.get("accept-language", "")))
        labels[2 + len(self.chats)]["interactive"] = True
        return labels

    def _relabel(self, choice: str) -> list:
        return self._labels(LANGUAGES[choice])

    def _labels(self, language: str) -> list:
        words = TEXTS[language]
        name = next(name for name, code in LANGUAGES.items() if code == language)
        described = [
            gr.update(label=words[key], info=words[f"{key}_info"])
            for key in ("system", "temperature", "top_p", "max_tokens", "remember")
        ]
        return [
            gr.update(value=name),
            gr.update(value=self._head(language)),
            *(
                gr.update(label=title_of(one.name, language), placeholder=words["empty"])
                for one in self.served
            ),
            gr.update(placeholder=words["question"]),
            gr.update(value=words["send"]),
            gr.update(value=words["stop"]),
            gr.update(value=words["clear"]),
            gr.update(label=words["settings"]),
            *described,
        ]

    def _answer(
        self,
        question: str,
        choice: str,
        turns: list[list[dict[str, str]]],
        system: str,
        temperature: float,
        top_p: float,
        max_tokens: int,
        remember: bool,
        request: gr.Request,
    ) -> Iterator[list]:
        """Ask all models, and show their answers as they grow."""
        if not question.strip():
            yield [turns, gr.skip(), gr.skip(), gr.skip(), *(gr.skip() for _ in self.chats)]
            return
        words = TEXTS[LANGUAGES[choice]]
        read = turns if remember else [[] for _ in turns]
        conversations = [
            Conversation(one, system, before) for one, before in zip(self.served, read, strict=True)
        ]

        def now() -> list[list[dict[str, str]]]:
            """What was said before, and the question with its answers as far as they are there."""
            return [
                [*before, *map(dict, conversation.turns[len(known) :])]
                for before, known, conversation in zip(turns, read, conversations, strict=True)
            ]

        race = Race(conversations)
        answers = race.run(question, Sampling(temperature, top_p, int(max_tokens)))
        asked = {"role": "user", "content": question}
        busy = [
            gr.update(value="", interactive=False),
            gr.update(visible=False),
            gr.update(visible=True),
        ]
        running = self.running[request.session_hash] = Running(race)
        try:
            yield [turns, *busy, *(_shown([*before, asked]) for before in turns)]
            for _ in answers:
                said = now()
                yield [said, gr.skip(), gr.skip(), gr.skip(), *map(_shown, said)]
            stopped = race.cancelled.is_set()
            said = now()
            for index, conversation in enumerate(conversations):
                if conversation.forgotten:
                    _remark(said[index], words["forgotten"])
                if race.finished[index] == "length":
                    _remark(said[index], words["cut"])
                elif stopped and race.finished[index] is None:
                    _remark(said[index], words["stopped"])
            shown = list(map(_shown, said))
            for index, failure in enumerate(race.failed):
                if failure:
                    # not among the turns: the next question must not be asked with it
                    problem = words["failed"].format(failure)
                    shown[index] = [*_shown(turns[index]), asked, _message(problem)]
            yield [said, *_ready(), *shown]
        finally:
            answers.close()
            self.running.pop(request.session_hash, None)
            running.ended.set()

    def _stop(self, request: gr.Request) -> None:
        if running := self.running.get(request.session_hash):
            running.race.cancelled.set()

    def _clear(self, request: gr.Request) -> list:
        if running := self.running.get(request.session_hash):
            running.race.cancelled.set()
            running.ended.wait(STOP_SECONDS)
        return [[[] for _ in self.served], *_ready(), *([] for _ in self.served)]


def _ready() -> list:
    """Question, send and stop, as they are when nothing is being answered."""
    return [gr.update(interactive=True), gr.update(visible=True), gr.update(visible=False)]


def _remark(turns: list[dict[str, str]], text: str) -> None:
    """Add a remark to the last turn, which a person sees and the model never reads."""
    if turns:
        turns[-1]["remark"] = f"{turns[-1].get('remark', '')} {text}".strip()


def _shown(turns: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """A conversation as a person sees it."""
    shown = []
    for turn in turns:
        shown.append({"role": turn["role"], "content": turn["content"]})
        if "remark" in turn:
            shown.append(_message(turn["remark"]))
    return shown


def _message(remark: str) -> dict[str, str]:
    """A remark among the answers."""
    return {"role": "assistant", "content": f"*{remark}*"}
