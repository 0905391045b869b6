"""The charts, as SVG text.

Each is drawn once by matplotlib in placeholder colours. `standalone` gives a file that any viewer
shows; `inline` gives an element for the page, whose colours are the page's CSS variables, so that
it follows light, dark and print. Text stays text (`svg.fonttype: none`): the reader's own fonts
show it, Chinese included.
"""

import io
import logging
import re
import warnings
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from lxml import etree
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter
from report_inputs import Score
from report_numbers import PROPORTIONS, ScoreRow, smoothed, wilson, words

# Placeholder colour -> (CSS variable, light value). The placeholders differ in every chart part,
# so that replacing them by text is safe.
INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#fefefe"
COLOURS = {
    INK: ("--ink", "#1b1f24"),
    MUTED: ("--muted", "#5b636d"),
    GRID: ("--line", "#dfe2e6"),
    PAPER: ("--paper", "#ffffff"),
    "#0a0001": ("--c-base", "#8b929c"),
    "#0a0002": ("--c-tuned", "#2a6fc9"),
    "#0a0003": ("--c-awq", "#0d8a74"),
    "#0a0004": ("--c-turbomind", "#b8741a"),
    "#0a0005": ("--c-5", "#8a5cc2"),
    "#0a0006": ("--c-6", "#c2487a"),
    "#0a0007": ("--c-7", "#5f8a1f"),
    "#0a0008": ("--bad", "#c0362c"),
    "#0a0009": ("--c-8", "#1f93a8"),
    "#0a000a": ("--c-9", "#8a6d3b"),
    "#0a000b": ("--c-served", "#9c3f8f"),
    "#0a000c": ("--c-int4", "#55708f"),
}
VARIANT_COLOURS = {
    "base": "#0a0001",
    "pt": "#0a0005",
    "sft": "#0a0007",
    "dpo": "#0a0006",
    "orpo": "#0a0009",
    "grpo": "#0a000a",
    "tuned": "#0a0002",
    "awq": "#0a0003",
    "int4": "#0a000c",
    "turbomind": "#0a0004",
    "served": "#0a000b",
}
SERIES = ["#0a0002", "#0a0003", "#0a0004", "#0a0005", "#0a0006", "#0a0007", "#0a0001"]
LIMIT = "#0a0008"
FONTS = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans", '
    '"PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC", '
    '"Source Han Sans SC", "WenQuanYi Micro Hei", sans-serif'
)
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",  # the same chart gives the same bytes
    "font.family": "DejaVu Sans",  # for measuring only; wider than what a browser shows
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.solid_capstyle": "round",
}
MOST_RUNS = 40  # in a chart that gives each run a line
MOST_POINTS = 500  # of one curve
WIDTH = 10.2  # inches; with 8.5 pt text about as large on the page as its small print
SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # DejaVu only measures; the browser has the Chinese glyphs it misses
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(
            buffer,
            format="svg",
            bbox_inches="tight",
            pad_inches=0.04,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    logger.setLevel(level)
    plt.close(figure)
    return buffer.getvalue().decode("utf-8")


def _recoloured(svg: str, inline: bool) -> str:
    for placeholder, (variable, light) in COLOURS.items():
        svg = svg.replace(placeholder, f"var({variable})" if inline else light)
    return svg


def standalone(svg: str) -> str:
    """An SVG file on white paper, for viewers that know no CSS variables."""
    root = etree.fromstring(_recoloured(svg, inline=False).encode("utf-8"))
    paper = etree.Element(SVG + "rect", width="100%", height="100%", fill="#ffffff")
    root.insert(0, paper)
    _use_fonts(root)
    return etree.tostring(root, encoding="unicode")


def inline(svg: str, prefix: str, label: str) -> str:
    """An <svg> element for the page.

    Args:
        svg: what a chart function returned.
        prefix: makes the ids of this chart its own within the page.
        label: what the chart shows, for readers who do not see it.
    """
    root = etree.fromstring(svg.encode("utf-8"))
    for node in root.findall(f"{SVG}metadata"):
        root.remove(node)
    for node in root.iter(etree.Element):
        if "id" in node.attrib:
            node.set("id", f"{prefix}-{node.get('id')}")
        for name, value in node.attrib.items():
            if name == XLINK + "href":
                node.set("href", f"#{prefix}-{value.lstrip('#')}")
                del node.attrib[name]
            elif "url(#" in value:
                node.set(name, value.replace("url(#", f"url(#{prefix}-"))
    _use_fonts(root)
    root.set("role", "img")
    root.set("aria-label", label)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    etree.cleanup_namespaces(root)
    # in HTML the elements need no namespace declaration
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", etree.tostring(root, encoding="unicode"))
    return _recoloured(text, inline=True)


def _use_fonts(root: etree._Element) -> None:
    for node in root.iter(SVG + "text"):
        style = node.get("style", "")
        node.set("style", re.sub(r"'DejaVu Sans'(, [^;]*)?", FONTS.replace('"', "'"), style))


def scores(rows: Sequence[ScoreRow], variants: Sequence[str], names: dict[str, str]) -> str:
    """Bars of each benchmark's leading metric per variant, with 95% Wilson intervals."""
    groups = [row for row in rows if row.leading]
    variants = [variant for variant in variants if any(variant in row.scores for row in groups)]
    several = len({row.run for row in groups}) > 1
    bar, gap = 0.17, 0.26  # inches
    with plt.rc_context(STYLE):
        height = 0.9 + sum(bar * len(row.scores) + gap for row in groups)
        figure, axes = plt.subplots(figsize=(WIDTH, height))
        middles = []
        top = 0.0
        for row in groups:
            middles.append(top + bar * (len(row.scores) - 1) / 2)
            for place, variant in enumerate(v for v in variants if v in row.scores):
                score = row.scores[variant]
                # the mean of a graded metric (ROUGE) has no interval of this kind
                known = row.metric in PROPORTIONS
                low, high = wilson(score, row.worth[variant]) if known else (score, score)
                y = top + place * bar
                colour = VARIANT_COLOURS[variant]
                axes.barh(y, score, height=bar * 0.78, color=colour, linewidth=0)
                if known:
                    axes.plot([low, high], [y, y], color=INK, linewidth=1, alpha=0.65)
                axes.annotate(
                    f"{100 * score:.1f}",
                    (max(high, score), y),
                    xytext=(5, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8,
                )
            top += bar * len(row.scores) + gap
        labels = [
            f"{run}\n{row.benchmark}" if several else f"{row.benchmark}\n{words(row.metric)}"
            for run, row in zip(_short([row.run for row in groups]), groups, strict=True)
        ]
        axes.set_yticks(middles, labels, color=INK)
        axes.tick_params(length=0)
        axes.set_ylim(top - gap / 2 - bar / 2, -bar / 2 - gap / 2)
        axes.set_xlim(0, 1.07)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="y", visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.legend(
            [Patch(color=VARIANT_COLOURS[v], linewidth=0) for v in variants],
            [names.get(variant, variant) for variant in variants],
            loc="lower left",
            bbox_to_anchor=(-0.01, 1),
            ncols=len(variants),
            handlelength=1,
            handleheight=1,
            columnspacing=1.6,
        )
        return _svg(figure)


def _short(names: Sequence[str], limit: int = 30) -> list[str]:
    """Runs' names where there is little room: those of a grid are long, and much alike.

    What all begin or end with is left out, up to a hyphen that is not the sign of an exponent.
    """
    if max(map(len, names)) <= limit or len(set(names)) == 1:
        return list(names)
    start = len(re.match(r"(?:.*(?<!\de)-)?", _beginning(names))[0])
    backwards = _beginning([name[start:][::-1] for name in names])
    end = len(re.match(r"(?:.*-(?!e))?", backwards)[0])
    return [
        f"{'…' * (start > 0)}{name[start : len(name) - end]}{'…' * (end > 0)}" for name in names
    ]


def _beginning(names: Sequence[str]) -> str:
    """What all names begin with."""
    pairs = zip(min(names), max(names), strict=False)
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def comparison(
    benchmarks: dict[str, dict[str, Score]], ranked: Sequence[str], limit: int = MOST_RUNS
) -> str:
    """The score of every run's final model, a row a run and a panel a benchmark, with intervals.

    No axis starts at zero: dots can be read anywhere,
    and runs of one grid lie close together.

    Args:
        benchmarks: benchmark -> run -> score.
        ranked: the runs, best first.
        limit: so many runs are shown, the best ones.
    """
    shown = ranked[:limit]
    columns = min(4, len(benchmarks))
    lines = -(-len(benchmarks) // columns)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            lines,
            columns,
            figsize=(WIDTH, lines * (0.75 + 0.2 * len(shown))),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        panels = list(grid.flat)
        for axes, (benchmark, by_run) in zip(panels, benchmarks.items(), strict=False):
            ends = []
            for place, run in enumerate(shown):
                if run not in by_run:
                    continue
                score = by_run[run].score
                known = by_run[run].metric in PROPORTIONS
                low, high = wilson(score, by_run[run].worth) if known else (score, score)
                ends += [low, high]
                axes.plot([low, high], [place, place], color=SERIES[0], linewidth=1, alpha=0.5)
                axes.plot(score, place, "o", color=SERIES[0], markersize=4.5, markeredgewidth=0)
                axes.annotate(
                    f"{100 * score:.1f}",
                    (high, place),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7.5,
                )
            middle, half = (min(ends) + max(ends)) / 2, max(0.05, (max(ends) - min(ends)) / 2)
            left, right = middle - 1.08 * half, middle + 1.35 * half  # room for the number
            axes.set_xticks([tick for tick in MaxNLocator(4).tick_values(left, right) if tick <= 1])
            axes.set_xlim(left, right)
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.set_title(benchmark, loc="left", fontsize=9, color=INK)
            axes.tick_params(length=0)
            axes.spines["left"].set_visible(False)
            axes.spines["bottom"].set_visible(False)
        for axes in panels[len(benchmarks) :]:
            axes.set_visible(False)
        for line in grid:
            line[0].set_yticks(range(len(shown)), _short(shown), color=INK)
            line[0].set_ylim(len(shown) - 0.5, -0.5)
        if len(ranked) > len(shown):
            figure.supxlabel(
                f"the best {len(shown)} of {len(ranked)} runs by {next(iter(benchmarks))}; "
                "comparison.csv has all",
                fontsize=8,
                color=MUTED,
            )
        return _svg(figure)


def training(logs: dict[str, dict[str, dict[str, Any]]], names: dict[str, str], best: str) -> str:
    """The curves of each stage: its loss, and what it learns from preferences or rewards.

    Every logged value is faint and its running mean strong. Of many runs only one is strong.

    Args:
        logs: method -> run -> log.
        names: method -> what to call it.
        best: the run to stress where there are too many for a colour each.
    """
    panels = [
        (method, key, by_run)
        for method, by_run in logs.items()
        for key in curves_of(by_run.values())
    ]
    runs = list(dict.fromkeys(run for by_run in logs.values() for run in by_run))
    coloured = len(runs) <= len(SERIES)
    if coloured:
        colours = dict(zip(runs, SERIES, strict=False))
    else:
        colours = dict.fromkeys(runs, MUTED) | {best: SERIES[0]}
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            lines,
            columns,
            figsize=(WIDTH, 3.1 if columns == 1 else 2.5 * lines),
            squeeze=False,
            layout="constrained",
        )
        cells = list(grid.flat)
        for axes, (method, key, by_run) in zip(cells, panels, strict=False):
            for run, log in by_run.items():
                strong = coloured or run == best
                _curve(axes, log["steps"], key, colours[run], strong, len(by_run) == 1)
            _frame(axes, key)
            if len(panels) > 1:
                axes.set_title(names.get(method, method), loc="left", fontsize=9, color=INK)
        for axes in cells[len(panels) :]:
            axes.set_visible(False)
        if len(runs) > 1:
            named = runs if coloured else [best]
            figure.legend(
                [Line2D([], [], color=colours[run], linewidth=1.9) for run in named],
                _short(named) if coloured else [f"{best}, the best of {len(runs)} runs"],
                loc="outside upper left",
                ncols=min(len(named), 4),
            )
        return _svg(figure)


CURVES = {
    "loss": "training loss",
    "reward_accuracy": "pairs in the right order",
    "reward_margin": "margin of the chosen answer",
    "reward": "reward",
    "kl": "KL divergence from the start",
}


def curves_of(logs: Iterable[dict[str, Any]]) -> list[str]:
    """What to draw of a stage: its loss, and the accuracy or else the margin of its preferences.

    With rewards (GRPO) these instead: there the loss is near 0 whatever the model learns.
    """
    logged = {
        key
        for log in logs
        for entry in log["steps"]
        for key, value in entry.items()
        if value is not None
    }
    if "reward" in logged:
        return [key for key in ("reward", "kl") if key in logged]
    return ["loss", *[key for key in ("reward_accuracy", "reward_margin") if key in logged][:1]]


def _curve(
    axes: Axes, steps: Sequence[dict[str, Any]], key: str, colour: str, strong: bool, end: bool
) -> None:
    """One run's values of one key; its last value beside it where there is room (`end`)."""
    logged = [entry for entry in steps if entry.get(key) is not None]
    if not logged:
        return
    iterations = [entry["iteration"] for entry in logged]
    values = [entry[key] for entry in logged]
    many = len(iterations) >= 20  # a running mean of a few points only hides them
    means = smoothed(values) if many else values
    # more points than pixels make a page that no browser scrolls
    few = slice(None, None, -(-len(values) // MOST_POINTS))
    if strong:
        axes.plot(
            iterations[few],
            values[few],
            color=colour,
            linewidth=1 if many else 1.8,
            alpha=0.35 if many else 1,
            marker="" if many else "o",
            markersize=3,
        )
    if many or not strong:
        width, alpha = (1.9, 1) if strong else (0.8, 0.45)
        axes.plot(iterations[few], means[few], color=colour, linewidth=width, alpha=alpha)
    if end and strong:
        axes.annotate(
            f"{values[-1]:.3g}",
            (iterations[-1], means[-1]),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )


def _frame(axes: Axes, key: str) -> None:
    axes.set_xlabel("iteration")
    axes.set_ylabel(CURVES[key])
    if key == "loss" and axes.dataLim.ymin >= 0:
        axes.set_ylim(bottom=0)
    if key == "reward_accuracy":
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.axhline(0.5, color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)))
    axes.set_xlim(left=0)
    axes.tick_params(length=0)
    axes.grid(axis="x", visible=False)


LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.(.+?)(?:\.weight)?$")


def quantisation_error(
    errors: Sequence[tuple[str, float, float | None]], allowed: float | None
) -> str:
    """The largest (filled) and mean (hollow) error of each quantised matrix, by layer and kind.

    Args:
        errors: (tensor name, largest error, mean error), in steps of the 4-bit grid.
        allowed: the largest error that verification accepts, if it says.
    """
    kinds: dict[str, list[tuple[int, float, float | None]]] = {}
    for index, (name, largest, mean) in enumerate(errors):
        found = LAYER.search(name)
        kind = found[2].split(".")[-1] if found else "other"
        kinds.setdefault(kind, []).append((int(found[1]) if found else index, largest, mean))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 3))
        width = 0.72 / max(1, len(kinds))
        for place, (kind, values) in enumerate(kinds.items()):
            offset = (place - (len(kinds) - 1) / 2) * width
            colour = SERIES[place % len(SERIES)]
            x = [layer + offset for layer, _, _ in values]
            largest = [value for _, value, _ in values]
            axes.plot(x, largest, "o", markersize=4.5, color=colour, label=kind, markeredgewidth=0)
            points = [(at, mean) for at, (_, _, mean) in zip(x, values, strict=True) if mean]
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    "o",
                    markersize=4,
                    color=colour,
                    markerfacecolor="none",
                    markeredgewidth=1,
                )
        lines = [(0.5, "half a step: rounding alone", MUTED)]
        if allowed is not None:
            lines.append((allowed, f"{allowed:.3f}: largest allowed, with float16 rounding", LIMIT))
        for height, text, colour in lines:
            axes.axhline(height, color=colour, linewidth=1.1, linestyle=(0, (4, 3)))
            # the upper line is labelled above it and the lower one below: they may be close
            above = height == lines[-1][0]
            axes.annotate(
                text,
                (1, height),
                xycoords=("axes fraction", "data"),
                xytext=(0, 4 if above else -4),
                textcoords="offset points",
                ha="right",
                va="bottom" if above else "top",
                fontsize=8,
                color=colour,
            )
        layers = sorted({layer for values in kinds.values() for layer, _, _ in values})
        axes.set_ylim(0, max(lines[-1][0], *(value for _, value, _ in errors)) * 1.2)
        if len(layers) <= 40:
            axes.set_xticks(layers)
        axes.set_xlabel("layer")
        axes.set_ylabel("error, in steps")
        axes.tick_params(length=0)
        axes.grid(axis="x", visible=False)
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.01, 1),
            ncols=7,
            handletextpad=0.1,
            columnspacing=1.2,
        )
        return _svg(figure)
