"""Reading all sources into rows.parquet, in one process and in several."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
CORPUS = ROOT / "workflow" / "scripts" / "corpus"
sys.path.insert(0, str(CORPUS))

import files
import ingest
from readers import jsonl
from workers import WorkerError, Workers

FILES = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def run(
    folder: Path, sources: list[dict], threads: int = 1, seed: int = 42
) -> tuple[list[dict], list[dict]]:
    """Rows and counts of sources."""
    rows, counts = folder / "rows.parquet", folder / "ingest.json"
    arguments = ["--sources", json.dumps(sources), "--rows", str(rows), "--counts", str(counts)]
    arguments += ["--seed", str(seed)]
    assert ingest.main([*arguments, "--threads", str(threads)]) == 0
    written = json.loads(counts.read_text(encoding="utf-8"))
    assert written["review"] is None
    assert pq.read_schema(rows).equals(files.ROWS)
    table = pq.read_table(rows)
    table.validate(full=True)
    return table.to_pylist(), written["sources"]


def write_lines(path: Path, *values: object) -> dict:
    """A source of JSON lines; texts are taken as lines."""
    lines = (v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    return {"path": str(path)}


def pairs(number: int, text: str = "这是一个答案，我们都知道。") -> list[dict]:
    """Questions with answers and one more field."""
    return [{"question": f"问题{n}？", "answer": f"{text}{n}", "id": n} for n in range(number)]


def test_a_row_of_each_kind(tmp_path):
    source = write_lines(
        tmp_path / "a.jsonl",
        {"question": "甲？", "answer": "乙", "topic": "丙", "n": 1},
        {"text": "一篇文章"},
        {"prompt": "甲？", "chosen": "好", "rejected": "坏"},
        {"question": "选哪个？", "options": ["子", "丑"], "answer": "B"},
        {"neither": "nor"},
        {"question": "half"[:2], "answer": 1.5, "x": None},
    )
    rows, counts = run(tmp_path, [{**source, "side": "heldout"}])
    chat, text, preference, choice, unknown, _ = rows
    assert [(m["role"], m["content"]) for m in chat["messages"]] == [
        ("user", "甲？"),
        ("assistant", "乙"),
    ]
    assert chat["kind"] == "chat" and json.loads(chat["meta"]) == {"topic": "丙", "n": 1}
    assert chat["chosen"] is chat["rejected"] is chat["text"] is chat["options"] is None
    assert (text["kind"], text["text"], text["messages"]) == ("text", "一篇文章", None)
    assert preference["kind"] == "preference"
    assert preference["chosen"] == [{"role": "assistant", "content": "好"}]
    assert preference["rejected"] == [{"role": "assistant", "content": "坏"}]
    assert choice["options"] == ["子", "丑"] and choice["messages"][-1]["content"] == "丑"
    assert (unknown["kind"], unknown["reason"]) == (None, "unknown_shape") and unknown["detail"]
    for number, row in enumerate(rows, 1):
        assert (row["source"], row["locator"]) == (source["path"], f"line {number}")
        assert row["side"] == "heldout" and row["reviewed"] is None
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert [row["original"] for row in rows] == lines
    assert (counts[0]["rows"], counts[0]["blank"]) == (6, 0)
    assert counts[0]["facts"] == {"encoding": "utf-8"}


def mixed_sources(folder: Path) -> list[dict]:
    """Files that are read in blocks and files that are read whole, long and short, out of order."""
    array = folder / "b.jsonl"
    array.write_text(json.dumps(pairs(300)), encoding="utf-8")
    table = folder / "d.csv"
    table.write_text("question,answer\n" + "".join(f"q{n},a{n}\n" for n in range(200)))
    return [
        write_lines(folder / "a.jsonl", *pairs(400), "", "broken", "", *pairs(3, "完")),
        {"path": str(array)},
        write_lines(folder / "c.json", *pairs(250, "另一个答案在这里。")),
        {"path": str(table), "side": "train"},
        write_lines(folder / "e.jsonl"),
        write_lines(folder / "f.jsonl", *pairs(2, "最后的答案。")),
    ]


def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "BLOCK", 1000)
    sources = mixed_sources(tmp_path)
    results = {}
    for threads in (1, 2, 5):
        folder = tmp_path / str(threads)
        folder.mkdir()
        rows, counts = run(folder, sources, threads)
        results[threads] = (folder / "rows.parquet").read_bytes(), counts
    assert results[1] == results[2] == results[5]
    assert [count["rows"] for count in counts] == [404, 300, 250, 200, 0, 2]
    assert [count["blank"] for count in counts] == [2, 0, 0, 0, 0, 0]
    assert [row["source"] for row in rows] == [
        count["source"] for count in counts for _ in range(count["rows"])
    ]
    assert [row["locator"] for row in rows[-2:]] == ["line 1", "line 2"]
    assert len({count["sha256"] for count in counts}) == len(sources)


def test_json_lines_named_json_are_read_in_blocks(tmp_path, monkeypatch):
    source = write_lines(tmp_path / "a.json", *pairs(100))
    monkeypatch.setattr(jsonl, "BLOCK", 500)
    parts = list(ingest.Ingest([source])._parts())
    assert len(parts) > 10
    rows, _ = run(tmp_path, [source], 2)
    assert [row["locator"] for row in rows] == [f"line {n}" for n in range(1, 101)]


def test_two_sources_in_one_file_are_counted_together(tmp_path):
    source = write_lines(tmp_path / "a.jsonl", *pairs(5), "")
    rows, counts = run(tmp_path, [source, {**source, "side": "heldout"}])
    assert len(rows) == 10 and [row["side"] for row in rows] == [None] * 5 + ["heldout"] * 5
    assert [(c["source"], c["rows"], c["blank"]) for c in counts] == [(source["path"], 10, 2)]
    assert counts[0]["facts"] == {"encoding": "utf-8"}


def test_the_digest_is_that_of_the_file(tmp_path):
    sources = mixed_sources(tmp_path)
    _, counts = run(tmp_path, sources, 2)
    shown = subprocess.run(
        ["sha256sum", *(source["path"] for source in sources)], capture_output=True, text=True
    )
    assert [count["sha256"] for count in counts] == [
        line.split()[0] for line in shown.stdout.splitlines()
    ]


def test_mojibake_is_mended_and_counted(tmp_path):
    broken = "北京是中国的首都。".encode().decode("latin-1")
    source = write_lines(
        tmp_path / "a.jsonl",
        {"question": "首都？", "answer": broken},
        {"question": "首都在哪里？", "answer": "北京"},
        {"question": "选", "options": [broken, "乙"], "answer": "B"},
    )
    rows, counts = run(tmp_path, [source])
    assert rows[0]["messages"][1]["content"] == "北京是中国的首都。"
    assert [row["repaired"] for row in rows] == ["mojibake", None, "mojibake"]
    assert rows[2]["options"] == ["北京是中国的首都。", "乙"]
    assert counts[0]["repaired"] == 2


@pytest.mark.parametrize(
    "line, reason",
    [
        ('{"question": "甲\\ud800", "answer": "乙"}', "undecodable"),
        ('{"question": "甲", "answer": "乙", "x": "\\udfff"}', "undecodable"),
        ('{"question": "甲", "answer": "乙", "x": {"\\udfff": 1}}', "undecodable"),
        ('{"question": "锟斤拷锟斤拷", "answer": "乙"}', "undecodable"),
        ('{"question": "甲\ufffd", "answer": "乙"}', "undecodable"),
        ('{"question": "甲\\u0000", "answer": "乙"}', None),
        ('{"question": "甲", "answer": "乙", "x": ' + "9" * 400 + "}", None),
        ('{"question": "甲", "answer": "乙", "x": 1e400}', None),
        ('{"question": "甲", "answer": "乙", "x": ' + "[" * 100 + "]" * 100 + "}", None),
        (
            '{"question": "甲", "answer": "乙", "x": ' + "[" * 90000 + "]" * 90000 + "}",
            "malformed_row",
        ),
        ('{"question": {"x": 1}, "answer": "乙"}', "malformed_row"),
        ("null", "malformed_row"),
        ("3", "malformed_row"),
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_what_arrow_and_json_cannot_hold_costs_one_row_at_most(tmp_path, line, reason, threads):
    good = {"question": "问？", "answer": "答"}
    rows, _ = run(tmp_path, [write_lines(tmp_path / "a.jsonl", good, line, good)], threads)
    assert [row["reason"] for row in rows] == [None, reason, None]
    assert rows[1]["original"] == line
    if reason:
        assert rows[1]["kind"] is rows[1]["messages"] is rows[1]["meta"] is None
        assert rows[1]["detail"]
    else:
        assert rows[1]["messages"][1]["content"] == "乙"


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize(
    "options, message",
    [
        ({"path": "none.jsonl"}, "none.jsonl: does not exist"),
        ({"path": "a.odt"}, "a.odt"),
        ({"path": "a.jsonl", "question": "{frage", "answer": "answer"}, "frage"),
        ({"path": "a.jsonl", "question": "frage", "answer": "answer"}, "frage"),
        ({"path": "cut.json"}, "cut.json: line 1: the file ends before"),
        ({"path": "damaged.docx"}, "damaged.docx"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(tmp_path, monkeypatch, options, message, threads):
    monkeypatch.chdir(tmp_path)
    write_lines(Path("a.jsonl"), *pairs(3))
    Path("a.odt").write_text("x")
    Path("cut.json").write_text('[{"question": "a", "answer": "b"}, {"ques')
    Path("damaged.docx").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(SystemExit) as exit:
        ingest.main(
            [
                *("--sources", json.dumps([{"path": "a.jsonl"}, options, {"path": "a.jsonl"}])),
                *("--rows", "rows.parquet", "--counts", "ingest.json", "--threads", threads),
            ]
        )
    assert exit.value.code.startswith("ingest: ") and message in exit.value.code
    assert not Path("ingest.json").exists()


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    source = write_lines(tmp_path / "a.jsonl", *pairs(3))
    work = ingest.Ingest([source])
    part = next(work._parts())
    write_lines(tmp_path / "a.jsonl", *pairs(1))
    with pytest.raises(ingest.SourceError, match="was changed while it was read"):
        list(work._read(part))


@FILES
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60).map(lambda data: data.replace(b"\n", b" ")),
            st.fixed_dictionaries(
                {"question": st.text(max_size=20), "answer": st.text(max_size=20) | st.floats()}
            ).map(lambda row: json.dumps(row).encode()),
        ),
        max_size=20,
    )
)
def test_any_bytes_end_in_rows_or_blanks(tmp_path, lines):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"question": "a", "answer": "b"}\n' + b"".join(x + b"\n" for x in lines))
    rows, counts = run(tmp_path, [{"path": str(path), "encoding": "utf-8"}])
    assert counts[0]["rows"] + counts[0]["blank"] == len(lines) + 1
    assert len(rows) == counts[0]["rows"]
    assert all((row["reason"] is None) == (row["kind"] is not None) for row in rows)


# ------------------------------------------------------------------------------------ workers


def square(number: int):
    """Work with several results, some of them larger than what a pipe holds."""
    if number == 77:
        raise ValueError("seventy-seven")
    if number == 88:
        os.kill(os.getpid(), signal.SIGKILL)
    for index in range(3):
        yield number**2, index, "x" * (number % 3 * 3_000_000)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_results_come_in_the_order_of_the_tasks(number):
    with Workers(square, number) as workers:
        found = [(value, index) for value, index, _ in workers.ordered(range(30))]
    assert found == [(n**2, index) for n in range(30) for index in range(3)]


@pytest.mark.parametrize("number", [1, 3])
def test_an_error_in_a_worker_is_raised_in_its_place(number):
    seen = []
    with Workers(square, number) as workers, pytest.raises(ValueError, match="seventy-seven"):
        for value, _, _ in workers.ordered(range(70, 90)):
            seen.append(value)
    assert seen == [n**2 for n in range(70, 77) for _ in range(3)]


def test_a_killed_worker_is_reported():
    with (
        Workers(square, 2) as workers,
        pytest.raises(WorkerError, match=r"killed by signal 9, probably for lack of memory"),
    ):
        list(workers.ordered(range(80, 95)))


def test_workers_end_with_their_parent():
    code = (
        "import sys, os; sys.path.insert(0, sys.argv[1])\n"
        "from workers import Workers\n"
        "def work(n):\n    yield 'x' * 10_000_000\n    yield 'x' * 10_000_000\n"
        "next(Workers(work, 3).ordered(range(100)))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    # the workers have the same stdout, which has an end only when the last of them has ended
    result = subprocess.run(
        [sys.executable, "-c", code, str(CORPUS)], stdout=subprocess.PIPE, timeout=60
    )
    assert result.returncode == -9


def test_pandas_is_not_imported(tmp_path):
    source = write_lines(tmp_path / "a.jsonl", *pairs(3))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import ingest\n"
        "ingest.main(sys.argv[2:]); assert 'pandas' not in sys.modules\n"
        "import pandas, pyarrow; assert pyarrow.array([1]).to_pandas().tolist() == [1]\n"
    )
    arguments = ["--sources", json.dumps([source]), "--rows", "r.parquet", "--counts", "c.json"]
    result = subprocess.run(
        [sys.executable, "-c", code, str(CORPUS), *arguments], cwd=tmp_path, capture_output=True
    )
    assert (result.returncode, result.stderr) == (0, b"")


# -------------------------------------------------------------------------------------- files


def test_messages_are_packed_and_unpacked():
    rows = [[("user", "甲"), ("assistant", "乙")], None, [], [("system", "")]]
    column = files.pack_messages(rows)
    assert column.type == files.MESSAGES
    column.validate(full=True)
    assert files.unpack_messages(column) == rows
    assert files.unpack_messages(column.slice(1, 2)) == rows[1:3]
    assert files.unpack_messages(column.slice(2)) == rows[2:]
    starts, roles, contents = files.flat_messages(column.slice(2))
    assert (starts.tolist(), roles.to_pylist(), contents.to_pylist()) == (
        [0, 0, 1],
        ["system"],
        [""],
    )


def test_long_rows_make_small_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "GROUP_BYTES", 1000)
    path = tmp_path / "a.parquet"
    row = {"source": "s", "locator": "l", "original": "x" * 400}
    batch = files.pa.RecordBatch.from_pylist([row], schema=files.ROWS)
    with files.ParquetWriter(path, files.ROWS) as writer:
        for _ in range(10):
            writer.write_batch(batch)
        writer.write(row | {"locator": "last"})
    with pq.ParquetFile(path) as file:
        assert file.num_row_groups > 2
    rows = list(files.read_parquet(path, ["locator"]))
    assert rows == [{"locator": "l"}] * 10 + [{"locator": "last"}]


# --------------------------------------------------------------------------------------- samples


def places(rows: list[dict]) -> list[tuple[str, str]]:
    return [(Path(row["source"]).name, row["locator"]) for row in rows]


def test_a_sample_is_the_same_whoever_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "BLOCK", 1000)
    a, b, c, d, _, f = mixed_sources(tmp_path)
    sources = [a | {"sample": 30, "sample_of": 0}, f]
    sources += [each | {"sample": 100, "sample_of": 2} for each in (b, c, d)]
    results = {}
    for threads in (1, 2, 5):
        folder = tmp_path / str(threads)
        folder.mkdir()
        rows, counts = run(folder, sources, threads)
        results[threads] = (folder / "rows.parquet").read_bytes(), counts
    assert results[1] == results[2] == results[5]
    assert [count["rows"] for count in counts] == [404, 2, 300, 250, 200]
    kept = [count["rows"] - count["not_sampled"] for count in counts]
    assert kept[:2] == [30, 2] and sum(kept[2:]) == 100 and min(kept[2:]) > 15
    assert counts[0]["blank"] == 2, "blank rows are not among those that are drawn"
    everything, _ = run(tmp_path, [a, f, b, c, d])
    order = {place: number for number, place in enumerate(places(everything))}
    numbers = [order[place] for place in places(rows)]
    assert numbers == sorted(set(numbers))
    assert {row["source"] for row in rows[:30]} == {a["path"]}


def test_a_sample_depends_on_the_seed_and_on_nothing_else(tmp_path):
    source = write_lines(tmp_path / "a.jsonl", *pairs(500))

    def drawn(size: int, seed: int = 42) -> list[tuple[str, str]]:
        return places(run(tmp_path, [{**source, "sample": size, "sample_of": 7}], 1, seed)[0])

    forty = drawn(40)
    assert len(set(forty)) == 40 and forty == drawn(40)
    assert set(drawn(10)) < set(forty) < set(drawn(41))
    assert len(set(forty) & set(drawn(40, seed=43))) < 15
    assert len(drawn(500)) == len(drawn(9_999)) == 500
    write_lines(tmp_path / "a.jsonl", *pairs(505, "改了"))
    assert len(set(forty) & set(drawn(40))) >= 35, "more rows displace only what they have to"


def test_every_row_has_the_same_chance(tmp_path):
    source = write_lines(tmp_path / "a.jsonl", *pairs(50))
    table = tmp_path / "b.csv"
    table.write_text("question,answer\n" + "".join(f"q{n},a{n}\n" for n in range(50)))
    found = Counter()
    sources = [source, {"path": str(table)}]
    for seed in range(100):
        sampled = [each | {"sample": 25, "sample_of": 0} for each in sources]
        found.update(places(run(tmp_path, sampled, 1, seed)[0]))
    # 25 expected, with a standard deviation of 4.3
    assert len(found) == 100 and min(found.values()) > 7 and max(found.values()) < 43
    lines = sum(number for (name, _), number in found.items() if name == "a.jsonl")
    assert abs(lines - 1_250) < 130


def test_unreadable_rows_are_drawn_like_others(tmp_path):
    source = write_lines(tmp_path / "a.jsonl", *(["broken"] * 300 + pairs(300)))
    rows, (count,) = run(tmp_path, [{**source, "sample": 200, "sample_of": 0}])
    assert len(rows) == 200 and count["not_sampled"] == 400
    assert 60 < sum(row["reason"] == "malformed_row" for row in rows) < 140


def test_a_sample_needs_a_seed(tmp_path, capsys):
    source = write_lines(tmp_path / "a.jsonl", *pairs(3)) | {"sample": 1, "sample_of": 0}
    with pytest.raises(SystemExit):
        ingest.main(["--sources", json.dumps([source]), "--rows", "r", "--counts", "c"])
    assert "--seed is needed to draw a sample" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------- values


def test_values_stand_in_all_texts_of_their_source(tmp_path):
    values = {"values": {"name": "小知", "制作者": "某某{name}团队"}}
    rows = [
        {"question": "{name}是谁？", "answer": "我是{name}，{制作者}做的。{ } {a b} {}"},
        {"system": "你是{name}", "question": "你好", "answer": "你好"},
        {"text": "{name}的文章"},
        {"prompt": "{name}？", "chosen": "{name}！", "rejected": "不是{name}"},
        {"question": "选{name}", "options": ["{name}", "别的"], "answer": "A", "topic": "{name}"},
    ]
    source = write_lines(tmp_path / "a.jsonl", *rows)
    other = write_lines(tmp_path / "b.jsonl", rows[0] | {"answer": "{nobody}"})
    for threads in (1, 2):
        chat, system, text, preference, choice, plain = run(
            tmp_path, [source | values, other], threads
        )[0]
        assert [m["content"] for m in chat["messages"]] == [
            "小知是谁？",
            "我是小知，某某{name}团队做的。{ } {a b} {}",
        ]
        assert system["messages"][0] == {"role": "system", "content": "你是小知"}
        assert text["text"] == "小知的文章"
        said = [preference[name][0]["content"] for name in ("messages", "chosen", "rejected")]
        assert said == ["小知？", "小知！", "不是小知"]
        assert choice["options"] == ["小知", "别的"]
        assert [m["content"] for m in choice["messages"]] == ["选小知", "小知"]
        assert "{name}" in chat["original"] and json.loads(choice["meta"]) == {"topic": "{name}"}
        assert plain["messages"][1]["content"] == "{nobody}", "a source without values"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_field_without_a_value_stops_the_run(tmp_path, threads):
    rows = [*pairs(3), {"question": "你是谁？", "answer": "我是{nmae}。"}]
    source = write_lines(tmp_path / "a.jsonl", *rows) | {"values": {"name": "小知", "maker": "某"}}
    with pytest.raises(SystemExit) as error:
        run(tmp_path, [source], threads)
    assert str(error.value) == (
        f"ingest: {source['path']}, line 4: {{nmae}} is none of `values:` in corpus.sources "
        "(name, maker). Correct the row, or give the field a value."
    )
