"""What of a model is taken and what is refused, where no hub is needed to show it."""

import json

import fetch
import hubs
import pytest
import torch
from safetensors.torch import save_file

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 768,
    "vocab_size": 512,
}
FITS = {"group_size": 128}


def model_folder(folder, config=CONFIG):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "modeling.py").write_text("print('code')")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, folder / "model.safetensors")
    return folder


def local(folder, trusted=False):
    return {"source": "local", "path": str(folder), "trust_remote_code": trusted}


def test_local_model_is_linked_not_copied(tmp_path):
    source = model_folder(tmp_path / "source")
    fetch.link(local(source), FITS, tmp_path / "base")
    links = {path.name: path for path in (tmp_path / "base").iterdir()}
    assert set(links) == {"config.json", "tokenizer_config.json", "model.safetensors"}
    assert all(path.is_symlink() for path in links.values())
    assert links["model.safetensors"].read_bytes() == (source / "model.safetensors").read_bytes()


def test_manifest_of_a_local_model_stays_its_own(tmp_path):
    source = model_folder(tmp_path / "source")
    (source / "manifest.json").write_text("{}")
    fetch.link(local(source), FITS, tmp_path / "base")
    assert not (tmp_path / "base" / "manifest.json").exists()


def test_code_of_a_local_model_only_where_it_is_trusted(tmp_path):
    source = model_folder(tmp_path / "m", CONFIG | {"auto_map": {"AutoModel": "modeling.X"}})
    with pytest.raises(fetch.Refused, match="trust_remote_code"):
        fetch.link(local(source), FITS, tmp_path / "base")
    assert not (tmp_path / "base").exists()
    fetch.link(local(source, trusted=True), FITS, tmp_path / "base")
    assert (tmp_path / "base" / "modeling.py").is_file()


def test_code_of_a_tokenizer_counts_too(tmp_path):
    source = model_folder(tmp_path / "m")
    (source / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["t.T", null]}}')
    with pytest.raises(fetch.Refused, match=r"auto_map in tokenizer_config\.json"):
        fetch.check(source, local(source), FITS)


def test_pickles_are_no_weights(tmp_path):
    source = model_folder(tmp_path / "m")
    (source / "model.safetensors").unlink()
    with pytest.raises(fetch.Refused, match=r"has no model\.safetensors"):
        fetch.link(local(source), FITS, tmp_path / "base")


def test_an_adapter_is_no_model(tmp_path):
    with pytest.raises(fetch.Refused, match=r"has no model\.safetensors"):
        fetch.weights_of(tmp_path, ["adapter_model.safetensors", "config.json"])


def test_sizes_matter_only_where_the_model_is_quantised(tmp_path):
    source = model_folder(tmp_path / "m", CONFIG | {"num_attention_heads": 8})
    with pytest.raises(fetch.Refused, match="cannot be quantised: head_dim: 32"):
        fetch.check(source, local(source), FITS)
    fetch.check(source, local(source), {"group_size": None})


def test_family_and_lora_modules(tmp_path):
    source = model_folder(tmp_path / "m", CONFIG | {"architectures": ["InternLM2ForCausalLM"]})
    free = {"group_size": None}
    with pytest.raises(fetch.Refused, match="and Yi-6B-Chat a LlamaForCausalLM"):
        fetch.check(source, local(source), free | {"family": "Yi-6B-Chat"})
    with pytest.raises(fetch.Refused, match=r"Write \[wqkv, wo, w1, w2, w3\]"):
        fetch.check(source, local(source), free)
    fetch.check(source, local(source), free | {"lora_target_modules": ["wqkv"]})


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\ntext", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: qwen-research\n---\n", "qwen-research"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\ntags: [a]\n---\n", None),
        ("# license: mit\n", None),
        ("text\n---\nlicense: mit\n---\n", None),
        ("---\nlicense: [\n---\n", None),
        ("---\n- a\n---\n", None),
    ],
)
def test_licence_of_the_card(tmp_path, card, licence):
    (tmp_path / "README.md").write_text(card)
    assert fetch.licence_of(tmp_path) == licence


def test_without_a_card(tmp_path):
    assert fetch.licence_of(tmp_path) is None


def test_listed_hashes_are_those_of_git(tmp_path):
    (tmp_path / "f").write_bytes(b"hello\n")
    # `printf 'hello\n' | git hash-object --stdin`
    blob = "ce013625030ba8dba906f756967f9e9ca394464a"
    assert hubs.RemoteFile("f", 6, None, blob).is_same(tmp_path / "f")
    assert not hubs.RemoteFile("f", 6, None, "0" * 40).is_same(tmp_path / "f")
    assert not hubs.RemoteFile("f", 6, "0" * 64).is_same(tmp_path / "f")
    assert not hubs.RemoteFile("f", 7, None, blob).is_same(tmp_path / "f")


def test_keys_to_private_files_are_not_repeated():
    error = OSError("404 for url: https://cdn.example/file?Signature=secret&Key=secret of it")
    said = hubs._other_reason(error, "the hub", unreachable=False)
    assert "secret" not in said and "file?... of it" in said
