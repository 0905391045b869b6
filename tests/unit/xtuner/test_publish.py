"""Publishing to hubs, with their own clients, to servers of our own."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from upload_server import READ_ONLY, TOKEN, USER, Stored, UploadServer

SCRIPTS = Path(__file__).resolve().parents[3] / "workflow" / "scripts"
SCRIPT = SCRIPTS / "publishing" / "publish.py"
sys.path.insert(0, str(SCRIPTS / "publishing"))

import contents
import publish as program

NAME = f"{USER}/model"
BASE = {"repository": "owner/base", "revision": "0" * 40}
BOTH = pytest.mark.parametrize("hub", ["huggingface", "modelscope"])
VALUES = {
    "domain": "civil_service",
    "run": "tiny-qlora",
    "base": {
        **{"name": "base", "source": "hub", **BASE, "licence": "apache-2.0"},
        **{"parameters": 4_000_000, "weights": {}},
    },
    "data_licence": "cc0-1.0",
    "languages": ["zh"],
    "prompt": {"template": "qwen_chat", "compared": 7, "example": "<s>user", "system": ""},
    "variants": ["base", "tuned"],
    "scores": [
        {
            **{"benchmark": "heldout", "metric": "exact_match", "n": 40},
            **{"scores": {"base": 0.025, "tuned": 0.9}},
            "intervals": {"base": [0.004, 0.129], "tuned": [0.769, 0.96]},
        }
    ],
    "costs": [],
    "ledger": {
        **{"sources": 2, "rows": 64, "not_sampled": 0, "kept": 60, "rejected": {"duplicate": 4}},
        **{"train": 20, "heldout": 40, "leaked": 0, "review": None},
    },
    "stages": [
        {
            **{"method": "sft", "settings": {"steps": 30, "lora.r": 64}, "iterations": 30},
            **{"seconds": 41.5, "first_loss": 3.0, "last_loss": 0.1},
        }
    ],
    "quantization": None,
    "tools": {"xtuner": "0.2.0"},
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def large(seed: int) -> bytes:
    return bytes((seed * 7 + place * place) % 251 for place in range(40_000))


@pytest.fixture
def server():
    server = UploadServer()
    yield server
    server.close()


class Publish:
    """Runs publish.py as launch_publish.py does, as a user who is logged in."""

    def __init__(self, folder: Path, url: str, hub: str) -> None:
        self.folder, self.hub = folder, hub
        self.merged = folder / "results" / "merged"
        self.base = folder / "results" / "base"
        self.write("merged/model-00001-of-00002.safetensors", large(1))
        self.write("merged/model-00002-of-00002.safetensors", large(2))
        self.write("merged/config.json", b'{"_name_or_path": "results/base", "hidden_size": 64}')
        self.write("merged/tokenizer.json", b'{"model": {"vocab": {"a": 0}}}')
        self.write("merged/chat_template.jinja", b"{{ messages }}")
        self.write("merged/.snakemake_timestamp", b"")
        self.write("merged/manifest.json", b'{"source": "/models/base"}')
        self.write("base/LICENSE", b"Apache")
        self.write("base/config.json", b"{}")
        self.values = folder / "model_card.json"
        self.values.write_text(json.dumps(VALUES), encoding="utf-8")
        self.plan = {
            **{"form": "merged", "what": "civil_service, tiny-qlora, merged"},
            **{"folder": str(self.merged), "tokenizer": str(self.merged)},
            **{"values": str(self.values), "base_folder": str(self.base), "base": BASE},
            **{"trusted": False, "hub": hub, "repository": NAME, "public": False},
            **{"licence": None, "replace": False, "upload": True},
        }
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "HF_ENDPOINT": url,
            "HF_TOKEN": TOKEN,
            "MODELSCOPE_ENDPOINT": url,
            "MODELSCOPE_API_TOKEN": TOKEN,
        }

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def as_user(self, token: str | None) -> None:
        for variable in ("HF_TOKEN", "MODELSCOPE_API_TOKEN"):
            self.environment.pop(variable, None)
            if token:
                self.environment[variable] = token

    def start(self, **changed) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, SCRIPT, json.dumps(self.plan | changed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
        )

    def run(self, **changed) -> str:
        process = self.start(**changed)
        said, errors = process.communicate(timeout=100)
        assert "hf_this" not in said + errors
        assert process.returncode == 0, errors
        return said

    def refused(self, **changed) -> str:
        """What it says when it refuses."""
        return self.refusal(self.start(**changed))

    @staticmethod
    def refusal(process: subprocess.Popen) -> str:
        said, errors = process.communicate(timeout=100)
        assert process.returncode == 1, said
        assert "hf_this" not in said + errors
        assert "Traceback" not in errors
        # the bars of uploads that still ran may follow
        (line,) = (line for line in errors.splitlines() if line.startswith("make publish: "))
        return line


@pytest.fixture
def publish(tmp_path, server, request):
    parameters = getattr(request.node, "callspec", None)
    hub = parameters.params.get("hub", "huggingface") if parameters else "huggingface"
    return Publish(tmp_path, server.url, hub)


PUBLISHED = {
    *("README.md", "LICENSE", "config.json", "tokenizer.json", "chat_template.jinja"),
    *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
}
ALL_THERE = "All of it is there, and its sums are those of the files here."


@BOTH
def test_a_look_sends_nothing(hub, publish, server):
    said = publish.run(upload=False)
    assert f"civil_service, tiny-qlora, merged -> {NAME} on " in said
    assert said.splitlines()[0].endswith(", private")
    assert said.splitlines()[1] == "licence: apache-2.0"
    weights = "model-00001-of-00002.safetensors"
    assert f"new              40,000  {sha256(large(1))}  {weights}" in said
    assert said.splitlines()[-1] == "Nothing was sent. To send it, say the same with --upload."
    assert server.repositories == {}
    assert server.sent == []


def test_a_look_without_a_network(publish, server):
    server.down = True
    said = publish.run(upload=False)
    assert "What is there is not known: Hugging Face cannot be reached" in said
    assert sha256(large(2)) in said


@BOTH
def test_all_of_it_is_there_afterwards(hub, publish, server):
    assert publish.run().splitlines()[-1] == ALL_THERE
    repository = server.repositories[NAME]
    assert repository.private
    assert set(repository.files) - {".gitattributes"} == PUBLISHED
    assert repository.files["model-00002-of-00002.safetensors"] == large(2)
    assert len(repository.commits) == 2
    # nothing of this machine, and nothing of the training's folders
    assert json.loads(repository.files["config.json"]) == {"hidden_size": 64}
    assert not any(str(publish.folder).encode() in found for found in repository.files.values())
    head = yaml.safe_load(repository.files["README.md"].decode().split("---\n")[1])
    assert head["license"] == "apache-2.0"
    assert head["base_model"] == "owner/base"
    assert head["model-index"][0]["results"][0]["metrics"][0]["value"] == 90.0
    # again: nothing to do
    said = publish.run()
    assert said.splitlines()[-1] == "All of it is there already: nothing is sent."
    assert len(server.sent) == 2
    assert len(repository.commits) == 2


@BOTH
def test_only_what_has_changed_is_sent(hub, publish, server):
    publish.run()
    publish.write("merged/model-00002-of-00002.safetensors", large(3))
    said = publish.run(upload=False)
    assert f"replaced         40,000  {sha256(large(3))}" in said
    assert publish.run().splitlines()[-1] == ALL_THERE
    assert server.sent[2:] == [sha256(large(3))]
    assert server.repositories[NAME].files["model-00002-of-00002.safetensors"] == large(3)


def wait_for(server: UploadServer, content: bytes) -> None:
    """Until a file has arrived."""
    end = time.monotonic() + 60
    while sha256(content) not in server.blobs:
        assert time.monotonic() < end
        time.sleep(0.05)


@BOTH
def test_killed_in_the_middle(hub, publish, server):
    """The file that has arrived is not sent again, and nothing is seen before all is there."""
    server.stall = sha256(large(2))
    process = publish.start()
    assert server.stalled.wait(60)
    wait_for(server, large(1))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert set(server.repositories[NAME].files) <= {".gitattributes"}
    assert server.sent == [sha256(large(1))]
    server.stall = ""
    assert publish.run().splitlines()[-1] == ALL_THERE
    assert server.sent == [sha256(large(1)), sha256(large(2))]
    assert set(server.repositories[NAME].files) >= PUBLISHED


@BOTH
def test_a_connection_that_is_cut_is_made_again(hub, publish, server):
    server.cut = sha256(large(1))
    assert publish.run().splitlines()[-1] == ALL_THERE
    assert sorted(server.sent) == sorted([sha256(large(1)), sha256(large(2))])


def test_a_large_file_goes_in_parts(publish, server):
    server.part = 15_000
    assert publish.run().splitlines()[-1] == ALL_THERE
    assert server.repositories[NAME].files["model-00001-of-00002.safetensors"] == large(1)


@BOTH
@pytest.mark.parametrize("token", [None, "hf_this_is_wrong"])
def test_without_a_login(hub, token, publish, server):
    publish.as_user(token)
    said = publish.refused()
    assert "HF_TOKEN" in said or "MODELSCOPE_API_TOKEN" in said
    assert server.sent == []


@BOTH
def test_without_the_right_to_write(hub, publish, server):
    publish.as_user(READ_ONLY)
    assert "does not let this user write there" in publish.refused()
    server.repositories["other/model"] = Stored(private=False)
    publish.as_user(TOKEN)
    said = publish.refused(repository="other/model", public=True)
    # ModelScope's client says the reason of each file above the sum of them
    assert "does not let this user write there" in said or "7 file(s) failed to upload" in said
    assert server.repositories["other/model"].files == {}
    assert server.sent == []


@BOTH
def test_another_visibility_than_asked_for(hub, publish, server):
    server.repositories[NAME] = Stored(private=False)
    assert publish.refused() == (
        f"make publish: {NAME} is public and was to be private. Change that in its settings, "
        "say --public, or take another name."
    )
    assert publish.run(public=True).splitlines()[-1] == ALL_THERE


@pytest.mark.parametrize("hub", ["modelscope"])
def test_a_visibility_that_is_not_told(hub, publish, server):
    server.repositories[NAME] = Stored(private=None)
    assert publish.refused().endswith(f"ModelScope does not say whether {NAME} is public.")
    assert server.sent == []


@BOTH
def test_other_files_stay_unless_told_otherwise(hub, publish, server):
    server.repositories[NAME] = Stored(private=True, files={"model.safetensors": b"old"})
    assert "holds other files: model.safetensors. They would stay" in publish.refused()
    assert "taken away: model.safetensors" in publish.run(replace=True)
    assert set(server.repositories[NAME].files) == PUBLISHED


def test_a_commit_of_somebody_else_at_the_same_time(publish, server):
    publish.run()
    publish.write("merged/config.json", b'{"hidden_size": 128}')
    server.before_commit = lambda: server.repositories[NAME].commits.append("theirs")
    assert "was changed at the same time" in publish.refused()
    assert json.loads(server.repositories[NAME].files["config.json"]) == {"hidden_size": 64}


def test_a_file_that_changes_meanwhile(publish, server):
    server.stall = sha256(large(2))
    process = publish.start()
    assert server.stalled.wait(60)
    wait_for(server, large(1))
    publish.write("merged/model-00001-of-00002.safetensors", large(5))
    server.stall = ""
    server.over.set()
    said = publish.refusal(process)
    assert "model-00001-of-00002.safetensors changed while it was published" in said
    assert server.repositories[NAME].files == {}


def test_damage_on_the_way(publish, server):
    server.damaging = True
    assert "Hugging Face said" in publish.refused()
    assert server.repositories[NAME].files == {}


@pytest.mark.parametrize(
    "name, content, text",
    [
        ("pytorch_model.bin", b"", "holds files that do not belong to it: pytorch_model.bin"),
        ("modeling.py", b"", "holds files that do not belong to it: modeling.py"),
        (".env", b"", "holds files that do not belong to it: .env"),
        ("generation_config.json", b'{"x": {"y": "/home/a/b"}}', "x.y names a place on this"),
        ("generation_config.json", b'{"x": ["results/base"]}', "x names a place on this machine"),
        ("generation_config.json", b'{"x": "models/base"}', "x names a place on this machine"),
        ("tokenizer_config.json", b'{"name_or_path": "../a/b"}', "name_or_path names a place"),
    ],
)
def test_what_does_not_belong(name, content, text, publish, monkeypatch):
    publish.write(f"merged/{name}", content)
    monkeypatch.chdir(publish.folder)
    Path("models/base").mkdir(parents=True)
    with pytest.raises(contents.Refused, match=text):
        contents.collect(publish.plan, "card")


def test_code_of_a_model_that_is_trusted(publish):
    publish.write("merged/modeling.py", b"print()")
    parts = contents.collect(publish.plan | {"trusted": True}, "card")
    assert "modeling.py" in [part.name for part in parts]


def test_a_workspace_of_turbomind(publish):
    """Links between its folders are left out, and weights have no endings."""
    publish.write("turbomind/config.json", b"{}")
    publish.write("turbomind/triton_models/weights/config.yaml", b"model_name: x")
    publish.write("turbomind/triton_models/weights/norm.weight", b"1")
    link = publish.folder / "results/turbomind/model_repository"
    link.symlink_to("triton_models")
    plan = publish.plan | {"form": "turbomind", "folder": str(link.parent)}
    assert {part.name for part in contents.collect(plan, "card")} == {
        *("README.md", "LICENSE", "config.json", "triton_models/weights/config.yaml"),
        "triton_models/weights/norm.weight",
    }
    publish.write("turbomind/triton_models/weights/x.yaml", str(Path.cwd() / "a").encode())
    with pytest.raises(contents.Refused, match=r"x\.yaml names a place on this machine"):
        contents.collect(plan, "card")


def test_an_adapter_names_its_base_model_as_the_hub_does(publish, server):
    config = {"base_model_name_or_path": str(publish.base), "revision": None, "r": 64}
    publish.write("adapter/adapter_config.json", json.dumps(config).encode())
    publish.write("adapter/adapter_model.safetensors", large(4))
    publish.write("adapter/README.md", b"of peft")
    publish.write("adapter/xtuner_config.py", b"data = '/home/me'")
    publish.run(form="adapter", folder=str(publish.folder / "results" / "adapter"))
    files = server.repositories[NAME].files
    assert set(files) == {
        *("README.md", "LICENSE", "adapter_config.json", "adapter_model.safetensors"),
        *("tokenizer.json", "chat_template.jinja"),
    }
    assert json.loads(files["adapter_config.json"]) == {
        **{"base_model_name_or_path": "owner/base", "revision": "0" * 40, "r": 64}
    }
    head = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert head["base_model_relation"] == "adapter"
    assert head["library_name"] == "peft"


def test_a_folder_without_weights(publish):
    for path in publish.merged.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(contents.Refused, match="holds no weights"):
        contents.collect(publish.plan, "card")


@pytest.mark.parametrize("base, data", [("llama2", "mit"), ("apache-2.0", "unknown")])
def test_not_public_without_a_licence(base, data, publish):
    values = VALUES | {"base": VALUES["base"] | {"licence": base}, "data_licence": data}

    def head(**changed):
        licence = program.licence_of(publish.plan | changed, values)
        card = program.card.render(values, "merged", licence)
        return card, yaml.safe_load(card.split("---\n")[1])

    with pytest.raises(contents.Refused, match=f"licence is '{base}' and that of the data '{data}"):
        head(public=True)
    card, found = head()
    assert "The licence of this model is not decided" in card
    assert "license" not in found
    _, found = head(public=True, licence="My own licence")
    assert (found["license"], found["license_name"]) == ("other", "My own licence")
    _, found = head(public=True, licence="llama2")
    assert found["license"] == "llama2"
