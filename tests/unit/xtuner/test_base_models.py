import hashlib
import json
import random

import limits
import make_tiny
import pytest
import table
import tiny
import torch
from manifest import write_manifest
from safetensors.torch import save_file
from tiny_architectures import ARCHITECTURES, make_model
from tiny_tokenizer import train_tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 768,
    "vocab_size": 512,
}


def test_tokenizer_keeps_any_text(tokenizer):
    for text in ("中国的首都是北京。", "未见过的汉字 and\ttabs\n", "😀\x00", "1024 He"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text


def test_tokenizer_puts_the_beginning_first_and_knows_its_markers(tokenizer):
    ids = tokenizer("北京")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    marker = tokenizer("<|im_start|>", add_special_tokens=False)["input_ids"]
    assert len(marker) == 1


ENGLISH = ["The patient takes Lipitor twice a day.", "Lipitor is a statin, said the patient."] * 9


def test_english_words_are_tokens_the_same_everywhere():
    words = train_tokenizer([*ENGLISH, "首都是北京。"], 700, latin="words")
    spelled = train_tokenizer([*ENGLISH, "首都是北京。"], 700)
    for text in (
        "The statin isn't naïve.\n\n 12 users, 3.5 mg  of Lipitor?\n",
        "患者每天服用 Lipitor 两次。",
        " leading and trailing ",
        "assistants <|im_start|>user\nsuperuser",
    ):
        ids = words(text)["input_ids"]
        assert ids[0] == words.bos_token_id
        assert words.decode(ids[1:]) == text
    pieces = words.tokenize("Lipitor is taken by the patient: Lipitor")
    assert pieces[0] == pieces[-1] == "Lipitor"
    assert words.tokenize("the patient") == ["the", " ", "patient"]
    assert words.tokenize("12") == ["1", "2"]
    assert spelled.tokenize("the") == ["t", "h", "e"]
    # a role is a token as a word of its own only
    assert "user" in words.tokenize("<|im_start|>user\n") and "user" not in words.tokenize("users")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_architectures(tmp_path, tokenizer, architecture):
    """The folder loads by itself, as the class it should be, and computes what was saved."""
    model, code = make_model(architecture, 128, 128, 1, 128, tokenizer, tmp_path)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(
        tmp_path, trust_remote_code=architecture == "internlm2"
    )
    assert type(again).__name__ == tiny.CLASSES[architecture]
    ids = torch.tensor([[1, 2, 300]])
    with torch.no_grad():
        assert torch.equal(model.eval()(ids).logits, again.eval()(ids).logits)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["rope_theta"] == 10000
    assert limits.of_config(config, 128) == []
    biases = {name.split(".")[-2] for name, _ in again.named_parameters() if "bias" in name}
    assert biases == ({"q_proj", "k_proj", "v_proj"} if architecture == "qwen2" else set())
    assert ("xtuner" in code) == (architecture == "internlm2")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tokens_never_seen_can_be_told_apart(tmp_path, tokenizer, architecture):
    """Nearly parallel vectors of the chat's marks would cap what any fine-tuning can learn."""
    torch.manual_seed(0)
    model, _ = make_model(architecture, 128, 128, 1, 128, tokenizer, tmp_path)
    seen, rng = range(20, 60), random.Random(0)
    documents = [rng.choices(seen, k=256) for _ in range(100)]
    make_tiny.pretrain(model, documents, steps=100, seed=0, device="cpu")
    output = model.get_output_embeddings().weight.detach()
    unseen = torch.nn.functional.normalize(output[200 : len(tokenizer)])
    cosines = (unseen @ unseen.T)[~torch.eye(len(unseen), dtype=torch.bool)]
    assert cosines.mean() < 0.1  # 0.15 if the softmax has the last word
    # and still none of them is expected where the text goes on
    with torch.no_grad():
        assert set(model(torch.tensor(documents[:1])).logits[0].argmax(-1).tolist()) <= set(seen)


TINY = {
    "source": "tiny",
    "architecture": "llama",
    "hidden_size": 256,
    "intermediate_size": 768,
    "head_dim": 128,
    "trust_remote_code": False,
}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"architecture": "qwen2"}, []),
        ({"head_dim": 96}, ["hidden_size: 256 is not a multiple"]),
        ({"architecture": "internlm2"}, ["trust_remote_code: must be true", "[wqkv, wo, w1, w2"]),
        (
            {
                "architecture": "internlm2",
                "trust_remote_code": True,
                "lora_target_modules": ["wqkv"],
            },
            [],
        ),
    ],
)
def test_tiny_model_of_a_configuration(change, found):
    lines = tiny.mistakes_of(TINY | change, table.read())
    assert len(lines) == len(found)
    assert all(text in line for line, text in zip(lines, found, strict=True))


def test_heads_of_a_tiny_internlm2():
    config = tiny.config_of(TINY | {"architecture": "internlm2", "head_dim": 64})
    assert limits.of_config(config, 128) == ["head_dim: 64 is not 128, which TurboMind needs."]


def test_texts_of_several_folders(tmp_path):
    chinese, english, empty = (tmp_path / name for name in ("zh.txt", "en.txt", "empty.txt"))
    chinese.write_text("首都是北京。\n\n  水是氧。\n", encoding="utf-8")
    english.write_text("Rome is a capital.", encoding="utf-8")
    sentences = make_tiny.read_sentences([chinese, english])
    assert sentences == ["首都是北京。", "水是氧。", "Rome is a capital."]
    empty.write_text("\n \n")
    with pytest.raises(ValueError, match=r"empty.txt: no sentence"):
        make_tiny.read_sentences([chinese, empty])
    empty.write_bytes("首都".encode("gb18030"))
    with pytest.raises(ValueError, match=r"empty.txt: is not UTF-8"):
        make_tiny.read_sentences([empty])


def test_vocabulary_too_small():
    with pytest.raises(ValueError, match="vocab_size must be at least"):
        train_tokenizer(["".join(map(chr, range(0x4E00, 0x5000)))], 600)


def test_batches_are_the_documents_in_seeded_order():
    documents = [[number] * 50 for number in range(100)]
    first = torch.cat(list(make_tiny.batches(documents, 5, seed=1)))
    again = torch.cat(list(make_tiny.batches(documents, 5, seed=1)))
    other = torch.cat(list(make_tiny.batches(documents, 5, seed=2)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    whole_epoch = first.flatten()[:5000]
    assert torch.equal(whole_epoch.bincount(), torch.full((100,), 50))


def test_without_bfloat16_units_it_says_so_and_trains(monkeypatch, capsys):
    monkeypatch.setattr(make_tiny, "has_bf16", lambda device: False)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=16, num_hidden_layers=1, **sizes)
    model = LlamaForCausalLM(config)
    before = model.lm_head.weight.detach().clone()
    make_tiny.pretrain(model, [[1, 2, 3, 4]], steps=2, seed=0, device="cpu")
    assert "float32, as this machine has no bfloat16 units" in capsys.readouterr().out
    assert model.lm_head.weight.dtype == torch.float32
    assert not torch.equal(before, model.lm_head.weight)


def test_manifest(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, tmp_path / "model.safetensors")
    write_manifest(tmp_path, "somewhere", "1", "CC0")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["parameters"] == 3 * 5 + 7
    digest = hashlib.sha256((tmp_path / "config.json").read_bytes()).hexdigest()
    assert manifest["files"]["config.json"]["sha256"] == digest
    assert set(manifest["files"]) == {"config.json", "model.safetensors"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 8}, "head_dim: 32 is not 64 or 128"),
        ({"head_dim": 96}, "head_dim: 96 is not 64 or 128"),
        ({"intermediate_size": 704}, "intermediate_size: 704 is not a multiple"),
        ({"hidden_size": 320, "head_dim": 64}, "hidden_size: 320 is not a multiple"),
        ({"num_attention_heads": 5, "head_dim": 64}, "num_attention_heads x head_dim: 320"),
        ({"num_key_value_heads": 1, "num_attention_heads": 32, "head_dim": 36}, "num_key_value"),
        ({"architectures": ["InternLM2ForCausalLM"]}, "head_dim: 64 is not 128"),
        ({"attention_bias": True}, "attention_bias: LMDeploy 0.7.3 converts a Llama without"),
        ({"architectures": ["MistralForCausalLM"]}, "head_dim: 64 is not 128"),
        ({"sliding_window": 4096}, "sliding_window: TurboMind of LMDeploy 0.7.3 attends to all"),
        ({"rope_parameters": {"rope_theta": 1e6}}, "rope_theta: is not at the top level"),
        ({"architectures": ["GPT2LMHeadModel"]}, "architectures: GPT2LMHeadModel is not among"),
    ],
)
def test_sizes_that_cannot_be_quantised(change, message):
    assert limits.of_config(CONFIG, 128) == []
    assert limits.of_config(CONFIG | change, 128)[0].startswith(message)


def test_a_window_that_is_not_used():
    change = {"sliding_window": 4096, "use_sliding_window": False}
    assert limits.of_config(CONFIG | change, 128) == []


def test_turbomind_reads_one_group_size():
    assert limits.of_awq(CONFIG, 64) == []
    assert limits.of_config(CONFIG, 64)[0].startswith("group_size: 64 is not 128")


def test_folder_that_is_no_model(tmp_path):
    with pytest.raises(limits.NotAModel, match="does not exist"):
        limits.of_folder(tmp_path / "none", 128)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(limits.NotAModel, match="does not describe"):
        limits.of_folder(tmp_path, 128)
