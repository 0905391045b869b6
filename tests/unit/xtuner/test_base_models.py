import hashlib
import json

import fetch
import limits
import make_tiny
import pytest
import torch
from manifest import write_manifest
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 768,
    "vocab_size": 512,
}


def model_folder(folder, config=CONFIG, weights="model.safetensors", **tokenizer):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, folder / weights)
    return folder


def test_tokenizer_keeps_any_text(tokenizer):
    for text in ("中国的首都是北京。", "未见过的汉字 and\ttabs\n", "😀\x00", "1024 He"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text


def test_tokenizer_puts_the_beginning_first_and_knows_its_markers(tokenizer):
    ids = tokenizer("北京")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    marker = tokenizer("<|im_start|>", add_special_tokens=False)["input_ids"]
    assert len(marker) == 1


def test_vocabulary_too_small():
    with pytest.raises(ValueError, match="vocab_size must be at least"):
        make_tiny.train_tokenizer(["".join(map(chr, range(0x4E00, 0x5000)))], 600)


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
    folder = model_folder(tmp_path / "m")
    write_manifest(folder, "somewhere", "1", "CC0")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["parameters"] == 3 * 5 + 7
    digest = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    assert manifest["files"]["config.json"]["sha256"] == digest
    assert set(manifest["files"]) == {
        "config.json",
        "tokenizer_config.json",
        "model.safetensors",
    }


def test_local_model_is_linked_not_copied(tmp_path):
    source = model_folder(tmp_path / "source")
    (source / "pytorch_model.bin").write_bytes(b"a pickle")
    (source / "modeling.py").write_text("print('code')")
    fetch.link(source, tmp_path / "base", fetch.WANTED)
    names = {path.name for path in (tmp_path / "base").iterdir()}
    assert names == {"config.json", "tokenizer_config.json", "model.safetensors"}
    assert (tmp_path / "base" / "model.safetensors").is_symlink()
    fetch.check(tmp_path / "base", trusted=False, group_size=128)


def test_model_that_needs_code_must_be_trusted(tmp_path):
    folder = model_folder(tmp_path / "m", CONFIG | {"auto_map": {"AutoModel": "modeling.X"}})
    with pytest.raises(fetch.Refused, match="trust_remote_code"):
        fetch.check(folder, trusted=False, group_size=128)
    fetch.check(folder, trusted=True, group_size=128)


def test_model_without_safetensors(tmp_path):
    folder = model_folder(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(fetch.Refused, match=r"no \*\.safetensors"):
        fetch.check(folder, trusted=False, group_size=128)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 8}, "head_dim: 32 is not 64 or 128"),
        ({"head_dim": 96}, "head_dim: 96 is not 64 or 128"),
        ({"intermediate_size": 704}, "intermediate_size: 704 is not a multiple"),
        ({"hidden_size": 320, "head_dim": 64}, "hidden_size: 320 is not a multiple"),
        ({"architectures": ["InternLM2ForCausalLM"]}, "head_dim: 64 is not 128"),
        ({"architectures": ["GPT2LMHeadModel"]}, "architectures: GPT2LMHeadModel is not among"),
    ],
)
def test_sizes_that_cannot_be_quantised(tmp_path, change, message):
    folder = model_folder(tmp_path / "m", CONFIG | change)
    assert limits.of_folder(folder, 128)[0].startswith(message)
    with pytest.raises(fetch.Refused, match="cannot be quantised"):
        fetch.check(folder, trusted=False, group_size=128)
    fetch.check(folder, trusted=False, group_size=None)


def test_folder_that_is_no_model(tmp_path):
    with pytest.raises(limits.NotAModel, match="does not exist"):
        limits.of_folder(tmp_path / "none", 128)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(limits.NotAModel, match="does not describe"):
        limits.of_folder(tmp_path, 128)
