"""What is trained on: the assistant's words to their end, in every prompt template of XTuner."""

import copy
import itertools
import json

import pytest
import stages
from chat_tokenizer import reward_token_id
from mmengine.config import Config
from test_chat_template import WITHOUT_SYSTEM
from transformers import AutoTokenizer
from xtuner.dataset.map_fns import template_map_fn
from xtuner.dataset.utils import encode_fn
from xtuner.registry import BUILDER
from xtuner.utils import PROMPT_TEMPLATE

IGNORED = -100


def dataset(project, tmp_path, method, template, rows, **training):
    """The training data that XTuner makes of rows, and its tokenizer."""
    config = tmp_path / "config.py"
    base = stages.BASE | {"prompt_template": template}
    stages.render(project, config, method, base=base, **({"max_length": 512} | training))
    text = config.read_text().replace(str(project / f"{stages.KINDS[method]}.jsonl"), "DATA")
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    config.write_text(text.replace("DATA", str(data)))
    built = BUILDER.build(Config.fromfile(config).train_dataloader.dataset)
    return built, AutoTokenizer.from_pretrained(project / "base")


def trained_runs(ids, labels, tokenizer):
    """The texts of the unbroken runs of trained tokens."""
    for token, label in zip(ids, labels, strict=True):
        assert label in (token, IGNORED)
    runs = itertools.groupby(zip(ids, labels, strict=True), key=lambda pair: pair[1] != IGNORED)
    return [tokenizer.decode([token for token, _ in run]) for trained, run in runs if trained]


def ending(template, tokenizer):
    """What follows an answer and is trained on."""
    eos = "" if template.get("SUFFIX_AS_EOS") else tokenizer.eos_token
    return template.get("SUFFIX", "") + eos


@pytest.mark.parametrize("name", PROMPT_TEMPLATE)
def test_sft_trains_on_every_answer_to_its_end_and_on_nothing_else(name, project, tmp_path):
    turns = [
        {"system": "Be brief.", "input": "One?", "output": "first"},
        {"input": "Two?", "output": "second\nline"},
        {"input": "Three?", "output": "third"},
    ]
    if name in WITHOUT_SYSTEM:
        del turns[0]["system"]
    tokenizer = AutoTokenizer.from_pretrained(project / "base")
    template = PROMPT_TEMPLATE[name]
    # what process_hf_dataset maps over the rows; through it each template would take seconds
    example = template_map_fn({"conversation": copy.deepcopy(turns)}, template)
    row = encode_fn(example, tokenizer, max_length=512)
    end = ending(template, tokenizer)
    assert end, "the end of an answer must be learned"
    expected = [f"{answer}{end}" for answer in ("first", "second\nline", "third")]
    assert trained_runs(row["input_ids"], row["labels"], tokenizer) == expected
    if name == "qwen_chat":
        rows = [{"conversation": turns}]
        (built,), _ = dataset(project, tmp_path, "sft", name, rows, pack=False)
        assert {key: built[key] for key in row} == row


@pytest.mark.parametrize("name", PROMPT_TEMPLATE)
def test_pairs_train_on_the_answer_and_its_end(name, project, tmp_path):
    pair = stages.pair("One?", "better", "worse\nline")
    pair["prompt"] = [
        *([] if name in WITHOUT_SYSTEM else [{"role": "system", "content": "Be brief."}]),
        {"role": "user", "content": "Zero?"},
        {"role": "assistant", "content": "nothing"},
        *pair["prompt"],
    ]
    built, tokenizer = dataset(project, tmp_path, "dpo", name, [pair])
    template = PROMPT_TEMPLATE[name]
    # the separator after the turn too; it is the same on both sides
    end = ending(template, tokenizer) + template.get("SEP", "")
    (row,) = built
    for side, answer in (("chosen", "better"), ("rejected", "worse\nline")):
        ids = row[f"{side}_ids"]
        assert trained_runs(ids, row[f"{side}_labels"], tokenizer) == [answer + end]
        # XTuner begins a sequence anew after an end of sequence
        beginnings = 1 if template.get("SUFFIX_AS_EOS") else 2
        assert ids.count(tokenizer.bos_token_id) == beginnings
        assert ids[0] == tokenizer.bos_token_id


def test_reward_is_given_at_one_token_after_the_conversation(project, tmp_path):
    pair = stages.pair("One?", "better", "worse")
    (built,), tokenizer = dataset(project, tmp_path, "reward", "qwen_chat", [pair])
    (plain,), _ = dataset(project, tmp_path, "dpo", "qwen_chat", [pair])
    for side, label in (("chosen", 0), ("rejected", 1)):
        ids = built[f"{side}_ids"]
        assert ids == [*plain[f"{side}_ids"], reward_token_id(tokenizer)]
        assert built[f"{side}_labels"] == [IGNORED] * (len(ids) - 1) + [label]
    assert reward_token_id(tokenizer) != tokenizer.pad_token_id


def test_a_reward_token_is_never_the_padding(tokenizer):
    one = type(tokenizer)(
        tokenizer_object=tokenizer.backend_tokenizer,
        bos_token="<s>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
    )
    assert reward_token_id(one) == one.bos_token_id


@pytest.mark.parametrize("pack", [False, True])
def test_pt_trains_on_every_token_of_a_text(pack, project, tmp_path):
    texts = [f"Sentence number {n}. " * (n + 1) for n in range(8)]
    rows = [{"conversation": [{"input": "", "output": text}]} for text in texts]
    limit = 64 if pack else 512
    built, tokenizer = dataset(
        project, tmp_path, "pt", "qwen_chat", rows, pack=pack, max_length=limit
    )
    seen = []
    for row in built:
        assert len(row["input_ids"]) == limit if pack else len(row["input_ids"]) < limit
        for token, label in zip(row["input_ids"], row["labels"], strict=True):
            assert label == (IGNORED if token == tokenizer.bos_token_id else token)
        seen.append(tokenizer.decode(row["input_ids"]))
    if not pack:
        assert seen == [f"<s>{text}<|im_end|>" for text in texts]
        return
    # packs follow each other in a seeded order of the texts; only the last, unfilled one is lost
    stream = "".join(seen)
    found = [part.removesuffix("<|im_end|>") for part in stream.split("<s>")[1:]]
    assert set(found[:-1]) <= set(texts)
    tokens = sum(len(tokenizer(text)["input_ids"]) + 1 for text in texts)
    assert len(built) == tokens // limit
    assert max(len(tokenizer(text)["input_ids"]) for text in found[:-1]) > limit, "none is cut"
