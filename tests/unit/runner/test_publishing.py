"""What `make publish` finds to publish, and says if there is nothing, or nothing for others."""

import json
import shlex
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "publishing"))

import launch_publish
from artefacts import WORKSPACE, ArtefactError

PLACE = "results/civil_service/tiny-qlora"
HUB = {
    "base_models": {
        "real": {
            **{"source": "hub", "repository": "owner/real", "revision": "0" * 40},
            **{"prompt_template": "qwen_chat", "trust_remote_code": False},
        }
    },
    "evaluation": {"variants": ["base", "tuned"]},
}


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder to run in, without results."""
    for name in ("resources", "config"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fresh(clone, monkeypatch):
    """All results are what Snakemake would make, whatever is there."""
    monkeypatch.setattr(launch_publish, "check_fresh", lambda *_: None)


def make(*folders):
    """Folders that look like a model from outside."""
    for folder in map(Path, folders):
        weights = folder / (WORKSPACE if folder.name == "turbomind" else "model.safetensors")
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.touch()
        (folder / "config.json").touch()


def planned(*words):
    return launch_publish.plan(launch_publish.parser().parse_args(["--to", "me/model", *words]))


def overlay(**content):
    Path("mine.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return ["--configfile", "mine.yaml"]


def test_forms_of_the_first_run(fresh):
    make(f"{PLACE}/sft/merged", f"{PLACE}/awq", f"{PLACE}/turbomind")
    for form, folder in (("merged", "sft/merged"), ("awq", "awq"), ("turbomind", "turbomind")):
        plan = planned("--what", form)
        assert plan["folder"] == f"{PLACE}/{folder}"
        assert plan["values"] == f"{PLACE}/model_card.json"
        json.dumps(plan)
    assert plan["hub"] == "huggingface"
    assert (plan["public"], plan["upload"], plan["replace"]) == (False, False, False)


@pytest.mark.parametrize(
    "run, hub, why",
    [
        ({}, "modelscope", "belongs to real, which is on Hugging Face"),
        ({"base_model": "tiny"}, "huggingface", "belongs to tiny, which is on no hub"),
        (
            {"stages": [{"method": "sft"}, {"method": "dpo"}]},
            "huggingface",
            "belongs to the model of the stage before it",
        ),
        ({"training": {"finetuning": "full"}}, "huggingface", "all weights were trained"),
    ],
)
def test_an_adapter_that_nobody_could_load(run, hub, why, fresh):
    words = overlay(**HUB, runs={"tiny-qlora": None, "mine": {"base_model": "real"} | run})
    make(*(f"results/civil_service/mine/{stage}/merged" for stage in ("sft", "dpo")))
    with pytest.raises(ArtefactError, match=why) as error:
        planned(*words, "--what", "adapter", "--hub", hub)
    assert str(error.value).endswith("nobody could load it. Publish --what merged.")


def test_an_adapter_of_a_model_of_the_hub(fresh):
    words = overlay(**HUB, runs={"tiny-qlora": None, "mine": {"base_model": "real"}})
    make("results/civil_service/mine/sft/merged")
    plan = planned(*words, "--what", "adapter")
    assert plan["folder"] == "results/civil_service/mine/sft/adapter"
    assert plan["base"] == {"repository": "owner/real", "revision": "0" * 40}


def test_no_model_yet(clone, capsys):
    said = launch_publish.main(["--to", "me/model", *overlay(domain="mine")])
    folder = "results/mine/tiny-qlora/sft/merged"
    assert said.startswith(f"make publish: there is no tiny-qlora/tuned yet ({folder}).")


def test_what_snakemake_would_make_anew_is_not_published(clone):
    make(f"{PLACE}/sft/merged")
    words = overlay(evaluation={"batch_size": 16})
    said = launch_publish.main(["--to", "me/model", *words])
    assert "it is not what the configuration and the workflow would make now (" in said
    assert "model_card" in said
    command = shlex.split(said.splitlines()[1])
    assert command[:2] == ["make", "run"]
    handed = shlex.split(command[2].removeprefix("ARGS="))
    targets = [f"{PLACE}/sft/merged", f"{PLACE}/model_card.json"]
    assert handed == [*words, "--", *targets]
    # of what is not there, --stale makes nothing
    assert "would run" in launch_publish.main(["--to", "me/model", *words, "--stale"])
    Path(f"{PLACE}/model_card.json").touch()
    assert planned(*words, "--stale")["folder"] == targets[0]


@pytest.mark.parametrize("name", ["model", "me/", "me/a/b", "../x", "me/mo del", "https://h/a"])
def test_a_name_that_no_repository_has(name, capsys):
    with pytest.raises(SystemExit):
        launch_publish.parser().parse_args(["--to", name])
    assert "is not like USER/NAME" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit):
        launch_publish.parser().parse_args(["--help"])
    said = capsys.readouterr().out
    assert "--upload" in said
    assert "None" not in said
