"""XTuner's prompt templates as the Jinja chat templates of Hugging Face tokenizers."""

from collections.abc import Mapping
from string import Formatter


def jinja(template: Mapping, bos_token: str, eos_token: str) -> str:
    """The chat template that renders conversations to the bytes that XTuner trains on.

    XTuner 0.2.0 (`xtuner/dataset/map_fns/template_map_fn.py`, `xtuner/dataset/utils.py`) writes

        BOS SYSTEM INSTRUCTION output SUFFIX [EOS] SEP  INSTRUCTION output SUFFIX [EOS] SEP ...

    without EOS if SUFFIX_AS_EOS; with EOS, each later turn starts with BOS again. The opening of
    the assistant's turn is the end of INSTRUCTION, so a prompt to be answered needs no more than
    its last user message, and `add_generation_prompt` changes nothing.

    What a tool says is an input as what a user says; inputs in a row are one, a line each
    (`turns` in corpus/chat_forms.py).

    Args:
        template: an entry of `xtuner.utils.PROMPT_TEMPLATE`.
        bos_token: what the tokenizer puts first, "" if nothing.
        eos_token: the tokenizer's end of sequence.
    """
    eos_after_turn = not template.get("SUFFIX_AS_EOS", False)
    ending = template.get("SUFFIX", "") + (eos_token if eos_after_turn else "")
    ending += template.get("SEP", "")
    system = _expression(template.get("SYSTEM", ""), {"system": "message['content']"})
    user = _expression(template["INSTRUCTION"], {"input": "state.input", "round": "state.turn"})
    begins = "state.turn == 1 and messages[0]['role'] != 'system'"
    if eos_after_turn:
        begins += " or state.turn > 1"
    return (
        "{%- set state = namespace(turn=0, input='') -%}"
        "{%- for message in messages -%}"
        "{%- if message['role'] == 'system' -%}"
        f"{{%- if loop.first -%}}{{{{ {bos_token!r} }}}}{{%- endif -%}}"
        f"{{{{ {system} }}}}"
        "{%- elif message['role'] in ('user', 'tool') -%}"
        "{%- set state.input = state.input ~ message['content'] -%}"
        "{%- if loop.nextitem is defined and loop.nextitem['role'] in ('user', 'tool') -%}"
        "{%- set state.input = state.input ~ '\\n' -%}"
        "{%- else -%}"
        "{%- set state.turn = state.turn + 1 -%}"
        f"{{%- if {begins} -%}}{{{{ {bos_token!r} }}}}{{%- endif -%}}"
        f"{{{{ {user} }}}}"
        "{%- set state.input = '' -%}"
        "{%- endif -%}"
        "{%- elif message['role'] == 'assistant' -%}"
        f"{{{{ message['content'] ~ {ending!r} }}}}"
        "{%- else -%}"
        "{{ raise_exception('unknown role: ' ~ message['role']) }}"
        "{%- endif -%}"
        "{%- endfor -%}"
    )


def _expression(text: str, fields: dict[str, str]) -> str:
    """A Python format string as a Jinja expression, its fields replaced by expressions."""
    parts = []
    for literal, field, _, _ in Formatter().parse(text):
        if literal:
            parts.append(repr(literal))
        if field is not None:
            parts.append(fields[field])
    return " ~ ".join(parts) or "''"
