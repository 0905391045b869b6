"""Which option an answer chooses, in the forms that models give; what is garbage chooses none."""

import random
import time

import pytest
from domain_evaluation.choices import choice_of

OPTIONS = {"A": "上海", "B": "广州", "C": "维生素C", "D": "北京"}
CHOSEN = [
    "D",
    "d",
    "Ｄ",
    "D.",
    "D。",
    "Ｄ．",
    "(D)",
    "（Ｄ）",
    "[D]",
    "【D】",
    "**D**",
    '"D"',
    " D \n",
    "D. 北京",
    "D、北京",
    "D：北京",
    "D 北京",
    "d) 北京",
    "（D）北京",
    "D. 北京。因为它是首都。",
    "D，因为它是首都。",
    "D. 北京\n解析：上海是直辖市。",
    "D\nD\nD",
    "选项D",
    "Option D",
    "option (D)",
    "答案：D",
    "答案:D",
    "答案：Ｄ",
    "答案D",
    "答案是D。",
    "答案为：D",
    "答案选D",
    "答案应该是 D",
    "【答案】D",
    "答案：**D**",
    "答案：\nD. 北京",
    "正确答案是（D）",
    "正确答案：D. 北京",
    "正确选项为D",
    "我认为正确答案是选项D",
    "上海是A，但答案是D",
    "故选D",
    "因此选D。",
    "本题选择D项",
    "我选D",
    "应选 D",
    "我会选择D。",
    "我认为是D",
    "Option D is the best answer.",
    "**D. 北京**",
    "选项：D",
    "正确答案：D。解析：A项错误，B项不对。",
    "D正确，A、B、C错误",
    "选D",
    "D选项正确",
    "选项D是正确的",
    "A错误，D正确。",
    "The answer is D",
    "The answer is D.",
    "the answer is: (D)",
    "The answer is option D",
    "The correct answer is **D**.",
    "The correct option is D because it is the capital.",
    "Answer: D",
    "**Answer:** D",
    "ANSWER: D",
    "So the answer should be D",
    "D is correct.",
    "D is the correct answer",
    r"\boxed{D}",
    r"Thus $\boxed{\text{D}}$.",
    "北京",
    "“北京”。",
    "答案：D，答案：D",
    "`D`",
    "d.",
    "D选项",
    "答案：d",
    "选择 D。",
    "正确的是D",
    "答案不是A，而是D",
    "这道题选D",
    "由此可知选D。",
    "综上所述，选D。",
    "不选A，选D",
    "排除A和B，选D",
    "答案是D，A不对",
    r"\boxed{\textbf{D}}",
    "A is wrong. D is correct.",
    "解析：北京是首都。\n\n选D",
    "我们一步一步想。\n北京是首都。\n\n**D**",
    "A. 上海\nB. 广州\nC. 维生素C\nD. 北京\n答案：D",
    "答案：D\n\n解析：A. 上海是直辖市。",
]
# how garbage, hesitation and what is no option look
NONE = [
    "",
    " \n",
    "。",
    "不知道",
    "我不知道。",
    "asdf",
    "0",
    "12",
    "E",
    "答案：E",
    "答案：",
    "The answer is",
    "答案是北京或上海",
    "AB",
    "ABCD",
    "答案：ABD",
    "A B C D",
    "A、B",
    "A,B",
    "a, b",
    "A或B",
    "A 或 D",
    "A和D",
    "A/D",
    "答案：A或B",
    "答案：A、D",
    "答案是A和D",
    "The answer is A or D",
    "The answer is (A) and (D).",
    "选A或者选项B",
    "A和D正确",
    "A. 上海 B. 广州 C. 维生素C D. 北京",
    "A. 上海\nB. 广州\nC. 维生素C\nD. 北京",
    "A\nB\nC\nD",
    "(A) 上海 (B) 广州",
    "A.B.C.D.",
    "答案是A。不对，答案是D。",
    "选项A和选项D都对",
    "D. 上海",
    "Apple",
    "A dog is an animal.",
    "a dog",
    "I will answer a question.",
    "The answer is a city.",
    "The answer is Beijing.",
    "Answer: Because it is large.",
    "Because",
    "Do you know?",
    "C 语言是一种语言",
    "C++",
    "C# 和 Java",
    "B2B",
    "B'",
    "D-Day",
    "答案不是D",
    "The answer is not D",
    "答案D是错的",
    "答案：D错误",
    "选项D错误",
    "我认为是错的",
    "A, B and C are wrong.",
    "D不正确",
    "我不认为答案是D",
    "I don't think the answer is D.",
    "不正确的选项是D",
    "错误答案是D",
    "The wrong answer is D",
    "不应该选D",
    "如果答案是D，",
    "答案是D吗？",
    "正确答案是A还是D？",
    "答案：A D",
    "答案：A；D",
    "答案：A-D",
    "答案：A\nB",
    "答案：A. 上海；D. 北京",
    "答案：A. 上海 B. 广州 C. 维生素C D. 北京",
    "答案：A. 上海\nB. 广州\nC. 维生素C\nD. 北京",
    "答案：B超",
    "答案：C语言",
    "Answer: A dog",
    "一步一步想。\nA. 上海\nB",
    "这是一道选择题",
    "<|im_start|>user\n<|im_start|>",
    "{question}",
    "<0xE4><0xBD>",
]


@pytest.mark.parametrize("answer", CHOSEN)
def test_chosen(answer: str) -> None:
    assert choice_of(answer, OPTIONS) == "D"


@pytest.mark.parametrize("answer", NONE)
def test_not_chosen(answer: str) -> None:
    assert choice_of(answer, OPTIONS) is None


def test_letters_beyond_four_and_texts_with_letters() -> None:
    assert choice_of("E. 维生素C", {**OPTIONS, "C": "x", "E": "维生素C"}) == "E"
    assert choice_of("维生素C", OPTIONS) == "C"
    assert choice_of("C. 维生素C", OPTIONS) == "C"
    blood = {"A": "O", "B": "A", "C": "AB", "D": "B"}
    assert choice_of("B", blood) == "B", "the letter before the text"
    assert choice_of("AB", blood) == "C"
    assert choice_of("答案是A型", {key: f"{text}型" for key, text in blood.items()}) is None
    assert choice_of("同样", {"A": "同样", "B": "同样。"}) is None


def test_noise_does_not_choose() -> None:
    """Letters of both scripts and marks without order: nearly none of it is a form of a choice."""
    source = random.Random(0)
    characters = "的一是在不了有和人这中大为上个国我以要他时来用们生到作abcdefghij 012345，。？ABCD"
    texts = ["".join(source.choices(characters, k=source.randint(3, 30))) for _ in range(5_000)]
    chosen = [text for text in texts if choice_of(text, OPTIONS)]
    assert len(chosen) <= 50, chosen[:20]


@pytest.mark.parametrize(
    "answer", ["答案" + " " * 2_000, "答案：" + "\n" * 2_000 + "x", "*" * 2_000]
)
def test_garbage_takes_no_time(answer: str) -> None:
    started = time.monotonic()
    assert choice_of(answer, OPTIONS) is None
    assert time.monotonic() - started < 5
