"""Fetching from a hub, with the hubs' own clients, from a server of our own."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fetch
import pytest
import torch
from hub_server import REPOSITORY, REVISION, HubServer
from modelscope_hub.config import HubConfig
from safetensors.torch import save

SCRIPT = Path(fetch.__file__)
TOKEN = "hf_this_is_a_secret"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 768,
}
# clients write in blocks of up to 10 MB: of a smaller file nothing would be there in the middle
WEIGHTS = save({"a": torch.rand(6_000_000)})
BOTH = pytest.mark.parametrize("source", ["hub", "modelscope"])


def model_files(**changed) -> dict[str, bytes]:
    """The files of a repository; None takes one out."""
    files = {
        "README.md": b"---\nlicense: apache-2.0\n---\n# A model\n",
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer_config.json": b"{}",
        "model.safetensors": WEIGHTS,
        "pytorch_model.bin": b"a pickle",
        "consolidated.safetensors": b"the same weights once more",
        "modeling.py": b"print('code')",
        "original/params.json": b"{}",
        "metal.metal": b"other",
    }
    files |= {name.replace("__", "."): content for name, content in changed.items()}
    return {name: content for name, content in files.items() if content is not None}


@pytest.fixture
def hub():
    server = HubServer(model_files())
    yield server
    server.close()


class Fetch:
    """Runs fetch.py as the rule does, as a user who is logged in."""

    def __init__(self, folder: Path, url: str, source: str) -> None:
        self.folder, self.source = folder, source
        self.output, self.work = folder / "base", folder / "work"
        self.repository, self.revision = REPOSITORY, REVISION
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "HF_ENDPOINT": url,
            "HF_TOKEN": TOKEN,
            "MODELSCOPE_ENDPOINT": url,
            "MODELSCOPE_API_TOKEN": TOKEN,
            # one try instead of five, that wait for each other
            "MODELSCOPE_DOWNLOAD_MAX_RETRIES": "0",
        }

    def start(self, trusted=False, **checks) -> subprocess.Popen:
        base = {
            "source": self.source,
            "repository": self.repository,
            "revision": self.revision,
            "trust_remote_code": trusted,
        }
        command = [sys.executable, SCRIPT, "--base-model", json.dumps(base)]
        command += ["--checks", json.dumps({"group_size": None} | checks)]
        return subprocess.Popen(
            [*command, "--work", self.work, "--output", self.output],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )

    def run(self, **options) -> str:
        process = self.start(**options)
        said, _ = process.communicate(timeout=100)
        assert TOKEN not in said
        assert process.returncode == 0, said
        return said

    def refused(self, **options) -> str:
        """The last line of what it says, when it refuses."""
        process = self.start(**options)
        said, _ = process.communicate(timeout=100)
        assert process.returncode == 1, said
        assert not self.output.exists()
        assert TOKEN not in said
        assert "Traceback" not in said
        return said.splitlines()[-1]


@pytest.fixture
def from_hub(tmp_path, hub, source):
    return Fetch(tmp_path, hub.url, source)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@BOTH
def test_a_revision_is_fetched_and_accounted_for(from_hub, hub):
    from_hub.run(licence="of the table")
    kept = {"README.md", "config.json", "tokenizer_config.json", "model.safetensors"}
    assert names(from_hub.output) == kept | {"manifest.json"}
    assert {name for name, _ in hub.sent} == kept
    manifest = json.loads((from_hub.output / "manifest.json").read_text())
    place = {"hub": "the Hugging Face hub", "modelscope": "ModelScope"}[from_hub.source]
    assert manifest["source"] == f"{REPOSITORY} on {place}"
    assert manifest["revision"] == REVISION
    assert manifest["licence"] == "apache-2.0"
    assert manifest["parameters"] == 6_000_000
    for name in kept:
        digest = hashlib.sha256(hub.files[name]).hexdigest()
        assert manifest["files"][name] == {"sha256": digest, "bytes": len(hub.files[name])}
    assert not from_hub.work.exists()


@BOTH
def test_code_comes_only_where_it_is_trusted(from_hub, hub):
    from_hub.run(trusted=True)
    assert "modeling.py" in names(from_hub.output)


@BOTH
def test_a_killed_download_goes_on_and_ends_the_same(from_hub, hub):
    hub.stall = ("model.safetensors", 22_000_000)
    process = from_hub.start()
    deadline = time.monotonic() + 60
    while not partial(from_hub.work) >= 10_000_000:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = partial(from_hub.work)

    hub.stall, before = None, len(hub.sent)
    from_hub.run()
    assert hub.sent[before:] == [("model.safetensors", there)]
    assert (from_hub.output / "model.safetensors").read_bytes() == WEIGHTS
    assert names(from_hub.output) >= {"config.json", "README.md"}


def partial(folder: Path) -> int:
    """Bytes in the unfinished files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*.incomplete"))


@BOTH
def test_half_a_model_is_not_taken_for_one_when_the_network_is_gone(from_hub, hub):
    hub.stall = ("model.safetensors", 22_000_000)
    process = from_hub.start()
    while not partial(from_hub.work):
        time.sleep(0.05)
    process.kill()
    process.communicate()
    hub.close()
    said = from_hub.refused()
    assert f"the model {REPOSITORY} could not be fetched: " in said and "cannot be reached" in said
    assert "goes on where it stopped, or download it elsewhere and use source: local" in said


@BOTH
def test_a_damaged_file_is_refused_and_fetched_anew(from_hub, hub):
    hub.damaged = "model.safetensors"
    said = from_hub.refused()
    assert "came with a file that is not as the hub lists it" in said
    assert "model.safetensors" in said
    hub.damaged = ""
    from_hub.run()
    assert (from_hub.output / "model.safetensors").read_bytes() == WEIGHTS


@BOTH
def test_a_damaged_small_file_is_refused(from_hub, hub):
    hub.damaged = "config.json"
    assert "config.json" in from_hub.refused()
    assert ("model.safetensors", 0) not in hub.sent


@BOTH
def test_no_such_revision(from_hub):
    from_hub.revision = "f" * 40
    assert f"revision {'f' * 40}" in from_hub.refused()


@BOTH
def test_no_such_repository(from_hub):
    from_hub.repository = "owner/other"
    said = from_hub.refused()
    assert "the model owner/other is not on" in said and "private" in said


@BOTH
def test_gated(from_hub, hub):
    hub.gated = True
    said = from_hub.refused()
    login = {"hub": "hf auth login", "modelscope": "ms-hub login"}[from_hub.source]
    assert "gated" in said and f"log in here with `{login}`" in said


@BOTH
def test_private_model_with_the_login_of_the_user(from_hub, hub):
    hub.private = TOKEN
    del from_hub.environment["HF_TOKEN"], from_hub.environment["MODELSCOPE_API_TOKEN"]
    said = from_hub.refused()
    assert "private" in said and "log in here with" in said
    # what `hf auth login` and `ms-hub login` leave in the user's home
    token = from_hub.folder / ".cache" / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    token.write_text(TOKEN)
    HubConfig(config_dir=from_hub.folder / ".modelscope", endpoint=hub.url).save_token(TOKEN)
    from_hub.run()
    written = [path for path in from_hub.output.iterdir() if TOKEN.encode() in path.read_bytes()]
    assert written == []


@pytest.mark.parametrize("source", ["hub"])
def test_offline_mode(from_hub):
    from_hub.environment["HF_HUB_OFFLINE"] = "1"
    said = from_hub.refused()
    assert said == (
        f"fetch: the model {REPOSITORY} is not fetched, as HF_HUB_OFFLINE is set. Unset it, or "
        "download it elsewhere and use source: local."
    )


@pytest.mark.parametrize("source", ["modelscope"])
def test_a_tag_of_modelscope(from_hub):
    from_hub.revision = "v1.0.0"
    from_hub.run()
    assert json.loads((from_hub.output / "manifest.json").read_text())["revision"] == "v1.0.0"


@BOTH
def test_only_pickles_are_refused_before_anything_is_fetched(from_hub, hub):
    hub.files = model_files(model__safetensors=None)
    said = from_hub.refused()
    assert "has no model.safetensors" in said and "neither fetched nor loaded" in said
    assert hub.sent == []


@pytest.mark.parametrize(
    ("changed", "checks", "message"),
    [
        ({"auto_map": {"AutoModel": "modeling.X"}}, {}, "needs Python code of its own"),
        ({"num_attention_heads": 8}, {"group_size": 128}, "cannot be quantised: head_dim: 32"),
        ({}, {"family": "Qwen2.5-7B-Instruct"}, "is a LlamaForCausalLM, and Qwen2.5-7B-Instruct a"),
        ({"architectures": ["InternLM2ForCausalLM"]}, {}, "XTuner would train the head"),
        ({"architectures": None}, {}, "names its architecture"),
    ],
)
@pytest.mark.parametrize("source", ["hub"])
def test_a_model_that_does_not_fit_is_refused_before_its_weights(
    from_hub, hub, changed, checks, message
):
    hub.files = model_files(config__json=json.dumps(CONFIG | changed).encode())
    assert message in from_hub.refused(**checks)
    assert "model.safetensors" not in {name for name, _ in hub.sent}


@BOTH
def test_shards_are_those_of_the_index(from_hub, hub):
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    weight_map = {"a": shards[0], "b": shards[1], "c": shards[0]}
    hub.files = model_files(model__safetensors=None)
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": weight_map}).encode()
    hub.files[shards[0]] = save({"a": torch.zeros(3), "c": torch.zeros(4)})
    assert f"names {shards[1]}, which it does not have" in from_hub.refused()
    hub.files[shards[1]] = save({"b": torch.zeros(5)})
    from_hub.run()
    assert {*shards, "model.safetensors.index.json"} < names(from_hub.output)
    assert "consolidated.safetensors" not in names(from_hub.output)
    assert json.loads((from_hub.output / "manifest.json").read_text())["parameters"] == 12
