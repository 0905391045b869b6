"""What counts as the same answer."""

import pytest
from domain_evaluation.answers import contains, exact_match, normalise


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("北京", "北京"),
        (" 北京\n", "北京"),
        ("北 京", "北京"),
        ("北京。", "北京"),
        ("《红楼梦》", "红楼梦"),
        ("“北京”！", "北京"),
        ("ＡＢＣ", "abc"),
        ("H₂O", "h2o"),
        ("Fe", "FE"),
        ("１９４９年", "1949年"),
        ("1,000米", "1000米"),
        ("1，000米", "1000米"),
        ("阿尔伯特·爱因斯坦", "阿尔伯特 爱因斯坦"),
        ("北京\u200b", "北京"),
        ("北京\u3000", "北京"),
        ("－5℃", "-5°C"),
        ("50％", "50%"),
        ("！", "!"),
        ("Straße", "STRASSE"),
    ],
)
def test_same_answer(prediction: str, reference: str) -> None:
    assert exact_match(prediction, reference)
    assert contains(prediction, reference)


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("", "北京"),
        ("。", "北京"),
        (" \n", "北京"),
        ("", ""),
        ("上海", "北京"),
        ("北京市", "北京"),
        ("北", "北京"),
        ("314", "3.14"),
        ("5", "-5"),
        ("12", "1/2"),
        ("50", "50%"),
        ("C", "C++"),
        ("三", "3"),
        ("?", "!"),
    ],
)
def test_another_answer(prediction: str, reference: str) -> None:
    assert not exact_match(prediction, reference)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("法国的首都是巴黎。", "巴黎", True),
        ("巴", "巴黎", False),
        ("", "巴黎", False),
        ("巴黎", "", False),
        ("元素符号是Fe。", "Fe", True),
        ("the FE element", "Fe", True),
        ("feature", "Fe", False),
        ("化学式是 H2 O", "H2O", True),
        ("共有15个", "5", False),
        ("共有5个", "5", True),
        ("5.2米", "5", False),
        ("约3.14", "3.14", True),
        ("气温是-5度", "5", False),
        ("气温是-5度", "-5", True),
        ("1949-1956年", "1956", True),
        ("占50%", "50", False),
        ("1,000米高", "1000米", True),
        ("大约 1000 米高", "1000米", True),
        ("答案是！", "！", True),
        ("答案是。", "！", False),
    ],
)
def test_contains(prediction: str, reference: str, expected: bool) -> None:
    assert contains(prediction, reference) is expected


def test_normalise_is_stable() -> None:
    for text in ("Ｈ₂Ｏ", "1,000,000.5", "-5 ℃", "《ẞ》", "！？"):
        assert normalise(normalise(text)) == normalise(text)
