"""The corpus stage on small files: what is kept, what is rejected and why, and what is exported."""

import json
import random
from collections import Counter

import choices
import corpus_files as make
import ledger
import pytest
import questions
from clean import group_of, side_of
from conversations import to_messages, to_xtuner
from normalise import content_id, digest, fraction, is_blank, normalise
from readers import open_source

REAL = make.ROOT.parent / "shared" / "data" / "civil_service" / "src.docx"
EMBEDDED = make.ROOT / "resources" / "corpora" / "civil_service"


@pytest.fixture
def stage(tmp_path):
    return make.Stage(tmp_path / "corpus")


def capitals(number: int, start: int = 0) -> list[tuple[str, str]]:
    """Three questions about each of so many made-up countries."""
    forms = ("{}的首都是哪里？", "请问{}的首都叫什么？", "哪座城市是{}的首都？")
    return [(form.format(f"国{n}"), f"城{n:04}") for n in range(start, number) for form in forms]


def source(path, **options):
    return {"path": str(path), **options}


def reasons(stage):
    return {row["locator"]: row["reason"] for row in make.read_lines(stage.path("rejected.jsonl"))}


# ------------------------------------------------------------------------------------- normalise


@pytest.mark.parametrize(
    "one, other",
    [
        ("《红楼梦》的作者是？", "红楼梦的作者是"),
        ("ＡＢＣ１２３", "abc 123"),
        ("一，二、三。", "一二三"),
        ("1937－1945", "1937—1945"),
        ("谁？ ", "　谁?"),
        ("（  ）是首都", "____是首都"),
    ],
)
def test_normalise_unites(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    "one, other",
    [
        ("1.5", "15"),
        ("-5℃", "5℃"),
        ("3:1", "31"),
        ("1/2", "12"),
        ("10²", "102"),
        ("5%", "5"),
        ("C#", "C"),
        ("C++", "C"),
        ("……", "——"),
        ("《", "。"),
    ],
)
def test_normalise_keeps_apart(one, other):
    assert normalise(one) != normalise(other)


def test_normalise_is_idempotent():
    rng = random.Random(0)
    alphabet = "a1B.,:/-%－—。？ 　①²½ﬁ中文（）\u200b\t"
    for _ in range(3000):
        text = "".join(rng.choices(alphabet, k=rng.randint(0, 8)))
        once = normalise(text)
        assert normalise(once) == once, text


def test_is_blank():
    assert is_blank("") and is_blank(" ？。") and not is_blank("1") and not is_blank("+")


def test_hashes_are_stable_and_keep_parts_apart():
    # the sides of a published split depend on these numbers
    assert digest("split", 42, "x") == "1f88b7fa42cd999b"
    assert digest("ab", "c") != digest("a", "bc")
    values = [fraction(n) for n in range(2000)]
    assert 0 <= min(values) < 0.01 and 0.99 < max(values) < 1
    assert abs(sum(values) / len(values) - 0.5) < 0.02


# --------------------------------------------------------------------------------------- reasons


def test_every_reason(tmp_path, stage):
    docx = make.write_docx(
        tmp_path / "a.docx",
        "常识题库",  # 1
        "加入我们的公众号",  # 2
        "讲义？->扫一扫码领取",  # 3
        "：->长江",  # 4
        "？->长江",  # 5
        "最长的河？->",  # 6
        f"{'长' * 51}->短",  # 7
        f"短->{'长' * 101}",  # 8
        "谁建立了汉朝？->刘邦",  # 9 kept
        "谁建立了 汉朝?->刘邦。",  # 10
        "最大的器官？->皮肤",  # 11
        *(f"{q}->{a}" for q, a in capitals(20)),
    )
    jsonl = tmp_path / "b.jsonl"
    jsonl.write_text(
        '{"question": "最大的器官", "answer": "肝脏"}\n'
        '{"question": "最大的器官", "answer": "肝脏"}\n'
        '{"question": "坏的"\n'
        '{"question": "谁建立了汉朝", "answer": "刘邦"}\n',
        encoding="utf-8",
    )
    result = stage.run([source(docx), source(jsonl)])
    assert reasons(stage) == {
        "paragraph 1": "no_delimiter",
        "paragraph 2": "advert",
        "paragraph 3": "advert",
        "paragraph 4": "empty_question",
        "paragraph 5": "empty_question",
        "paragraph 6": "empty_answer",
        "paragraph 7": "too_long_question",
        "paragraph 8": "too_long_answer",
        "paragraph 10": "duplicate",
        "paragraph 11": "conflicting_answers",
        "line 1": "conflicting_answers",
        "line 2": "conflicting_answers",
        "line 3": "malformed_row",
        "line 4": "duplicate",
    }
    rejected = {row["locator"]: row for row in make.read_lines(stage.path("rejected.jsonl"))}
    assert all(
        set(row) == {"source", "locator", "reason", "detail", "original"}
        for row in rejected.values()
    )
    assert rejected["paragraph 10"]["detail"] == f"same as {docx}, paragraph 9"
    assert rejected["line 4"]["detail"] == f"same as {docx}, paragraph 9"
    assert rejected["paragraph 11"]["detail"] == f"also answered '肝脏' ({jsonl}, line 1)"
    assert rejected["line 2"]["detail"] == f"also answered '皮肤' ({docx}, paragraph 11)"
    assert rejected["paragraph 7"]["detail"] == "51 characters, at most 50 are allowed"
    assert rejected["line 3"]["original"] == '{"question": "坏的"'

    first, second = result["sources"]
    assert (first["source"], first["rows"], first["kept"]) == (str(docx), 71, 61)
    assert (second["rows"], second["kept"]) == (4, 0)
    assert second["rejected"] == {"conflicting_answers": 2, "duplicate": 1, "malformed_row": 1}
    assert result["total"]["rows"] == 75
    assert result["total"]["kept"] + sum(result["total"]["rejected"].values()) == 75
    assert result["split"]["train"] + result["split"]["heldout"] == 61


def test_limits_are_inclusive(tmp_path, stage):
    path = make.write_pairs(
        tmp_path / "a.jsonl", [("问" * 50, "答" * 100), ("问" * 51, "答"), *capitals(20)]
    )
    stage.run([source(path)])
    assert reasons(stage) == {"line 2": "too_long_question"}


def test_many_conflicting_answers_are_listed_in_part(tmp_path, stage):
    path = make.write_pairs(
        tmp_path / "a.jsonl", [*(("几个？", f"{n}个") for n in range(9)), *capitals(20)]
    )
    stage.run([source(path)])
    detail = make.read_lines(stage.path("rejected.jsonl"))[0]["detail"]
    assert detail.count("line ") == 5 and detail.endswith("3 more")


def test_conflict_does_not_depend_on_how_often_an_answer_occurs(tmp_path, stage):
    pairs = [("问", "甲"), ("问", "甲"), ("问", "乙"), *capitals(20)]
    stage.run([source(make.write_pairs(tmp_path / "a.jsonl", pairs))])
    assert reasons(stage) == dict.fromkeys(("line 1", "line 2", "line 3"), "conflicting_answers")


def test_two_sheets_of_one_file_are_one_entry(tmp_path, stage):
    head, pairs = ("question", "answer"), capitals(20)
    path = make.write_xlsx(
        tmp_path / "a.xlsx", {"一": [head, *pairs[:30]], "二": [head, *pairs[29:]]}
    )
    result = stage.run([source(path, sheet="一"), source(path, sheet="二")])
    (entry,) = result["sources"]
    assert (entry["rows"], entry["kept"], entry["rejected"]) == (61, 60, {"duplicate": 1})


def test_meta_keeps_the_other_fields(tmp_path, stage):
    path = tmp_path / "a.jsonl"
    rows = [{"question": q, "answer": a, "level": n} for n, (q, a) in enumerate(capitals(20))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    records = stage.ingest_and_clean([source(path)])
    assert json.loads(records[7]["meta"]) == {"level": 7}


# ----------------------------------------------------------------------------------------- fatal


def fails(stage, sources, **options):
    with pytest.raises(SystemExit) as error:
        stage.run(sources, **options)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_missing_file_is_one_sentence(tmp_path, stage):
    text = fails(stage, [source(tmp_path / "nowhere.docx")])
    assert text.startswith("ingest: ") and "nowhere.docx" in text and "does not exist" in text


def test_nothing_usable(tmp_path, stage):
    text = fails(stage, [source(make.write_docx(tmp_path / "a.docx", "甲", "乙->"))])
    assert "none of the rows is usable" in text and "1 no_delimiter" in text
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    assert "the sources are empty" in fails(stage, [source(empty)])


def test_no_heldout_question_possible(tmp_path, stage):
    pairs = [(f"问{n}", "同一个答案") for n in range(10)]
    path = make.write_pairs(tmp_path / "a.jsonl", pairs)
    text = fails(stage, [source(path)], heldout=1e-9)
    assert "holds out no question" in text and "1 different answer," in text
    assert "nothing to train on" in fails(stage, [source(path)], heldout=0.999999)


def test_required_benchmark_without_questions(tmp_path, stage):
    path = make.write_pairs(tmp_path / "a.jsonl", [(f"问{n}", f"答{n % 6}") for n in range(60)])
    stage.ingest_and_clean([source(path)])
    files = {name: stage.path(f"{name}.jsonl") for name in ("heldout", "recall", "heldout_mcq")}
    command = ["--records", str(stage.path("records.parquet")), "--seed", "42"]
    command += ["--recall-size", "5", "--heldout", str(files["heldout"])]
    command += ["--recall", str(files["recall"]), "--heldout-mcq", str(files["heldout_mcq"])]
    assert questions.main([*command, "--required", "heldout", "recall"]) == 0
    with pytest.raises(SystemExit, match="heldout_mcq would have no questions"):
        questions.main([*command, "--required", "heldout", "heldout_mcq"])


def test_without_heldout_share_all_is_trained_on(tmp_path, stage):
    result = stage.run([source(make.write_pairs(tmp_path / "a.jsonl", capitals(5)))], heldout=0)
    assert result["split"]["heldout"] == 0 and result["files"]["heldout_mcq.jsonl"] == 0
    assert result["files"]["train.jsonl"] == 15


def test_bad_regular_expression(tmp_path, stage):
    path = make.write_pairs(tmp_path / "a.jsonl", capitals(5))
    text = fails(stage, [source(path)], rules={**make.RULES, "adverts": ["ok", "(群"]})
    assert "corpus.clean.adverts.1" in text and "'(群'" in text


# ----------------------------------------------------------------------------------------- split


def test_paraphrases_are_on_one_side_and_shares_hold(tmp_path, stage):
    path = make.write_pairs(tmp_path / "a.jsonl", capitals(2000))
    records = stage.ingest_and_clean([source(path)])
    sides = {}
    for record in records:
        sides.setdefault(record["messages"][1]["content"], set()).add(record["split"])
    assert all(len(side) == 1 for side in sides.values())
    share = sum(side == {"heldout"} for side in sides.values()) / len(sides)
    assert abs(share - 0.3) < 0.04  # four standard deviations of 2,000 draws


def test_side_does_not_depend_on_how_the_answer_is_written():
    assert group_of("《北京》。") == group_of("北京 ")
    sides = {side_of(group_of("北京"), 0.3, seed) for seed in range(50)}
    assert sides == {"train", "heldout"}


def test_a_larger_share_only_moves_records_out_of_training():
    for number in range(500):
        group = group_of(f"答案{number}")
        if side_of(group, 0.2, 7) == "heldout":
            assert side_of(group, 0.5, 7) == "heldout"


def test_more_data_never_moves_a_record_to_the_other_side(tmp_path):
    rng = random.Random(5)
    for attempt in range(15):
        answers = [f"答{n}" for n in range(rng.randint(10, 40))]
        data = [(f"问{n}", rng.choice(answers)) for n in range(60)]
        # new rows repeat old questions and answers too, and contradict some
        more = [(f"问{rng.randrange(120)}", rng.choice(answers)) for _ in range(40)]
        merged = data + more
        rng.shuffle(merged)
        before, after = (
            {
                record["id"]: record["split"]
                for record in make.Stage(tmp_path / f"{attempt}{name}").ingest_and_clean(
                    [source(make.write_pairs(tmp_path / f"{attempt}{name}.jsonl", pairs))]
                )
            }
            for name, pairs in (("before", data), ("after", merged))
        )
        common = before.keys() & after.keys()
        assert common and all(before[key] == after[key] for key in common)


def test_same_input_same_bytes(tmp_path):
    path = make.write_pairs(tmp_path / "a.jsonl", capitals(30))
    names = ["rejected", "train", "heldout", "recall", "heldout_mcq", "calibration"]
    contents = []
    for name in ("one", "two"):
        stage = make.Stage(tmp_path / name)
        stage.run([source(path)])
        contents.append([stage.path(f"{part}.jsonl").read_bytes() for part in names])
    assert contents[0] == contents[1]


def test_id_is_of_the_content_not_of_the_place(tmp_path, stage):
    pairs = capitals(10)
    random.Random(1).shuffle(pairs)
    path = make.write_docx(tmp_path / "a.docx", *(f"{q}->{a}" for q, a in pairs))
    found = {record["id"] for record in stage.ingest_and_clean([source(path)])}
    assert found == {content_id(normalise(q), normalise(a)) for q, a in capitals(10)}


# ---------------------------------------------------------------------------------------- export


def test_exports(tmp_path, stage):
    pairs = capitals(40)
    path = make.write_pairs(tmp_path / "a.jsonl", pairs)
    result = stage.run([source(path)], system="你是助手。", recall=7, calibration=6)
    files = {name: make.read_lines(stage.path(name)) for name in result["files"]}
    assert {name: len(rows) for name, rows in files.items()} == result["files"]
    train = {
        (r["conversation"][0]["input"], r["conversation"][0]["output"])
        for r in files["train.jsonl"]
    }
    heldout = {(row["question"], row["answer"]) for row in files["heldout.jsonl"]}
    assert train | heldout == set(pairs) and not train & heldout
    assert not {answer for _, answer in train} & {answer for _, answer in heldout}
    assert all(row["conversation"][0]["system"] == "你是助手。" for row in files["train.jsonl"])
    recalled = {(row["question"], row["answer"]) for row in files["recall.jsonl"]}
    assert len(recalled) == 7 and recalled <= train
    assert len(files["calibration.jsonl"]) == 6
    for row in files["calibration.jsonl"]:
        system, user, assistant = row["messages"]
        assert system == {"role": "system", "content": "你是助手。"}
        assert (user["content"], assistant["content"]) in train
    assert all(set(row) == {"id", "question", "answer"} for row in files["heldout.jsonl"])


def test_samples_no_larger_than_what_there_is(tmp_path, stage):
    path = make.write_pairs(tmp_path / "a.jsonl", capitals(20))
    result = stage.run([source(path)], recall=1000, calibration=1000)
    train = result["split"]["train"]
    assert result["files"]["recall.jsonl"] == result["files"]["calibration.jsonl"] == train


def test_conversation_forms():
    messages = [
        {"role": role, "content": text}
        for role, text in (("user", "甲"), ("assistant", "乙"), ("user", "丙"), ("assistant", "丁"))
    ]
    turns = [{"input": "甲", "output": "乙"}, {"input": "丙", "output": "丁"}]
    assert to_xtuner(messages, "") == {"conversation": turns}
    assert to_xtuner(messages, "S") == {"conversation": [{"system": "S", **turns[0]}, turns[1]]}
    assert to_messages(messages, "") == {"messages": messages}
    assert to_messages(messages, "S")["messages"][0] == {"role": "system", "content": "S"}


def test_texts_survive_the_export(tmp_path, stage):
    odd = '引号"\\ 换行\n分行\u2028表情😀 {{x}} {0,6} \x07'
    path = tmp_path / "a.jsonl"
    rows = [{"question": odd + q, "answer": odd + a} for q, a in capitals(10)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage.run([source(path)], system=odd)
    row = make.read_lines(stage.path("train.jsonl"))[0]["conversation"][0]
    assert row["system"] == odd and row["input"].startswith(odd) and row["output"].startswith(odd)


# ------------------------------------------------------------------------------- multiple choice


def as_questions(pairs):
    return [{"id": digest(q), "question": q, "answer": a} for q, a in pairs]


def test_options_are_distinct_of_one_kind_and_evenly_placed():
    symbols = [(f"元素{chr(0x4E00 + n)}的符号是什么？", f"X{n:03}") for n in range(60)]
    items = as_questions([*capitals(60), *symbols])
    rows = list(choices.multiple_choice(items, seed=1))
    assert len(rows) == len(items)
    same = 0
    for item, row in zip(items, rows, strict=True):
        options = [row[letter] for letter in "ABCD"]
        assert row["id"] == item["id"] and row[row["answer"]] == item["answer"]
        assert len({normalise(option) for option in options}) == 4
        same += len({option[0] for option in options}) == 1
    assert same == len(rows)
    letters = Counter(row["answer"] for row in rows)
    assert all(35 <= letters[letter] <= 85 for letter in "ABCD")  # 60 expected
    used = Counter(row[letter] for row in rows for letter in "ABCD")
    assert max(used.values()) < 45  # the nearest alone would be among the options of 180


def test_options_are_never_part_of_one_another():
    pairs = [
        ("问一", "北京"),
        ("问二", "北京市"),
        ("问三", "上海"),
        ("问四", "天津"),
        ("问五", "重庆"),
    ]
    for row in choices.multiple_choice(as_questions(pairs), seed=1):
        assert len({"北京", "北京市"} & {row[letter] for letter in "ABCD"}) == 1


def test_questions_without_three_wrong_options_are_left_out_and_counted(tmp_path, stage):
    items = as_questions([("问一", "甲"), ("问二", "乙"), ("问三", "丙"), ("问四", "丙。")])
    assert list(choices.multiple_choice(items, seed=1)) == []
    path = make.write_pairs(tmp_path / "a.jsonl", capitals(6))
    result = stage.run([source(path)])
    assert result["split"]["groups_heldout"] < 4
    assert result["mcq_skipped"] == result["files"]["heldout.jsonl"] > 0


def test_pool_is_bounded(monkeypatch):
    monkeypatch.setattr(choices, "POOL", 50)
    sizes = []
    original = choices.Similarity.to

    def spy(self, text):
        scores = original(self, text)
        sizes.append(len(scores))
        return scores

    monkeypatch.setattr(choices.Similarity, "to", spy)
    items = as_questions(capitals(100))
    assert len(list(choices.multiple_choice(items, seed=1))) == 300
    assert set(sizes) == {50}


def test_similarity_is_the_dice_coefficient():
    scores = choices.Similarity(["ab", "abc", "xy"]).to("ab")
    # bigrams with the edges: ^a ab b$ / ^a ab bc c$ / ^x xy y$
    assert scores.tolist() == pytest.approx([1, 4 / 7, 0])


# ---------------------------------------------------------------------------------------- ledger


@pytest.fixture
def finished(tmp_path, stage):
    pairs = [*capitals(20), ("坏", "")]
    stage.run([source(make.write_pairs(tmp_path / "a.jsonl", pairs))])
    return stage


def drop_line(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))


def test_ledger_notices_lost_rows(finished):
    drop_line(finished.path("rejected.jsonl"))
    with pytest.raises(SystemExit, match="61 rows were read, but 60 kept and 0 rejected"):
        finished.export()


def test_ledger_notices_rows_of_unknown_sources(finished):
    finished.path("ingest.json").write_text("[]")
    with pytest.raises(SystemExit, match="never read"):
        finished.export()


def files_of(stage):
    names = ["train", "heldout", "recall", "heldout_mcq", "calibration"]
    return {f"{name}.jsonl": stage.path(f"{name}.jsonl") for name in names}


def test_ledger_notices_lost_lines_leaks_and_strangers(finished):
    split = ledger.count_split(finished.path("records.parquet"))
    files = files_of(finished)
    ledger.check_files(files, split)
    train, heldout = make.read_lines(files["train.jsonl"]), make.read_lines(files["heldout.jsonl"])

    drop_line(files["train.jsonl"])
    with pytest.raises(ledger.LedgerError, match=r"train\.jsonl has"):
        ledger.check_files(files, split)

    leak = {"input": heldout[0]["question"] + "？", "output": "别的"}
    rows = [*train[:-1], {"conversation": [leak]}]
    files["train.jsonl"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ledger.LedgerError, match="leaks"):
        ledger.check_files(files, split)

    files["train.jsonl"].write_text("".join(json.dumps(row) + "\n" for row in train))
    files["recall.jsonl"].write_text(json.dumps(heldout[0]) + "\n")
    with pytest.raises(ledger.LedgerError, match="is not trained on"):
        ledger.check_files(files, split)


def test_ledger_adds_up_for_random_corruption(tmp_path):
    rng = random.Random(3)
    for attempt in range(10):
        path = make.write_pairs(tmp_path / f"{attempt}.jsonl", capitals(40))
        lines = path.read_text(encoding="utf-8").splitlines()
        for _ in range(30):
            place = rng.randrange(len(lines))
            text = lines[place]
            cut = rng.randrange(len(text) + 1)
            lines[place] = rng.choice([text[:cut], text[:cut] + text, text + text, "", "[]", text])
        path.write_text("\n".join(lines), encoding="utf-8")
        result = make.Stage(tmp_path / str(attempt)).run([source(path)])
        total = result["total"]
        filled = sum(bool(line.strip()) for line in lines)
        assert total["rows"] == filled == total["kept"] + sum(total["rejected"].values())


# ------------------------------------------------------------------------------- whole documents


def test_embedded_corpus_shows_every_bad_row(stage):
    sources = [
        source(EMBEDDED / "questions.docx"),
        source(EMBEDDED / "questions.xlsx", sheet="题库", question="题目", answer="答案"),
        source(EMBEDDED / "questions.jsonl"),
    ]
    rules = {"max_question_chars": 500, "max_answer_chars": 2000, "adverts": ["公众号"]}
    result = stage.run(sources, rules=rules)
    names = {"broken JSON": "malformed_row", "missing field": "malformed_row"}
    names |= {"answer too long": "too_long_answer"}
    expected = set()
    for line in (EMBEDDED / "bad_rows.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        file, locator, reason, _ = line.split("\t")
        locator = locator.replace("row ", "题库!B")
        expected.add((file, locator, names.get(reason, reason.replace(" ", "_"))))
    rejected = make.read_lines(stage.path("rejected.jsonl"))
    found = {(row["source"].rpartition("/")[2], row["locator"], row["reason"]) for row in rejected}
    # of two equal rows the table names the one that was added, the ledger the later one
    differing = {reason for _, _, reason in found ^ expected}
    assert differing <= {"duplicate"} and len(found) == len(expected) == len(rejected)
    assert result["split"]["heldout"] >= 500 and result["mcq_skipped"] == 0


@pytest.mark.skipif(not REAL.exists(), reason="the real civil-service file is not here")
def test_real_document_is_accounted_for(stage):
    rules = {"max_question_chars": 500, "max_answer_chars": 2000, "adverts": []}
    result = stage.run([source(REAL)], rules=rules)
    total = result["total"]
    assert total["rows"] == 41_689 + 7 and total["blank"] == 6
    assert total["rejected"]["no_delimiter"] == 7
    assert total["rejected"]["empty_answer"] == 9
    assert result["mcq_skipped"] == 0 and result["split"]["leaked"] == 0

    # The first count of this file, which only trimmed marks at the end, found 39,652 questions,
    # 39,906 pairs and 247 contradictions; the reader also trims a leading space, which one of
    # them differs by. Ignoring all punctuation and the width of characters unites more.
    pairs = [(r.question, r.answer) for r in open_source(source(REAL)) if r.question is not None]
    assert len(pairs) == 41_689
    trimmed = [(question.rstrip("：:？? "), answer) for question, answer in pairs]
    assert count(trimmed) == (39_651, 39_905, 247)
    normalised = [(normalise(question), normalise(answer)) for question, answer in pairs]
    assert count(normalised) == (38_763, 39_042, 272)


def count(pairs):
    """Numbers of different questions, of different pairs and of questions with several answers."""
    answers: dict[str, set[str]] = {}
    for question, answer in pairs:
        answers.setdefault(question, set()).add(answer)
    several = sum(len(found) > 1 for found in answers.values())
    return len(answers), len(set(pairs)), several
