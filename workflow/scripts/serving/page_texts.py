"""The words of the web page, in two languages."""

LANGUAGES = {"中文": "zh", "English": "en"}

TEXTS = {
    "zh": {
        "base": "微调前",
        "tuned": "微调后",
        "subtitle": "同一个问题，并排比较。回答由本机的模型生成，可能有误。",
        "subtitle_single": "回答由本机的模型生成，可能有误。",
        "question": "输入问题，回车发送；Shift + 回车换行",
        "send": "发送",
        "stop": "停止",
        "clear": "清空对话",
        "settings": "设置",
        "system": "系统提示词",
        "system_info": "改动后请清空对话",
        "temperature": "温度",
        "temperature_info": "0：总是取最可能的词，与评测一致",
        "top_p": "top-p",
        "top_p_info": "只从累计概率达到此值的词里抽取",
        "max_tokens": "最多生成的词元数",
        "max_tokens_info": "超过即截断",
        "remember": "带上前面的对话",
        "remember_info": "关闭后每个问题单独作答",
        "empty": "还没有对话",
        "cut": "（已截断）",
        "stopped": "（已停止）",
        "forgotten": "（太长，最早的几轮没有带上）",
        "failed": "（出错：{}）",
    },
    "en": {
        "base": "Before tuning",
        "tuned": "After tuning",
        "subtitle": "One question, two answers, by models on this machine. They may be wrong.",
        "subtitle_single": "Answers come from a model on this machine and may be wrong.",
        "question": "Type a question. Enter sends it, Shift + Enter begins a new line",
        "send": "Send",
        "stop": "Stop",
        "clear": "Clear",
        "settings": "Settings",
        "system": "System prompt",
        "system_info": "Clear the conversation after a change",
        "temperature": "Temperature",
        "temperature_info": "0: always the likeliest token, as in evaluation",
        "top_p": "Top-p",
        "top_p_info": "Draw from the likeliest tokens that make up this share",
        "max_tokens": "Longest answer, in tokens",
        "max_tokens_info": "It is cut there",
        "remember": "Follow the conversation",
        "remember_info": "Off: each question by itself",
        "empty": "Nothing said yet",
        "cut": "(cut)",
        "stopped": "(stopped)",
        "forgotten": "(too long: asked without the oldest turns)",
        "failed": "(failed: {})",
    },
}


def language_of(accepted: str) -> str:
    """The language for a browser's Accept-Language header: Chinese, if it comes first."""
    return "zh" if accepted.strip().lower().startswith("zh") else "en"


def title_of(name: str, language: str) -> str:
    """What stands above the answers of a model, "RUN/VARIANT"."""
    variant = name.rpartition("/")[2]
    known = TEXTS[language].get(variant) if variant in ("base", "tuned") else None
    return f"{known} · {name}" if known else name
