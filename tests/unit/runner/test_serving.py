"""What `make chat`, `make api` and `make web` find to serve, and say if there is nothing."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SERVING = ROOT / "workflow" / "scripts" / "serving"
sys.path.insert(0, str(SERVING))

import launch
import options
import validation
from artefacts import WORKSPACE

STAGES = {"stages": [{"method": "pt"}, {"method": "sft"}, {"method": "dpo"}]}
TOKEN = "0123456789abcdef"


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder to run in, without results."""
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(validation, "has_cuda", lambda: False)
    return tmp_path


def make(*folders):
    """Folders that look like a model from outside."""
    for folder in map(Path, folders):
        weights = folder / (WORKSPACE if folder.name == "turbomind" else "model.safetensors")
        if "dequantized" in folder.parts:
            weights = folder / "model.safetensors"
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.touch()
        (folder / "config.json").touch()


def overlay(name, **content):
    Path(name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return ["--configfile", name]


def planned(program, *words):
    return launch.plan(program, options.parser(program).parse_args(words))


def folders(plan):
    return [model["folder"] for model in plan["models"]]


PLACE = "results/civil_service/tiny-qlora"


def test_default_is_the_merged_model_of_the_first_run(clone):
    make(f"{PLACE}/sft/merged")
    for program in ("chat", "api"):
        plan = planned(program)
        assert folders(plan) == [f"{PLACE}/sft/merged"]
        assert plan["models"][0]["name"] == "tiny-qlora/tuned"
        assert plan["device"] == "cpu"
        json.dumps(plan)


def test_page_has_the_base_model_beside_it(clone):
    make(f"{PLACE}/sft/merged", "results/base_models/tiny")
    plan = planned("web")
    assert folders(plan) == ["results/base_models/tiny", f"{PLACE}/sft/merged"]
    assert {model["tokenizer"] for model in plan["models"]} == {f"{PLACE}/sft/merged"}
    assert folders(planned("web", "--single")) == [f"{PLACE}/sft/merged"]
    assert folders(planned("web", "--variant", "base")) == ["results/base_models/tiny"]


def test_stages_and_starts(clone):
    runs = {
        "tiny-qlora": None,
        "staged": {"base_model": "tiny", **STAGES},
        "second": {"start_from": "staged/sft", "stages": [{"method": "orpo"}]},
    }
    words = overlay("mine.yaml", runs=runs)
    place = "results/civil_service"
    make(*(f"{place}/staged/{stage}/merged" for stage in ("pt", "sft", "dpo")))
    make(f"{place}/second/orpo/merged", "results/base_models/tiny")
    assert folders(planned("chat", *words)) == [f"{place}/staged/dpo/merged"]
    assert folders(planned("chat", *words, "--variant", "pt")) == [f"{place}/staged/pt/merged"]
    assert folders(planned("web", *words, "--run", "second")) == [
        f"{place}/staged/sft/merged",  # what this run starts from
        f"{place}/second/orpo/merged",
    ]


def test_on_a_gpu_the_best_form_that_is_there(clone, monkeypatch):
    monkeypatch.setattr(validation, "has_cuda", lambda: True)
    wanted = {"sft/merged": "model", "awq": "awq", "turbomind": "turbomind"}
    for name, form in wanted.items():
        make(f"{PLACE}/{name}")
        (model,) = planned("api")["models"]
        assert (model["folder"], model["form"]) == (f"{PLACE}/{name}", form)
    (model,) = planned("api", "--variant", "tuned")["models"]
    assert model["folder"] == f"{PLACE}/sft/merged"


def test_without_a_gpu_the_4_bit_weights_are_read_back(clone):
    make(f"{PLACE}/sft/merged", f"{PLACE}/awq", f"{PLACE}/dequantized/awq")
    (model,) = planned("api", "--variant", "awq")["models"]
    assert (model["folder"], model["form"]) == (f"{PLACE}/dequantized/awq", "model")


def test_system_prompt_is_that_of_the_configuration(clone):
    make(f"{PLACE}/sft/merged")
    words = overlay("mine.yaml", corpus={"system": "你是 {一个} 助手。"})
    assert planned("chat", *words)["system"] == "你是 {一个} 助手。"
    assert planned("chat", *words, "--system", "")["system"] == ""


def launched(*words, **variables):
    """The program as make starts it; it ends before it starts anything."""
    return subprocess.run(
        [sys.executable, str(SERVING / "launch.py"), *words],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", **variables},
    )


def test_dry_run_says_what_would_be_served(clone):
    make(f"{PLACE}/sft/merged", "results/base_models/tiny")
    done = launched("web", "--dry-run")
    assert done.stdout == (
        "tiny-qlora/base: results/base_models/tiny, by transformers on the CPU, float32\n"
        f"tiny-qlora/tuned: {PLACE}/sft/merged, by transformers on the CPU, float32\n"
        "at http://127.0.0.1:7860\n"
    )


def test_dry_run_on_a_gpu_shows_the_command_line(clone, monkeypatch, capsys):
    monkeypatch.setattr(validation, "has_cuda", lambda: True)
    make(f"{PLACE}/sft/merged", f"{PLACE}/turbomind", f"{PLACE}/awq")
    assert launch.main(["api", "--dry-run"]) is None
    command = shlex.split(capsys.readouterr().out.splitlines()[1])
    assert command[:4] == ["lmdeploy", "serve", "api_server", f"{PLACE}/turbomind"]
    assert command[command.index("--server-name") + 1] == "127.0.0.1"
    assert "--model-format" not in command
    assert launch.main(["api", "--dry-run", "--variant", "awq"]) is None
    command = shlex.split(capsys.readouterr().out.splitlines()[1])
    assert command[command.index("--model-format") + 1] == "awq"


@pytest.mark.parametrize("program", ["chat", "api", "web"])
def test_no_model_yet(program, clone):
    words = overlay("my file.yaml", domain="mine")
    done = launched(program, *words)
    assert done.returncode == 1
    said, command = done.stderr.splitlines()
    folder = "results/mine/tiny-qlora/sft/merged"
    assert said == f"make {program}: there is no tiny-qlora/tuned yet ({folder}). This makes it:"
    # what make hands to Snakemake
    assert shlex.split(command)[:2] == ["make", "run"]
    handed = shlex.split(shlex.split(command)[2].removeprefix("ARGS="))
    assert handed == ["--configfile", "my file.yaml", "--", folder]


def test_a_half_made_model_is_none(clone):
    Path(f"{PLACE}/sft/merged").mkdir(parents=True)
    Path(f"{PLACE}/sft/merged/config.json").touch()
    assert "there is no tiny-qlora/tuned yet" in launched("chat").stderr


@pytest.mark.parametrize(
    "words, text",
    [
        (["--run", "x"], "there is no run 'x'; the configuration has tiny-qlora"),
        (["--variant", "x"], "tiny-qlora has no variant 'x'; it has base, sft, tuned, awq, turb"),
        (["--configfile", "no.yaml"], "--configfile: there is no file no.yaml"),
        (["--temperature", "-1"], "--temperature: -1 is not at least 0 and at most 2"),
        (["--temperature", "nan"], "--temperature: nan is not"),
        (["--top-p", "0"], "--top-p: 0 is not above 0 and at most 1"),
        (["--max-tokens", "0"], "--max-tokens: 0 is not at least 1"),
        (["--port", "70000"], "--port: 70000 is not at least 1 and at most 65535"),
        (["--nope"], "unrecognized arguments: --nope"),
    ],
)
def test_mistakes_are_named(words, text, clone):
    make(f"{PLACE}/sft/merged")
    done = launched("api", *words)
    assert done.returncode != 0
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mistake_in_the_overlay_is_named(clone):
    done = launched("chat", *overlay("mine.yaml", domian="x"))
    assert "unknown key 'domian'. Did you mean 'domain'?" in done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
@pytest.mark.parametrize(
    "token", ["", "short", "with a space in between", "密码密码密码密码密码密码密码密码"]
)
def test_others_are_not_let_in_without_a_good_token(host, token, clone):
    make(f"{PLACE}/sft/merged")
    variables = {"SERVING_TOKEN": token} if token else {}
    done = launched("api", "--host", host, "--dry-run", **variables)
    assert done.returncode == 1
    assert "SERVING_TOKEN" in done.stderr
    assert launched("api", "--host", host, "--dry-run", SERVING_TOKEN=TOKEN).returncode == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_this_machine_needs_no_token(host):
    assert options.token_mistake(host, "") is None
    assert options.token_mistake(host, "short")


@pytest.mark.parametrize("program", ["chat", "api", "web"])
def test_help_names_every_option(program, capsys):
    with pytest.raises(SystemExit):
        options.parser(program).parse_args(["--help"])
    text = capsys.readouterr().out
    assert "--configfile" in text
    assert ("--port" in text) == (program != "chat")
    assert "None" not in text
