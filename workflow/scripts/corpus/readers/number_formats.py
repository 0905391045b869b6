"""Numbers of a worksheet as a person sees them: number format codes applied to values.

Format: ECMA-376 part 1, 18.8.30 (numFmt) and 18.8.31 (numFmts). What a code leaves to the settings
of the machine (the built-in "short date") is written as Chinese and ISO 8601 readers expect it.
"""

import datetime
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal

ISO_DATE, ISO_TIME = "yyyy-mm-dd", "hh:mm:ss"
# The long date and the time of the machine's settings, whatever follows in the code.
SYSTEM = {"F800": ISO_DATE, "F400": ISO_TIME}
# Codes that a workbook may use by number alone; 27-36 and 50-58 as in Chinese editions of Excel.
BUILT_IN = {
    **{0: "General", 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%"},
    **{5: "¥#,##0;-¥#,##0", 6: "¥#,##0;-¥#,##0", 7: "¥#,##0.00;-¥#,##0.00"},
    **{8: "¥#,##0.00;-¥#,##0.00", 11: "0.00E+00", 12: "# ?/?", 13: "# ??/??"},
    **{14: ISO_DATE, 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM"},
    **{19: "h:mm:ss AM/PM", 20: "h:mm", 21: "h:mm:ss", 22: f"{ISO_DATE} h:mm"},
    **{27: 'yyyy"年"m"月"', 28: 'm"月"d"日"', 29: 'm"月"d"日"', 30: ISO_DATE},
    **{31: 'yyyy"年"m"月"d"日"', 32: 'h"时"mm"分"', 33: 'h"时"mm"分"ss"秒"'},
    **{34: '上午/下午h"时"mm"分"', 35: '上午/下午h"时"mm"分"ss"秒"', 36: 'yyyy"年"m"月"'},
    **{37: "#,##0;(#,##0)", 38: "#,##0;(#,##0)", 39: "#,##0.00;(#,##0.00)"},
    **{40: "#,##0.00;(#,##0.00)", 45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "##0.0E+0"},
    **{41: "#,##0;-#,##0", 42: "¥#,##0;-¥#,##0", 43: "#,##0.00;-#,##0.00"},
    **{44: "¥#,##0.00;-¥#,##0.00", 49: "@"},
    **{50: 'yyyy"年"m"月"', 51: 'm"月"d"日"', 52: 'yyyy"年"m"月"', 53: 'm"月"d"日"'},
    **{54: 'm"月"d"日"', 55: '上午/下午h"时"mm"分"', 56: '上午/下午h"时"mm"分"ss"秒"'},
    **{57: 'yyyy"年"m"月"', 58: 'm"月"d"日"'},
}

TOKEN = re.compile(
    r"""
      "(?P<quoted>[^"]*)"?
    | \\(?P<escaped>.)
    | (?P<space>_.) | (?P<fill>\*.)
    | \[(?P<bracket>[^\]]*)\]
    | (?P<half>AM/PM|A/P|上午/下午)
    | (?P<general>General|G/通用格式)
    | (?P<letters>[yY]+|[mM]+|[dD]+|[hH]+|[sS]+|a{3,4}|e+(?![+-]))
    | (?P<exponent>[eE][+-])
    | (?P<digit>[0#?]) | (?P<point>\.) | (?P<comma>,) | (?P<percent>%) | (?P<text>@)
    | (?P<unknown>[gGbB])
    | (?P<literal>.)
    """,
    re.VERBOSE | re.DOTALL,
)
COLOURS = re.compile(
    r"(?i)black|blue|cyan|green|magenta|red|white|yellow|colou?r\s?\d+|[黑蓝绿红白黄]色?"
)
ELAPSED = re.compile(r"(?i)h+|m+|s+")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DAYS_CHINESE = "一二三四五六日"
MAX_SERIAL = 2_958_466  # the day after 9999-12-31

Show = Callable[[float], str]
Token = tuple[str, str]


class Unsupported(Exception):
    """A format code has something that is not known here."""


def general(value: float) -> str:
    """A number without a format: at most the 15 digits that Excel keeps.

    >>> general(1949.0), general(0.1 + 0.2)
    ('1949', '0.3')
    """
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.15g}".upper()


def compile_format(code: str, date1904: bool = False) -> tuple[Show, bool]:
    """The function that shows a number under a format code.

    Args:
        code: the format code ("0.00%", "yyyy/m/d").
        date1904: days are counted from 1904 (workbooks of old Macs), not from 1900.

    Returns:
        The function, and whether it does all that the code asks for. Where it does not (fractions,
        conditions, Chinese numerals, other calendars), a number is shown without a format and a
        date as in ISO 8601.
    """
    sections = _sections(code)
    try:
        shown = [_section(tokens, date1904) for tokens in sections[:3]]  # the fourth is for texts
    except Unsupported:
        is_date = any(kind in ("letters", "half") for kind, _ in sections[0])
        return (_iso(date1904) if is_date else general), False

    def show(value: float) -> str:
        if len(shown) == 1:
            return shown[0](value)
        if value < 0:
            return shown[1](-value)
        return shown[2 if value == 0 and len(shown) == 3 else 0](value)

    return show, True


def _iso(date1904: bool) -> Show:
    date, time, both = (
        _section(_sections(code)[0], date1904)
        for code in (ISO_DATE, ISO_TIME, f"{ISO_DATE} {ISO_TIME}")
    )
    return lambda value: (date if value == int(value) else time if 0 < value < 1 else both)(value)


def _sections(code: str) -> list[list[Token]]:
    sections: list[list[Token]] = [[]]
    for found in TOKEN.finditer(code):
        kind, text = found.lastgroup, found[found.lastgroup]
        if kind == "literal" and text == ";":
            sections.append([])
        elif kind in ("quoted", "escaped"):
            sections[-1].append(("literal", text))
        elif kind == "bracket":
            if token := _bracket(text):
                sections[-1].append(token)
        elif kind not in ("space", "fill"):
            sections[-1].append((kind, text))
    return sections


def _bracket(text: str) -> Token | None:
    if text.startswith("$"):
        symbol, _, place = text[1:].partition("-")
        if place.upper() in SYSTEM:
            return "system", SYSTEM[place.upper()]
        # the first digits of a long locale say which numerals and calendar to use
        return ("unknown", text) if place[:-4].strip("0") else ("literal", symbol)
    if COLOURS.fullmatch(text):
        return None
    return ("elapsed", text.lower()) if ELAPSED.fullmatch(text) else ("unknown", text)


def _section(tokens: list[Token], date1904: bool) -> Show:
    for kind, text in tokens:
        if kind == "system":
            tokens = _sections(text)[0]
    kinds = {kind for kind, _ in tokens}
    if "unknown" in kinds:
        raise Unsupported
    if kinds & {"letters", "elapsed", "half"}:
        return _date(tokens, date1904)
    if kinds & {"general", "text"}:
        return lambda value: "".join(
            text if kind == "literal" else general(value) for kind, text in tokens
        )
    return _number(tokens)


# ------------------------------------------------------------------------------------- numbers


def _number(tokens: list[Token]) -> Show:
    places = [n for n, (kind, _) in enumerate(tokens) if kind == "digit"]
    if not places:  # nothing but a text, as in "0;-0;无"
        fixed = "".join("%" if kind == "percent" else text for kind, text in tokens)
        return lambda value: fixed
    first, last = places[0], places[-1]
    if any(kind == "exponent" for kind, _ in tokens):
        return _scientific(tokens)
    while last + 1 < len(tokens) and tokens[last + 1][0] in ("comma", "point"):
        last += 1
    if first and tokens[first - 1][0] == "point":
        first -= 1
    core = tokens[first : last + 1]
    if any(kind not in ("digit", "point", "comma") for kind, _ in core):
        raise Unsupported  # a fraction, or digits with texts between them
    before, after = (
        "".join("%" if kind == "percent" else text for kind, text in side)
        for side in (tokens[:first], tokens[last + 1 :])
    )
    whole, _, decimals = "".join(text for _, text in core).partition(".")
    scale = 2 * sum(kind == "percent" for kind, _ in tokens)
    for part in (decimals, whole):
        scale -= 3 * (len(part) - len(part.rstrip(",")))
        if part.strip(","):
            break
    grouped = "," in whole.rstrip(",")
    whole, decimals = whole.replace(",", ""), decimals.replace(",", "")
    if grouped and whole.count("0") > 3:
        raise Unsupported
    least, fixed, step = (
        whole.count("0"),
        len(decimals.rstrip("#?")),
        Decimal(1).scaleb(-len(decimals)),
    )
    point = "." if any(kind == "point" for kind, _ in core) else ""

    def show(value: float) -> str:
        number = Decimal(f"{value:.15g}").scaleb(scale)
        # beyond what Decimal keeps by default there is nothing to round
        rounded = number.quantize(step, ROUND_HALF_UP) if number.adjusted() < 20 else number
        digits, _, fraction = f"{abs(rounded):f}".partition(".")
        digits = digits.lstrip("0").rjust(least, "0")
        if grouped and digits:
            digits = f"{int(digits):,}"
        fraction = fraction.rstrip("0").ljust(fixed, "0")
        sign = "-" if rounded < 0 else ""
        return f"{sign}{before}{digits}{point and point + fraction}{after}".strip()

    return show


def _scientific(tokens: list[Token]) -> Show:
    code = "".join(text for _, text in tokens)
    found = re.fullmatch(r"([0#]+)(?:\.([0#]+))?E([+-])(0+)", code, re.IGNORECASE)
    if found is None:
        raise Unsupported
    width, decimals = len(found[1]), len(found[2] or "")

    def show(value: float) -> str:
        number = Decimal(f"{value:.15g}")
        power = number.adjusted() // width * width if number else 0
        mantissa = number.scaleb(-power).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
        if abs(mantissa) >= 10**width:  # rounded up
            mantissa, power = mantissa.scaleb(-width), power + width
            mantissa = mantissa.quantize(Decimal(1).scaleb(-decimals))
        sign = "-" if power < 0 else "+" if found[3] == "+" else ""
        return f"{mantissa:f}E{sign}{str(abs(power)).rjust(len(found[4]), '0')}"

    return show


# --------------------------------------------------------------------------------------- dates


def _date(tokens: list[Token], date1904: bool) -> Show:
    steps, digits = _date_steps(tokens)
    half_days = any(kind == "half" for kind, _ in steps)

    def show(value: float) -> str:
        days = value + 1462 if date1904 else value
        if not 0 <= days < MAX_SERIAL:
            return general(value)
        # Excel rounds to the smallest unit of time that it shows, seconds at least
        unit = 10**digits
        day, ticks = divmod(round(days * 86400 * unit), 86400 * unit)
        seconds, fraction = divmod(ticks, unit)
        year, month, date, weekday = _calendar(day)
        parts = _Moment(year, month, date, weekday, day, seconds, fraction, digits, half_days)
        return "".join(parts.show(kind, text) for kind, text in steps).strip()

    return show


def _date_steps(tokens: list[Token]) -> tuple[list[Token], int]:
    """Steps of a date format, minutes told from months, and how many decimals of a second."""
    steps: list[Token] = []
    digits = 0
    clock = [
        (n, text[0].lower())
        for n, (kind, text) in enumerate(tokens)
        if kind in ("letters", "elapsed")
    ]
    minutes = {
        n
        for place, (n, letter) in enumerate(clock)
        if letter == "m"
        and len(tokens[n][1]) <= 2
        and (
            (place and clock[place - 1][1] == "h")
            or (place + 1 < len(clock) and clock[place + 1][1] == "s")
        )
    }
    n = 0
    while n < len(tokens):
        kind, text = tokens[n]
        follows = n + 1 < len(tokens) and tokens[n + 1] == ("digit", "0")
        if kind == "point" and follows:
            start = n + 1
            while n + 1 < len(tokens) and tokens[n + 1] == ("digit", "0"):
                n += 1
            digits = min(n + 1 - start, 3)
            steps.append(("fraction", ""))
        elif kind in ("digit", "general", "exponent", "percent", "text"):
            raise Unsupported
        elif kind == "letters":
            steps.append(("minutes" if n in minutes else "letters", text.lower()))
        else:
            steps.append((kind if kind in ("elapsed", "half") else "literal", text))
        n += 1
    return steps, digits


def _calendar(day: int) -> tuple[int, int, int, int]:
    """Year, month, day and weekday (0 Monday) of a day number; Excel has a 29 February 1900."""
    if day in (0, 60):
        return (1900, 1, 0, 5) if day == 0 else (1900, 2, 29, 2)
    date = datetime.date(1899, 12, 31) + datetime.timedelta(days=day if day < 60 else day - 1)
    return date.year, date.month, date.day, date.weekday()


class _Moment:
    """A date and time, taken apart as the letters of a format name it."""

    def __init__(self, year, month, date, weekday, day, seconds, fraction, digits, half_days):
        self.year, self.month, self.date, self.weekday = year, month, date, weekday
        self.hour, rest = divmod(seconds, 3600)
        self.minute, self.second = divmod(rest, 60)
        self.fraction = f".{fraction:0{digits}d}" if digits else ""
        self.total = day * 86400 + seconds
        self.half_days = half_days

    def show(self, kind: str, text: str) -> str:
        width = len(text)
        match kind:
            case "literal":
                return text
            case "fraction":
                return self.fraction
            case "minutes":
                return f"{self.minute:0{width}d}"
            case "elapsed":
                return f"{self.total // {'h': 3600, 'm': 60, 's': 1}[text[0]]:0{width}d}"
            case "half":
                halves = {"A/P": ("A", "P"), "AM/PM": ("AM", "PM")}.get(text, ("上午", "下午"))
                return halves[self.hour >= 12]
        match text[0]:
            case "y" | "e":
                return f"{self.year % 100:02d}" if text in ("y", "yy") else str(self.year)
            case "m":
                name = MONTHS[self.month - 1]
                names = {3: name[:3], 4: name, 5: name[0]}
                return names.get(width) or f"{self.month:0{min(width, 2)}d}"
            case "d":
                name = DAYS[self.weekday]
                return f"{self.date:0{width}d}" if width < 3 else name[:3] if width == 3 else name
            case "a":
                return ("周" if width == 3 else "星期") + DAYS_CHINESE[self.weekday]
            case "h":
                hour = (self.hour % 12 or 12) if self.half_days else self.hour
                return f"{hour:0{min(width, 2)}d}"
        return f"{self.second:0{min(width, 2)}d}"
