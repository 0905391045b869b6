"""Templates of a mapping: what they make of a row, and what they say about mistakes."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "corpus"))

from entry import SourceError
from shapes.content import ShapeError
from shapes.template import Template

RECIPE = {
    "name": "西红柿炒鸡蛋",
    "dish": None,
    "author": "  ",
    "price": 12.5,
    "serves": 2,
    "ingredients": ["西红柿 2个", "鸡蛋 3个"],
    "steps": ["切块", " ", "", None, "炒"],
    "amounts": [1, 2.5, "少许"],
    "nothing": [],
    "nutrition": {"calories": 180, "per": {"unit": "份"}},
    "howto": [{"text": "切块"}, {"text": "炒"}, {"image": "x"}],
    "a.b": "有点的列",
    "column": "['盐', '油']",
    "json": '["盐", "油"]',
    "odd": "[盐] 或 [油]",
    "题 目": "中文列名",
    "100%": "百分",
    "flag": True,
}


def render(template: str, row: dict = RECIPE) -> str:
    return Template(template, "`answer:`").render(row)


@pytest.mark.parametrize(
    "template, text",
    [
        ("{name}的做法", "西红柿炒鸡蛋的做法"),
        ("{ name }", "西红柿炒鸡蛋"),
        ("{题 目}？", "中文列名？"),
        ("{price}元，{serves}人", "12.5元，2人"),
        ("{ingredients|lines}", "西红柿 2个\n鸡蛋 3个"),
        ("{ingredients|numbered}", "1. 西红柿 2个\n2. 鸡蛋 3个"),
        ("{ingredients|comma}", "西红柿 2个, 鸡蛋 3个"),
        ("{ ingredients | comma }", "西红柿 2个, 鸡蛋 3个"),
        # blank items say nothing and get no number
        ("{steps|numbered}", "1. 切块\n2. 炒"),
        ("{amounts|lines}", "1\n2.5\n少许"),
        # a text is a list of one item
        ("{name|numbered}", "1. 西红柿炒鸡蛋"),
        ("{serves|lines}", "2"),
        # lists as tables hold them
        ("{column|lines}", "盐\n油"),
        ("{json|comma}", "盐, 油"),
        ("{odd|lines}", "[盐] 或 [油]"),
        ("{column}", "['盐', '油']"),
        ("{nutrition.calories}千卡", "180千卡"),
        ("每{nutrition.per.unit}", "每份"),
        ("{howto.text|numbered}", "1. 切块\n2. 炒"),
        ("{a.b}", "有点的列"),
        ("{dish|or:name}", "西红柿炒鸡蛋"),
        ("{absent|or:dish|or:name}", "西红柿炒鸡蛋"),
        ('{author|or:"佚名"}', "佚名"),
        ('{absent|or:dish|or:"无|名 {x}"}', "无|名 {x}"),
        ('{nothing|lines|or:"无"}', "无"),
        ('x{absent|or:""}', "x"),
        ("{absent|or:steps|numbered}", "1. 切块\n2. 炒"),
        ("a {{b}} c", "a {b} c"),
        ("{{{name}}}", "{西红柿炒鸡蛋}"),
        ("} {serves}", "} 2"),
        ("100% {serves} %s %(name)s", "100% 2 %s %(name)s"),
        ("{100%}", "百分"),
        ("没有字段", "没有字段"),
        ("", ""),
    ],
)
def test_templates(template, text):
    assert render(template) == text


@pytest.mark.parametrize(
    "template, text",
    [
        ("用料：\n{nothing|lines}\n做法：\n{blank}", ""),
        ("用料：\n{nothing|lines}", ""),
        ("用料：\n{nothing|lines}\n做法：{name}", "用料：\n\n做法：西红柿炒鸡蛋"),
        # the default is no word of the row
        ('作者：{author|or:"佚名"}\n{nothing|lines}', ""),
        ('作者：{author|or:"佚名"}', "作者：佚名"),
        ("{blank|strip}|{pad|strip}", "|x"),
    ],
)
def test_a_template_without_anything_from_the_row_is_empty(template, text):
    row = {"nothing": [], "blank": "", "name": "西红柿炒鸡蛋", "author": None, "pad": " x\n"}
    assert render(template, row) == text


@pytest.mark.parametrize(
    "template, detail",
    [
        ("{absent}", "the field 'absent' is missing or empty"),
        ("{dish}", "the field 'dish' is missing or empty"),
        ("{nutrition.fat}", "the field 'nutrition.fat' is missing"),
        ("{name.first}", "the field 'name.first' is missing"),
        ("{howto.none|lines}", "the field 'howto.none' is missing"),
        ("{absent|or:dish}", "'absent', 'dish' are all missing or empty"),
        ("{ingredients}", "'ingredients' holds a list; write {ingredients|lines}"),
        ("{nutrition}", "an object with calories, per; write {nutrition.FIELD}"),
        ("{howto|lines}", "an object with text"),
        ("{flag}", "'flag' holds true or false"),
    ],
)
def test_rows_that_a_template_cannot_use(template, detail):
    with pytest.raises(ShapeError) as caught:
        render(template)
    assert caught.value.reason == "malformed_row"
    assert detail in caught.value.detail


@pytest.mark.parametrize(
    "template, parts",
    [
        ("ab {name", ["`answer:`: position 4 of", "not closed"]),
        ("{a {b}}", ["position 1 of", "not closed"]),
        ('{a|or:"x}', ["position 1 of", "not closed"]),
        ("{}", ["position 2 of", "field name is missing"]),
        ("{|lines}", ["position 2 of", "field name is missing"]),
        ("{a|or:}", ["field name is missing"]),
        ("做法 {steps|linse}", ["position 11 of", "unknown filter 'linse'", "numbered, comma"]),
        ("{a|}", ["unknown filter ''"]),
        ('{a|or:"x"|or:b}', ["position 11 of", "nothing can follow"]),
    ],
)
def test_wrong_templates_say_where(template, parts):
    with pytest.raises(SourceError) as caught:
        Template(template, "`answer:`")
    for part in parts:
        assert part in str(caught.value)


def test_needs_and_names():
    template = Template('{a|or:b}{c.d|lines}{e|or:"x"}{a}', "t")
    wanted = [(("a", "b"), False), (("c.d",), False), (("e",), True), (("a",), False)]
    assert template.parts == wanted
    assert template.names == ("a", "b", "c.d", "e")


@given(st.lists(st.text(min_size=1)), st.text(), st.text())
def test_text_around_fields_is_kept_and_values_are_not_read_as_templates(literals, value, other):
    """However it reads, a value comes back as it is, and so does the text of the template."""
    written = [literal.replace("{", "{{").replace("}", "}}") for literal in literals]
    made = render("{v}".join([*written, "", ""]) + "{w}", {"v": value, "w": other})
    expected = value.join([*literals, "", ""]) + other
    assert made == (expected if value or other else "")


@given(st.text())
def test_any_text_is_a_template_or_refused_with_a_message(text):
    try:
        template = Template(text, "`question:`")
    except SourceError as error:
        assert str(error).startswith("`question:`: position ")
        return
    try:
        assert isinstance(template.render({}), str)
    except ShapeError as error:
        assert error.reason == "malformed_row"
