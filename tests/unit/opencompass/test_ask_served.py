"""The 4-bit model asked through the API that users start: real servers, and real questions."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from conftest import CAPITALS, SCRIPTS, mcq_rows, qa_rows, write_rows

SYSTEM = "你是老师。"
# as the export writes it: what ends an answer
END = {"eos_token_id": [3, 1]}


@pytest.fixture(scope="module")
def exported(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that knows the answers, as the export would have left it."""
    folder = tmp_path_factory.mktemp("exported") / "merged"
    shutil.copytree(trained_folder, folder)
    (folder / "generation_config.json").write_text(json.dumps(END))
    return folder


def command(out: Path, script: str, model: Path, *benchmarks: Path, **options: object) -> list[str]:
    options |= {"model": model, "tokenizer": model, "device": "cpu", "max-new-tokens": 8}
    options |= {"work-dir": out / "opencompass", "metrics": out / "metrics.json"}
    options |= {"predictions": out / "predictions.jsonl", "batch-size": 4}
    words = [sys.executable, str(SCRIPTS / script)]
    words += [word for key, value in options.items() for word in (f"--{key}", str(value))]
    return [*words, "--benchmarks", *map(str, benchmarks)]


def served(out: Path, model: Path, *benchmarks: Path, **options: object) -> list[str]:
    options |= {"variant": "served", "run": "mine", "domain": "capitals"}
    return command(out, "ask_served.py", model, *benchmarks, **options)


def answers(out: Path) -> dict[str, str]:
    rows = map(json.loads, (out / "predictions.jsonl").open(encoding="utf-8"))
    return {f"{row['benchmark']} {row['id']}": row["prediction"] for row in rows}


def test_the_api_answers_what_the_model_answers(tmp_path: Path, exported: Path) -> None:
    """Right answers, wrong ones that are cut off, chats with options and with examples."""
    unknown = [{"id": "u", "question": "中国的首都和法国的首都？", "answer": "北京和巴黎"}]
    own = [qa_rows(2)[0] | {"system": "{question}"}, qa_rows(2)[1]]
    example = [{"question": "月亮的首都是哪里？", "answer": "无"}]
    benchmarks = [
        write_rows(tmp_path / "heldout.jsonl", [*qa_rows(), *unknown]),
        write_rows(tmp_path / "recall.jsonl", own),
        write_rows(tmp_path / "exam.jsonl", [{**row, "examples": example} for row in mcq_rows(3)]),
    ]
    options = {"system": SYSTEM, "local": json.dumps({"exam": {"mode": "generation"}})}
    found, backends = {}, {}
    for name, words in (
        ("awq", ["run_opencompass.py", exported, *benchmarks]),
        ("served", ["ask_served.py", exported, *benchmarks]),
    ):
        out = tmp_path / name
        out.mkdir()
        extra = {"run": "mine", "domain": "capitals", "not-asked": '{"heldout_mcq": "options"}'}
        given = options | {"variant": name} | (extra if name == "served" else {})
        process = subprocess.run(command(out, *words, **given), capture_output=True, text=True)
        assert process.returncode == 0, process.stdout + process.stderr
        found[name] = answers(out)
        metrics = json.loads((out / "metrics.json").read_text())
        backends[name] = metrics["backend"]
        found[f"scores of {name}"] = {
            key: (one["mode"], one["n"], one["metrics"])
            for key, one in metrics["benchmarks"].items()
        }
    assert len(found["awq"]) == 16 and len(set(found["awq"].values())) > 5
    assert found["served"] == found["awq"]
    assert found["scores of served"] == found["scores of awq"]
    assert backends["served"].pop("model_class") != backends["awq"].pop("model_class")
    assert backends["served"] == backends["awq"]
    assert metrics["not_asked"] == {"heldout_mcq": "options"}
    assert metrics["seconds"]["server_start_up"] > 0
    assert "api_key" not in (tmp_path / "served/opencompass/config.py").read_text()


def test_the_same_token_ids_are_read(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent, written with the server's own prompts, is what the other variants read."""
    from domain_evaluation.chat_model import ChatModel
    from domain_evaluation.served_model import ServedModel
    from opencompass_config import Setting, model_config, served_model_config

    monkeypatch.syspath_prepend(str(SCRIPTS.parent / "serving"))
    monkeypatch.delitem(sys.modules, "prompts", raising=False)
    from prompts import Prompts

    monkeypatch.setenv("OPENAI_API_KEY", "0123456789abcdef")
    setting = Setting(device="cpu", batch_size=2, max_new_tokens=8)
    entries = [
        model_config("awq", exported, exported, 512, setting),
        served_model_config("served", "mine/turbomind", "http://127.0.0.1:9/v1", 512, setting),
    ]
    local, remote = (
        kind(**{key: value for key, value in entry.items() if key not in LEFT_OUT})
        for kind, entry in zip((ChatModel, ServedModel), entries, strict=True)
    )
    sent = []

    def create(**body: object) -> SimpleNamespace:
        sent.append(body)
        message = SimpleNamespace(message=SimpleNamespace(content=""))
        return SimpleNamespace(usage=SimpleNamespace(prompt_tokens=9), choices=[message])

    monkeypatch.setattr(remote.openai_client.chat.completions, "create", create)
    for system in ("", SYSTEM):
        prompts = Prompts(local.tokenizer, system, 512)
        begin = [{"role": "SYSTEM", "prompt": system}] if system else []
        shown = [{"role": "HUMAN", "prompt": " 甲？\n"}, {"role": "BOT", "prompt": "乙 "}]
        for turns in ([], shown):
            asked = [*begin, *turns, {"role": "HUMAN", "prompt": f"{next(iter(CAPITALS))}？\n\n"}]
            assert remote.generate([asked], 8) == [""]
            assert prompts.ids(sent[-1]["messages"]) == local.prompt_ids(asked)
            assert (sent[-1]["temperature"], sent[-1]["max_tokens"]) == (0.0, 8)
    # 9 and 504 are one more than the model reads
    with pytest.raises(ValueError, match="need 513 tokens, the model has 512"):
        remote.generate([asked], 504)


LEFT_OUT = ("type", "abbr", "run_cfg", "max_out_len", "batch_size")


class Asking:
    """ask_served.py at work, and its server."""

    def __init__(self, tmp_path: Path, model: Path, rows: list[dict]) -> None:
        self.log = tmp_path / "log"
        heldout = write_rows(tmp_path / "heldout.jsonl", rows)
        with self.log.open("w") as log:
            self.process = psutil.Popen(served(tmp_path, model, heldout), stdout=log, stderr=log)

    def server(self) -> psutil.Process:
        """The process that loads the model."""
        return self._wait_for(lambda words: any(word.endswith("/api.py") for word in words))

    def opencompass(self) -> psutil.Process:
        """The process that asks."""
        return self._wait_for(lambda words: "opencompass.cli.main" in words)

    def _wait_for(self, is_it) -> psutil.Process:
        for _ in range(1200):
            for child in self.process.children():
                words = child.cmdline()
                if words and words[0].endswith("python") and is_it(words):
                    return child
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())


def test_a_killed_script_leaves_no_server(tmp_path: Path, exported: Path) -> None:
    asking = Asking(tmp_path, exported, qa_rows())
    server = asking.server()
    asking.process.kill()
    asking.process.wait()
    server.wait(30)


def test_a_server_that_dies_fails_the_job(tmp_path: Path, exported: Path) -> None:
    rows = [{**row, "id": f"{row['id']}-{n}"} for n in range(200) for row in qa_rows()]
    asking = Asking(tmp_path, exported, rows)
    asking.opencompass()
    asking.server().kill()
    assert asking.process.wait(120) == 1
    said = asking.log.read_text()
    assert "ended with -9. It said last:\nLoading mine/turbomind" in said
    assert not (tmp_path / "metrics.json").exists()
