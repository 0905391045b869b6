"""Encodings, what a wrong one has left in a text, and packed files."""

import gzip
import random
import resource

import corpus_files as make
import opencc
import pytest
import zstandard
from readers import SourceError, compressed, open_source
from readers.encoding import Undecodable, detect, escaped, repair

SHARED = make.ROOT.parent / "shared" / "data"

SIMPLIFIED = "问题,答案\n高血压病人可以吃党参吗？,可以，但是要听医生的话，并且经常量血压。\n"
TRADITIONAL = "問題,答案\n高血壓病人可以吃黨參嗎？,可以，但是要聽醫生的話，並且經常量血壓。\n"
RUSSIAN = "Вопрос,Ответ\nМожно ли пить кофе при гипертонии?,Лучше спросить у врача.\n"
FRENCH = "question,réponse\nOù êtes-vous né à Noël ?,Ça va très bien; merci garçon.\n"
GERMAN = "Frage,Antwort\nWie groß läßt sich die Straße prüfen?,Schöne Grüße aus München.\n"
JAPANESE = (
    "質問,答え\nこれは日本語のテキストですか？,はい、東京は日本の首都であり、人口が多い都市です。\n"
)
KOREAN = "질문,답변\n서울은 어디입니까?,서울은 대한민국의 수도이며 인구가 많은 도시입니다.\n"


def texts_of(path, **options):
    return [entry.value for entry in open_source({"path": str(path), **options})]


def write(path, data):
    path.write_bytes(data)
    return path


# ---------------------------------------------------------------------------------- detection


@pytest.mark.parametrize(
    "text, encodings",
    [
        (
            SIMPLIFIED,
            "utf-8 utf-8-sig utf-16 utf-32 utf-16-le utf-16-be utf-32-le utf-32-be gb18030",
        ),
        (TRADITIONAL, "utf-8 utf-16 utf-16-le utf-16-be big5 cp950 big5hkscs gb18030"),
        (RUSSIAN, "utf-8 utf-8-sig utf-16 utf-16-le utf-16-be utf-32-be"),
        (FRENCH, "utf-8 utf-16 utf-16-le"),
        (KOREAN, "utf-8 utf-16-be"),
        ("a,b\nc,d\n", "ascii utf-16-le utf-16-be utf-32-le"),
    ],
)
def test_text_is_read_as_it_was_written(tmp_path, text, encodings):
    heading, row = text.strip().split("\n")
    expected = dict(zip(heading.split(","), row.split(",", 1), strict=True))
    for encoding in encodings.split():
        path = write(tmp_path / "a.csv", text.replace(",", "\t").encode(encoding))
        (value,) = texts_of(path, delimiter="\t")
        assert ",".join(value.values()).replace("\t", ",") == ",".join(expected.values()), encoding


@pytest.mark.parametrize("repeats", [1, 40])
@pytest.mark.parametrize(
    "text, encoding",
    [
        *[(JAPANESE, name) for name in ("shift_jis", "euc_jp")],
        *[(RUSSIAN, name) for name in ("koi8-r", "cp1251")],
        *[(FRENCH, name) for name in ("cp1252", "latin-1")],
        *[(GERMAN, "cp1252"), (KOREAN, "euc_kr")],
    ],
)
def test_other_encodings_are_found_or_asked_for_but_never_guessed(
    tmp_path, text, encoding, repeats
):
    data = (text * repeats).encode(encoding)
    path = write(tmp_path / "a.txt", data)
    try:
        assert data.decode(detect(path, {})) == text * repeats
    except SourceError as error:
        assert "`encoding:`" in str(error) and str(path) in str(error)
    assert data.decode(detect(path, {"encoding": encoding})) == text * repeats


def test_short_chinese_texts(tmp_path):
    """Of a few characters, which is all there may be, nearly all are recognised."""
    words = (make.ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
    hanzi = "".join(character for character in words if "\u4e00" <= character <= "\u9fff")
    traditional = opencc.OpenCC("s2t").convert(hanzi)
    rng, path = random.Random(7), tmp_path / "a.txt"
    wrong = refused = total = 0
    for text, encoding in ((hanzi, "gb18030"), (traditional, "cp950")):
        for _ in range(200):
            start = rng.randrange(len(text) - 30)
            sample = text[start : start + rng.randint(10, 30)]
            data = sample.encode(encoding, "ignore")
            write(path, data + b"\n")
            total += 1
            try:
                wrong += data.decode(detect(path, {})) != data.decode(encoding)
            except SourceError:
                refused += 1
    assert wrong == 0
    assert refused < 0.1 * total


def test_the_first_text_beyond_ascii_decides_however_late_it_comes(tmp_path):
    late = b"plain ASCII\n" * 100_000
    for encoding in ("gb18030", "utf-8"):
        path = write(tmp_path / "a.txt", late + SIMPLIFIED.encode(encoding))
        assert detect(path, {}) == encoding
    assert detect(write(path, late), {}) == "utf-8"
    assert detect(write(path, b""), {}) == "utf-8"


def test_a_configured_encoding(tmp_path):
    path = write(tmp_path / "a.txt", "café €".encode("cp1252"))
    assert texts_of(path, encoding="cp1252") == [{"text": "café €"}]
    # what is written under the name of the smaller set
    write(path, "镕基㐀".encode("gb18030"))
    assert texts_of(path, encoding="GB2312") == [{"text": "镕基㐀"}]
    # a mark is no text
    for encoding in ("utf-8-sig", "utf-16"):
        write(path, "甲".encode(encoding))
        assert texts_of(path, encoding=encoding.removesuffix("-sig")) == [{"text": "甲"}]
    for wrong in ("utf-88", "base64", "", "a\0b"):
        with pytest.raises(SourceError, match=r"encoding:.*is not known"):
            detect(path, {"encoding": wrong})


@pytest.mark.parametrize(
    "name, data, kind",
    [
        ("a.csv", b"PK\x03\x04" + bytes(50), "zip archive"),
        ("a.csv", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(50), "Office file"),
        ("a.txt", b"%PDF-1.7 \xe2\xe3\xcf\xd3", "PDF"),
        ("a.json", b"PAR1" + bytes(50), "parquet"),
        ("a.txt", gzip.compress(b"text"), "gzip"),
    ],
)
def test_a_file_that_is_no_text(tmp_path, name, data, kind):
    with pytest.raises(SourceError, match=f"is not text but .*{kind}"):
        texts_of(write(tmp_path / name, data))


def test_random_bytes_are_refused_or_rejected(tmp_path):
    rng = random.Random(3)
    for size in (1, 7, 100, 5000):
        path = write(tmp_path / "a.txt", rng.randbytes(size))
        try:
            assert all(entry.reason or entry.value for entry in open_source({"path": str(path)}))
        except SourceError as error:
            assert "encoding" in str(error)


# ------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "big5"])
@pytest.mark.parametrize("suffix", ["txt", "csv", "json"])
def test_rows_with_bytes_that_are_no_characters_are_rejected_and_shown(tmp_path, encoding, suffix):
    text = TRADITIONAL.split("\n")[1].replace(",", "，")
    rows = [f"{text}{number}" for number in range(3000)]
    match suffix:
        case "txt":
            whole = "\n".join(rows)
        case "csv":
            whole = "題\n" + "\n".join(rows)
        case "json":
            whole = "[" + ",\n".join(f'{{"text": "{row}"}}' for row in rows) + "]"
    data = whole.encode(encoding)
    # far behind what the encoding was found out from
    place = data.index("量血壓。2990".encode(encoding))
    data = data[:place] + b"\xff" + data[place:]
    entries = list(open_source({"path": str(write(tmp_path / f"a.{suffix}", data))}))
    assert len(entries) == 3000
    (bad,) = [entry for entry in entries if entry.reason]
    assert bad is entries[2990] and bad.reason == "undecodable"
    assert "\\xff" in bad.original and bad.original.encode("utf-8")


def test_a_file_cut_off_within_a_character(tmp_path):
    data = (SIMPLIFIED * 5).encode("utf-8")[:-5]
    entries = list(open_source({"path": str(write(tmp_path / "a.csv", data))}))
    assert [entry.reason for entry in entries[:-1]] == [None] * (len(entries) - 1)
    assert entries[-1].reason == "undecodable" and entries[-1].original.endswith("\\xe5\\x8e")


def test_escaped_shows_bytes_and_halves_of_characters():
    assert escaped("甲\udcff\ud83d乙") == "甲\\xff\\ud83d乙"


# ---------------------------------------------------------------------------------- mojibake


@pytest.mark.parametrize("wrong", ["latin-1", "cp1252", "sloppy-windows-1252"])
@pytest.mark.parametrize(
    "text",
    [
        "高血压病人可以吃党参吗？",
        "été à Noël, garçon",
        "Schöne Grüße",
        "Nguyễn Văn đã đến",
        "“quoted” text’s end",
        "Привет, мир",
        "笑 😀",
    ],
)
def test_utf8_read_as_latin_is_mended(text, wrong):
    try:
        damaged = text.encode().decode(wrong)
    except UnicodeDecodeError:
        return  # that cannot have happened: the encoding has no such bytes
    assert repair(damaged) == (text, "mojibake")


def test_only_the_damaged_part_of_a_text_is_changed():
    assert repair("Ça coûte 5 €, rÃ©pondit-il") == ("Ça coûte 5 €, répondit-il", "mojibake")
    # ftfy would also change these, which are no damage of an encoding
    for text in (
        "&lt;b&gt;",
        "“curly” ‘quotes’",
        "ﬁne",
        "ＦＵＬＬ",
        "a\r\nb",
        "e\u0301",
        "\x1b[1m",
    ):
        assert repair(text) == (text, None)


@pytest.mark.parametrize(
    "text",
    [
        "Le président a été élu à Noël. Ça va ? Où êtes-vous, cœur naïf",
        "Größe, Straße, ÄÖÜ, „Anführung“ – ja… ÅÄÖ™",
        "SÃO PAULO É UMA CIDADE, INFORMAÇÃO E AVALIAÇÕES…",
        "disse “AMANHÃ…” e saiu",
        "TÔI ĐÃ… ĐI RỒI, CHÂU Á, Nguyễn Văn A đã đến",
        "Ã",
        "The letter Ã and the letter Â",
        "À “Ô” à–b ô—c NESTLÉ® CITROËN™ «été» Motörhead®",
        "Ångström, Ñandú, Göteborg–Malmö, 25 °C ± 2 µm, ½ £",
        "中文，文本。「引号」《书名》 ①②③ ％",
        "横浜市へ行く 日本語のテキスト",
        "한국어 텍스트",
        "Привет, мир – это «текст»",
        "😀 👨‍👩‍👧 ❤️",
        "浣熊在河边洗手，涓涓细流，银杏叶鐨",
        "x² + y² ≠ z², α–β, naïve façade",
    ],
)
def test_clean_texts_are_left_alone(text):
    assert repair(text) == (text, None)


@pytest.mark.parametrize(
    "text",
    [
        "锟斤拷锟斤拷",
        "答案是\ufffd\ufffd",
        "ï¿½abc rÃ©ponse",
        "half a \ud83d character",
        "你好，世界。这是中文".encode().decode("gbk", "replace"),
        "你好，世界。这是中文".encode().decode("gbk", "ignore"),
        "高血压病人可以吃党参".encode().decode("gb18030", "ignore"),
    ],
)
def test_lost_texts_are_rejected_not_guessed(text):
    with pytest.raises(Undecodable) as error:
        repair(text)
    assert str(error.value).isprintable()


def test_repair_of_real_texts_changes_nothing():
    folder = SHARED / "medicalgpt"
    if not folder.is_dir():
        pytest.skip("no sample data")
    texts = [
        line
        for path in sorted((folder / "sft").iterdir()) + sorted((folder / "pretrain").iterdir())
        for line in path.read_text(encoding="utf-8").split("\n")
    ]
    assert len(texts) > 3000
    assert all(repair(text) == (text, None) for text in texts)


# ------------------------------------------------------------------------------- packed files


def gzipped(*parts):
    return b"".join(map(gzip.compress, parts))


def zstandardised(*parts):
    pack = zstandard.ZstdCompressor(write_checksum=True).compress
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0skip"
    return skippable.join(map(pack, parts))


PACKED = pytest.mark.parametrize("suffix, pack", [(".gz", gzipped), (".zst", zstandardised)])


@PACKED
def test_packed_files_are_read_whatever_number_of_parts_they_have(tmp_path, suffix, pack):
    data = "".join(f'{{"text": "第{number}行"}}\n' for number in range(20_000)).encode()
    cut = len(data) // 3
    path = write(tmp_path / f"a.JSONL{suffix}", pack(data[:cut], b"", data[cut:]))
    with compressed.open_bytes(path) as stream:
        assert stream.read() == data
    assert len(texts_of(path)) == 20_000


@PACKED
def test_cut_off_and_damaged_packed_files(tmp_path, suffix, pack):
    rng = random.Random(1)
    data = rng.randbytes(50_000).hex().encode()
    whole = pack(data)
    for end in (3, 30, len(whole) // 2, len(whole) - 1):
        path = write(tmp_path / f"a.txt{suffix}", whole[:end])
        with pytest.raises(SourceError, match=r"ends in the middle|damaged"):
            texts_of(path)
    for damaged in (b"plain text", whole[:5000] + bytes(50) + whole[5050:], whole + b"garbage"):
        with pytest.raises(SourceError, match="is damaged"):
            texts_of(write(path, damaged))


@PACKED
def test_packed_bombs_are_refused_in_little_memory(tmp_path, suffix, pack):
    bomb = write(tmp_path / f"a.txt{suffix}", pack(bytes(200 * 2**20)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SourceError, match="zip bomb"), compressed.open_bytes(bomb) as stream:
        while stream.read(2**20):
            pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_texts_that_pack_well_are_no_bombs(tmp_path):
    line = '{"instruction": "把下面的句子翻译成英文", "input": "", "output": "%d"}\n'
    data = "".join(line % number for number in range(700_000)).encode()
    assert len(data) > compressed.RATIO_APPLIES_FROM
    path = write(tmp_path / "a.jsonl.zst", zstandardised(data))
    with compressed.open_bytes(path) as stream:
        assert sum(map(len, iter(lambda: stream.read(2**20), b""))) == len(data)


def test_packed_office_and_parquet_files(tmp_path):
    for kind in ("docx", "xlsx", "parquet"):
        with pytest.raises(SourceError, match="Unpack it"):
            open_source({"path": str(write(tmp_path / f"a.{kind}.gz", b""))})
