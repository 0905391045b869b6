"""The table of known base models: its form, what a configuration takes from it, what it refuses."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "base_models"))

import table

KNOWN = table.read()
SCHEMAS = ROOT / "workflow" / "schemas"
ALL = ["base", "tuned", "awq", "turbomind"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def schema(name):
    return yaml.safe_load((SCHEMAS / name).read_text(encoding="utf-8"))


def filled(name="mine", **base):
    """A base model as the rest of the workflow sees it."""
    base = table.fill_in(name, {"source": "hub", "revision": COMMIT} | base, KNOWN)
    return {"trust_remote_code": False} | base


def mistakes(name="mine", used=True, variants=ALL, **base):
    return table.mistakes_of(name, filled(name, **base), KNOWN, used, variants)


# -------------------------------------------------------------------------------------- the table


def test_form():
    errors = Draft202012Validator(schema("base_models.schema.yaml")).iter_errors(KNOWN)
    assert [f"{'.'.join(map(str, error.path))}: {error.message}" for error in errors] == []


@pytest.mark.parametrize(
    "mistake", [{"awq": False}, {"awq": "no"}, {"hub": "x/y"}, {"licence": ""}]
)
def test_form_is_checked(mistake):
    entry = KNOWN["Qwen2.5-7B-Instruct"] | mistake
    errors = Draft202012Validator(schema("base_models.schema.yaml")).iter_errors({"x": entry})
    assert len(list(errors)) == 1


def test_prompt_templates_are_those_that_a_configuration_may_name():
    base = schema("config.schema.yaml")["properties"]["base_models"]["additionalProperties"]
    choices = base["properties"]["prompt_template"]["enum"]
    assert {entry["prompt_template"] for entry in KNOWN.values()} <= set(choices)


def test_nothing_is_made_of_a_model_that_cannot_be_trained():
    for name, entry in KNOWN.items():
        if entry["train"] is not True or entry["awq"] is not True:
            assert entry["turbomind"] is not True, name
        if entry["train"] is not True:
            assert entry["awq"] is not True, name


def test_one_architecture_has_one_list_of_layers():
    lists = {}
    for name, entry in KNOWN.items():
        modules = lists.setdefault(entry["architecture"], entry["lora_target_modules"])
        assert entry["lora_target_modules"] == modules, name


# ------------------------------------------------------------------------------------ what is taken


@pytest.mark.parametrize("name", KNOWN)
def test_a_name_of_the_table_says_it_all(name):
    entry = KNOWN[name]
    for source, column in table.REPOSITORY_COLUMNS.items():
        assert table.fill_in(name, {"source": source, "revision": COMMIT}, KNOWN) == {
            "source": source,
            "revision": COMMIT,
            "family": name,
            "repository": entry[column],
            "prompt_template": entry["prompt_template"],
            "lora_target_modules": entry["lora_target_modules"],
            "licence": entry["licence"],
            "trust_remote_code": entry["trust_remote_code"],
        }


def test_family_says_it_for_another_name():
    base = filled("mine", family="Yi-6B-Chat")
    assert base["prompt_template"] == "qwen_chat" and base["repository"] == "01-ai/Yi-6B-Chat"


def test_what_the_user_says_wins():
    own = {"repository": "me/yi", "prompt_template": "default", "lora_target_modules": ["q_proj"]}
    own |= {"licence": "mine", "trust_remote_code": True}
    base = filled("Yi-6B-Chat", **own)
    assert {key: base[key] for key in own} == own


def test_unknown_models_are_left_as_they_are():
    base = {"source": "hub", "repository": "a/b", "revision": COMMIT, "prompt_template": "default"}
    assert table.fill_in("mine", base, KNOWN) == base
    tiny = {"source": "tiny", "text": ["a.txt"], "prompt_template": "qwen_chat"}
    assert table.fill_in("Yi-6B-Chat", tiny, KNOWN) == tiny


def test_neither_table_nor_configuration_is_changed():
    base, before = {"source": "hub", "revision": COMMIT}, json.dumps(KNOWN)
    table.fill_in("Yi-6B-Chat", base, KNOWN)["licence"] = "changed"
    assert base == {"source": "hub", "revision": COMMIT} and json.dumps(KNOWN) == before


@pytest.mark.parametrize(
    ("base", "trusted"),
    [
        ({}, True),
        ({"source": "modelscope"}, True),
        ({"repository": "internlm/internlm2-chat-7b"}, True),
        ({"repository": "internlm/internlm2-chat-7b", "source": "modelscope"}, False),
        ({"repository": "someone/internlm2-chat-7b"}, False),
        ({"source": "local", "path": "nowhere"}, False),
        ({"trust_remote_code": False}, False),
        ({"source": "local", "path": "nowhere", "trust_remote_code": True}, True),
        ({"repository": "someone/internlm2-chat-7b", "trust_remote_code": True}, True),
    ],
)
def test_the_table_vouches_for_its_repositories_and_no_others(base, trusted):
    assert filled("internlm2-chat-7b", **base)["trust_remote_code"] is trusted
    refused = "needs Python code of its own" in " ".join(mistakes("internlm2-chat-7b", **base))
    assert refused is not trusted


def test_no_trust_for_models_that_need_none():
    assert filled("Qwen2.5-7B-Instruct")["trust_remote_code"] is False


# ---------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", KNOWN)
def test_what_the_workflow_cannot_do_is_said_in_one_line(name):
    entry = KNOWN[name]
    said = mistakes(name)
    reasons = [entry[key] for key in ("train", "awq", "turbomind") if entry[key] is not True]
    if not reasons:
        assert said == []
        return
    (line,) = said
    assert line.startswith(f"base_models.{name}: ") and name in line and reasons[0] in line
    assert mistakes(name, used=False) == []


@pytest.mark.parametrize(
    ("awq", "turbomind", "variants", "said", "rest"),
    [
        ("its norms are odd", True, ALL, "awq and turbomind", "base, tuned"),
        (True, "its heads are odd", ALL, "turbomind", "base, tuned, awq"),
        (True, "its heads are odd", ["turbomind"], "turbomind", "base, tuned"),
        (True, "its heads are odd", ["awq", "served"], "served", "awq"),
        ("its norms are odd", True, ["tuned", "served"], "served", "tuned"),
        (True, "its heads are odd", ["base", "awq", "int4"], None, None),
        ("its norms are odd", True, ["tuned", "int4"], "int4", "tuned"),
        ("its norms are odd", "its heads are odd", ["tuned"], None, None),
    ],
)
def test_variants(awq, turbomind, variants, said, rest):
    entry = KNOWN["Yi-6B-Chat"] | {"awq": awq, "turbomind": turbomind}
    base = filled("Yi-6B-Chat")
    lines = table.mistakes_of("Yi-6B-Chat", base, {"Yi-6B-Chat": entry}, True, variants)
    if said is None:
        assert lines == []
        return
    assert re.fullmatch(
        rf"base_models\.Yi-6B-Chat: {said} cannot be made of Yi-6B-Chat: its \w+ are odd\. "
        rf"Set evaluation\.variants: \[{rest}\]\.",
        lines[0],
    )


def test_nearest_names():
    (line,) = mistakes("mine", family="internlm2-7b-chat", repository="a/b")
    assert line.startswith("base_models.mine.family: 'internlm2-7b-chat' is not in config/base_m")
    assert "Did you mean internlm2_5-7b-chat or internlm2-chat-7b?" in line
    (line,) = mistakes("qwen2.5-7b-instruct")
    assert line.startswith(
        "base_models.qwen2.5-7b-instruct: prompt_template and repository must be"
    )
    assert "Did you mean Qwen2.5-7B-Instruct or " in line
    assert "Did you mean" not in mistakes("zzz", repository="a/b")[0]


def model_folder(folder, architecture):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    return {"source": "local", "path": str(folder)}


def test_local_folder_of_another_family(tmp_path):
    folder = model_folder(tmp_path / "m", "Qwen2ForCausalLM")
    (line,) = mistakes("mine", family="Yi-6B-Chat", **folder)
    assert f"{folder['path']} is a Qwen2ForCausalLM, and Yi-6B-Chat a LlamaForCausalLM" in line


def test_head_of_internlm2_is_not_trained_by_accident(tmp_path):
    folder = model_folder(tmp_path / "m", "InternLM2ForCausalLM")
    (line,) = mistakes("mine", prompt_template="internlm2_chat", **folder)
    assert "'lora_target_modules' is missing" in line and "[wqkv, wo, w1, w2, w3]" in line
    assert mistakes("mine", prompt_template="x", lora_target_modules=["wqkv"], **folder) == []


def test_another_prompt_template_is_possible_but_told():
    base = filled("Yi-6B-Chat", prompt_template="default")
    (line,) = table.warnings_of("Yi-6B-Chat", base, KNOWN)
    assert "was made for qwen_chat. With default it has to learn another format" in line
    assert table.warnings_of("Yi-6B-Chat", filled("Yi-6B-Chat"), KNOWN) == []
    unknown = filled("mine", prompt_template="default", repository="a/b")
    assert table.warnings_of("mine", unknown, KNOWN) == []


# ----------------------------------------------------------------------------------- documentation


def documented():
    """The table of config/README.md, made of the real one."""
    head = ["Model", "Prompt template", "Own code", "Train", "AWQ", "TurboMind"]
    rows = [head, ["---"] * len(head)]
    for name, entry in KNOWN.items():
        can = [{True: "yes"}.get(entry[key], "no") for key in ("train", "awq", "turbomind")]
        code = "yes" if entry["trust_remote_code"] else "no"
        rows.append([f"`{name}`", f"`{entry['prompt_template']}`", code, *can])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def test_documentation_shows_the_table():
    text = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
    shown = text.split("<!-- known models -->\n")[1].split("<!-- /known models -->")[0].strip()
    assert shown == documented(), f"config/README.md must show\n{documented()}"
