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
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from lxml import etree
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from report_numbers import PROPORTIONS, ScoreRow, smoothed, wilson

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
}
VARIANT_COLOURS = {
    "base": "#0a0001",
    "tuned": "#0a0002",
    "awq": "#0a0003",
    "turbomind": "#0a0004",
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
    several = len({row.run for row in groups}) > 1
    with plt.rc_context(STYLE):
        height = 0.9 + len(groups) * (0.17 * len(variants) + 0.26)
        figure, axes = plt.subplots(figsize=(WIDTH, height))
        step = 1 / (len(variants) + 1)
        for index, row in enumerate(groups):
            for place, variant in enumerate(variants):
                if variant not in row.scores:
                    continue
                score = row.scores[variant]
                # the mean of a graded metric (ROUGE) has no interval of this kind
                known = row.metric in PROPORTIONS
                low, high = wilson(score, row.n) if known else (score, score)
                y = index + (place - (len(variants) - 1) / 2) * step
                colour = VARIANT_COLOURS.get(variant, SERIES[3])
                axes.barh(
                    y,
                    score,
                    height=step * 0.78,
                    color=colour,
                    linewidth=0,
                    label=names.get(variant, variant) if index == 0 else None,
                )
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
        labels = [
            f"{row.run}\n{row.benchmark}"
            if several
            else f"{row.benchmark}\n{row.metric.replace('_', ' ')}"
            for row in groups
        ]
        axes.set_yticks(range(len(groups)), labels, color=INK)
        axes.tick_params(length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.07)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="y", visible=False)
        axes.spines["bottom"].set_visible(False)
        handles, texts = axes.get_legend_handles_labels()
        axes.legend(
            handles,
            texts,
            loc="lower left",
            bbox_to_anchor=(-0.01, 1),
            ncols=len(variants),
            handlelength=1,
            handleheight=1,
            columnspacing=1.6,
        )
        return _svg(figure)


def loss(logs: dict[str, dict[str, Any]]) -> str:
    """Training loss of each run by iteration: every value faint, a running mean strong."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 3.1))
        for colour, (run, log) in zip(SERIES * len(logs), logs.items(), strict=False):
            iterations = [entry["iteration"] for entry in log["steps"]]
            values = [entry["loss"] for entry in log["steps"]]
            many = len(iterations) >= 20  # a running mean of a few points only hides them
            axes.plot(
                iterations,
                values,
                color=colour,
                linewidth=1 if many else 1.8,
                alpha=0.35 if many else 1,
                marker="" if many else "o",
                markersize=3,
                label=None if many else run,
            )
            if many:
                axes.plot(iterations, smoothed(values), color=colour, linewidth=1.9, label=run)
            axes.annotate(
                f"{values[-1]:.3g}",
                (iterations[-1], smoothed(values)[-1] if many else values[-1]),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.set_xlabel("iteration")
        axes.set_ylabel("training loss")
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.tick_params(length=0)
        axes.grid(axis="x", visible=False)
        if len(logs) > 1:
            axes.legend(loc="upper right")
        return _svg(figure)


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
