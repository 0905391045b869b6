"""The corpus stage alone, as a team uses it: their files, a benchmark to keep out, a review."""

import csv
import gzip
import json
import os
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

CORPUS = "results/team/corpus"
# Edits a review as a person would: corrects row 1, deletes row 2, adds one.
EDIT = """
import sys, openpyxl
book = openpyxl.load_workbook(sys.argv[1])
sheet = book["review"]
columns = {cell.value: cell.column for cell in sheet[1]}
sheet.cell(2, columns["answer"]).value = "改过的答案"
sheet.delete_rows(3)
sheet.cell(sheet.max_row + 1, columns["question"]).value = "新问题是什么？"
sheet.cell(sheet.max_row, columns["answer"]).value = "新答案"
book.save(sys.argv[2])
"""


@pytest.fixture
def team(tmp_path):
    """A folder of files in several formats, and an overlay for them."""
    data = tmp_path / "data"
    data.mkdir()
    pairs = [(f"第{number}号仓库存放什么货物？", f"货物{number}") for number in range(60)]
    with (data / "一 仓库.csv").open("w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows([("问题", "答案"), *pairs[:30], ("空答案在哪里？", "")])
    with gzip.open(data / "more.jsonl.gz", "wt", encoding="utf-8") as file:
        for question, answer in pairs[30:]:
            messages = [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    (tmp_path / "benchmark.jsonl").write_text(
        json.dumps({"question": pairs[0][0], "answer": "?"}, ensure_ascii=False) + "\n", "utf-8"
    )
    overlay = {
        "domain": "team",
        "corpus": {
            "sources": [{"path": "data"}],
            "license": "cc0-1.0",
            "exports": ["openai", "parquet"],
            "split": {"decontaminate": [{"path": "benchmark.jsonl"}]},
        },
    }
    write(tmp_path, overlay)
    return tmp_path


def write(folder, overlay):
    (folder / "team.yaml").write_text(yaml.safe_dump(overlay, allow_unicode=True), "utf-8")


def read_lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_files_of_a_team(snakemake, team):
    result = snakemake("--cores", "2", "--configfile", "team.yaml", "--", "corpus")
    assert result.returncode == 0, result.stdout
    ledger = json.loads((team / CORPUS / "ledger.json").read_text("utf-8"))
    assert ledger["total"]["rows"] == 61
    found = {source["source"]: source for source in ledger["sources"]}
    assert found["data/一 仓库.csv"]["facts"]["encoding"] == "gb18030"
    assert found["data/一 仓库.csv"]["rejected"]["empty_answer"] == 1
    assert found["data/more.jsonl.gz"]["kept"] == 30
    assert ledger["split"]["leaked"] == 0

    asked = [
        turn["input"]
        for row in read_lines(team / CORPUS / "train.jsonl")
        for turn in row["conversation"]
    ]
    assert "第0号仓库存放什么货物？" not in asked, "a question of the benchmark"
    exported = read_lines(team / CORPUS / "exports" / "openai.jsonl")
    assert [row["messages"][0]["content"] for row in exported] == asked
    assert (team / CORPUS / "exports" / "records.parquet").read_bytes()[:4] == b"PAR1"
    card = (team / CORPUS / "corpus_card.md").read_text("utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "cc0-1.0"
    with (team / CORPUS / "rejected.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["reason"] for row in csv.DictReader(file)].count("empty_answer") == 1


def test_a_person_reviews_the_rows(snakemake, team):
    overlay = {"domain": "team", "corpus": {"sources": [{"path": "data/more.jsonl.gz"}]}}
    write(team, overlay)
    result = snakemake("--cores", "2", "--configfile", "team.yaml", "--", "review")
    assert result.returncode == 0, result.stdout
    edit(team / CORPUS / "review.xlsx", team / "edited.xlsx")

    overlay["corpus"]["reviewed"] = "edited.xlsx"
    write(team, overlay)
    result = snakemake("--cores", "2", "--configfile", "team.yaml", "--", "corpus")
    assert result.returncode == 0, result.stdout
    ledger = json.loads((team / CORPUS / "ledger.json").read_text("utf-8"))
    changes = {"unchanged": 28, "edited": 1, "deleted": 1, "added": 1, "not_reviewed": 0}
    assert ledger["review"] == changes
    assert ledger["total"]["rows"] == 31
    assert ledger["total"]["rejected"] == {"deleted_in_review": 1}

    with gzip.open(team / "data" / "more.jsonl.gz", "at", encoding="utf-8") as file:
        file.write('{"question": "又一个问题？", "answer": "又一个答案"}\n')
    result = snakemake("--cores", "2", "--configfile", "team.yaml", "--", "corpus")
    assert result.returncode != 0
    assert "edited.xlsx: is older than data/more.jsonl.gz" in result.stdout

    result = snakemake("--cores", "2", "--configfile", "team.yaml", "--", "review")
    assert result.returncode == 0, result.stdout
    (team / CORPUS / "review.xlsx").rename(team / "edited.xlsx")
    result = snakemake("--cores", "2", "--configfile", "team.yaml", "--", "corpus")
    assert result.returncode == 0, result.stdout
    ledger = json.loads((team / CORPUS / "ledger.json").read_text("utf-8"))
    assert ledger["review"] == changes | {"unchanged": 29}, "the edits were carried over"


def edit(review, edited):
    shell = ROOT / "workflow" / "envshell" / "data" / "bash"
    subprocess.run(
        [shell, "-c", 'python -c "$@"', "python", EDIT, str(review), str(edited)],
        env=os.environ | {"FINETUNE_RUNNER_PYTHON": sys.executable},
        check=True,
    )
