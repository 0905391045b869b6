"""The model card of a run, from made-up results."""

import json
import sys
from pathlib import Path

import pytest
from report_files import ATTACK, Inputs

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "publishing"))

import card
import licences
import model_card

GIVEN = {
    "base": {"name": "tiny", "source": "tiny", "repository": None, "revision": None},
    "system": "",
    "data_licence": "cc0-1.0",
    "quantization": {"group_size": 128},
}


class Card:
    """The card of a run of made-up results, written as the rule does."""

    def __init__(self, folder: Path, inputs: Inputs, **given) -> None:
        run = inputs.inventory["runs"][0]
        self.inputs = inputs
        manifest = {
            "source": "/models/secret",
            "licence": "that of this workflow",
            "parameters": 4071168,
            "files": {"model.safetensors": {"sha256": "ab" * 32, "bytes": 1}, "config.json": {}},
        }
        Path(run["manifest"]).write_text(json.dumps(manifest))
        last = [stage for stage in run["stages"] if stage["method"] != "reward"][-1]
        check = {
            "prompt_template": "qwen_chat",
            "conversations_compared": 9,
            "example": "<|im_start|>user\n```你好",
        }
        Path(last["verification"]["chat_template"]).write_text(json.dumps({"summary": check}))
        corpus_card = inputs.path("corpus_card.md")
        corpus_card.write_text('---\nlanguage: ["zh", "en"]\n---\n', encoding="utf-8")
        self.path, values = folder / "model_card.md", folder / "model_card.json"
        argv = ["--inventory", inputs.json("inventory.json", inputs.inventory)]
        argv += ["--run", run["name"], "--corpus-card", str(corpus_card)]
        argv += ["--given", json.dumps(GIVEN | given), "--values", str(values)]
        assert model_card.main([*argv, "--card", str(self.path)]) == 0
        self.text = self.path.read_text(encoding="utf-8")
        self.values = json.loads(values.read_text(encoding="utf-8"))

    @property
    def head(self) -> dict:
        lines = self.text.split("---\n")[1].splitlines()
        pairs = (line.partition(": ") for line in lines)
        return {key: json.loads(value) for key, _, value in pairs}

    def row(self, start: str) -> str:
        (line,) = (line for line in self.text.splitlines() if line.startswith(start))
        return line


def test_numbers_are_those_of_the_files(tmp_path):
    found = Card(tmp_path, Inputs(tmp_path))
    # 36 and 35 of 40, with Wilson's interval
    row = found.row("| heldout | exact match | 40 |")
    assert " 2.5 (0.4 to 12.9) | 90.0 (76.9 to 96.0) | 87.5 (73.9 to 94.5) |" in row
    assert "- heldout, exact match: awq −2.5 (" in found.text
    assert found.row("| read, from 2 sources |") == "| read, from 2 sources | 64 |"
    assert found.row("| rejected: duplicate |") == "| rejected: duplicate | 2 |"
    assert found.row("| kept |") == "| kept | 60 |"
    assert (
        "30 iterations in 42 s; loss 3 at the first that was logged, 0.1 at the last" in found.text
    )
    assert found.row("| lora.r |") == "| lora.r | 64 |"
    assert "Made with xtuner 0.2.0, torch 2.13.0+cpu." in found.text
    assert "The benchmarks have 20 to 40 questions" in found.text
    assert "of no other use" in found.text


def test_front_matter_is_that_of_a_model(tmp_path):
    head = Card(tmp_path, Inputs(tmp_path)).head
    assert head["license"] == "apache-2.0"
    assert head["language"] == ["zh", "en"]
    assert head["library_name"] == "transformers"
    assert head["pipeline_tag"] == "text-generation"
    assert "base_model" not in head  # it is on no hub
    (entry,) = head["model-index"]
    assert entry["name"] == "tiny-qlora"
    values = {result["dataset"]["name"]: result["metrics"] for result in entry["results"]}
    assert values == {
        "civil_service: heldout, 40 questions": [
            {"type": "exact_match", "name": "Exact match", "value": 90.0}
        ],
        "civil_service: recall, 20 questions": [
            {"type": "exact_match", "name": "Exact match", "value": 100.0}
        ],
    }


def test_each_form_has_the_scores_of_its_own_variant(tmp_path):
    values = Card(tmp_path, Inputs(tmp_path)).values
    for form, score in (("merged", 90.0), ("adapter", 90.0), ("awq", 87.5), ("turbomind", 87.5)):
        head = card.front_matter(values, form, None)
        assert head["model-index"][0]["results"][0]["metrics"][0]["value"] == score
        assert "license" not in head


def test_a_base_model_of_a_hub_is_named(tmp_path):
    base = {"name": "b", "source": "hub", "repository": "owner/b", "revision": "0" * 40}
    found = Card(tmp_path, Inputs(tmp_path), base=base)
    assert found.head["base_model"] == "owner/b"
    assert found.head["base_model_relation"] == "finetune"
    assert f"owner/b (revision {'0' * 40})" in found.text
    assert "of no other use" not in found.text


def test_a_base_model_of_this_disk_is_known_by_its_sums(tmp_path):
    base = {"name": "b", "source": "local", "repository": None, "revision": None}
    found = Card(tmp_path, Inputs(tmp_path), base=base)
    assert f"- model.safetensors: `{'ab' * 32}`" in found.text


def test_no_row_and_no_file_of_the_corpus_is_in_it(tmp_path):
    inputs = Inputs(tmp_path, variants=("base", "tuned"), stages=("pt", "sft", "reward"))
    found = Card(tmp_path, inputs)
    text = found.text + json.dumps(found.values, ensure_ascii=False)
    for private in (ATTACK, "法国", "第1号元素", "答案1", "a.docx", "题库", "/models/secret"):
        assert private not in text
    assert str(tmp_path) not in text
    assert "````text\n<|im_start|>user\n```你好\n````" in found.text
    assert "What 4 bits change" not in found.text


@pytest.mark.parametrize(
    "base, data, licence",
    [
        ("apache-2.0", "cc0-1.0", "apache-2.0"),
        ("MIT", "cc-by-4.0", "mit"),
        ("that of this workflow, its code Apache-2.0", "mit", "apache-2.0"),
        ("apache-2.0", "unknown", None),
        ("unknown", "cc0-1.0", None),
        ("llama3", "mit", None),
        ("apache-2.0", "cc-by-nc-4.0", None),
        ("apache-2.0", "cc-by-nd-4.0", None),
    ],
)
def test_licence_of_what_comes_of_two(base, data, licence):
    assert licences.decided(base, data) == licence
