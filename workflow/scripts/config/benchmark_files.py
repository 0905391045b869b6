"""The benchmarks that can be asked: the workflow's own, and those that lie on this machine.

Runs inside Snakemake, while the rules are read: standard library only.
"""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

BUILT_IN = ("heldout", "recall", "heldout_mcq", "heldout_preference")
HELD_OUT = ("heldout", "heldout_mcq", "heldout_preference")
_FREELY_ANSWERED = ("heldout", "recall")
_FREE, _CHOICE = ("exact_match", "contains", "rouge_l"), ("accuracy", "accuracy_norm")
_METRICS = {
    "options": _CHOICE,
    "cloze": _CHOICE,
    "perplexity": _CHOICE[:1],
    # whether a file's questions have options is seen when it is read
    "generation": ("accuracy", "no_choice", *_FREE),
}
# What answers over HTTP generates, and tells no likelihoods.
GENERATING = ("served",)
SUFFIXES = (".csv", ".jsonl")
LAYOUTS = (
    "the layout of C-Eval (dev/, val/ with SUBJECT_val.csv), that of CMMLU (dev/, test/ with "
    "SUBJECT.csv), either of them with .jsonl files, or a single .jsonl file"
)


class BenchmarkMistake(Exception):
    """A benchmark of the configuration cannot be used; the text names the key below it."""


@dataclass(frozen=True)
class Files:
    """By subject, the file of the questions, and that of the examples where any are shown."""

    questions: dict[str, Path]
    examples: dict[str, Path]


def local_of(evaluation: dict) -> dict[str, dict]:
    """The entries of `evaluation.local` that `evaluation.benchmarks` names, in its order."""
    named = evaluation["benchmarks"]
    return {name: evaluation["local"][name] for name in named if name in evaluation["local"]}


def mode_of(name: str, evaluation: dict) -> str:
    """How a benchmark is asked, one of the modes in evaluation/prompts.py."""
    if name in BUILT_IN:
        return "generation" if name in _FREELY_ANSWERED else "options"
    return evaluation["local"][name]["mode"]


def not_asked(variant: str, evaluation: dict) -> dict[str, str]:
    """The benchmarks that a variant cannot be asked, and their modes."""
    modes = {name: mode_of(name, evaluation) for name in evaluation["benchmarks"]}
    return {
        name: mode for name, mode in modes.items() if variant in GENERATING and mode != "generation"
    }


def metrics_of(name: str, evaluation: dict) -> tuple[str, ...]:
    """The metrics that a benchmark may have."""
    return _FREE if name in _FREELY_ANSWERED else _METRICS[mode_of(name, evaluation)]


def files_of(entry: dict) -> Files:
    """The files of an entry of `evaluation.local`.

    Raises:
        BenchmarkMistake: one that is needed is not there.
    """
    path = Path(entry["path"])
    if not path.exists():
        raise BenchmarkMistake(
            f"path: {path} does not exist, and nothing is downloaded. Put the benchmark there, in "
            f"{LAYOUTS}; or correct the path."
        )
    if path.is_file():
        return _file(path, entry)
    split = entry.get("split") or ("val" if (path / "val").is_dir() else "test")
    questions = _chosen(path / split, split, entry.get("subjects"))
    examples = _chosen(path / "dev", "dev", list(questions)) if entry["shots"] else {}
    return Files(questions, examples)


def mistakes_of(evaluation: dict) -> Iterator[str]:
    """One line per mistake in `evaluation.benchmarks` and `evaluation.local`."""
    known = [*BUILT_IN, *evaluation["local"]]
    for index, name in enumerate(evaluation["benchmarks"]):
        if name not in known:
            yield (
                f"evaluation.benchmarks.{index}: {name!r} is neither one of {', '.join(BUILT_IN)} "
                f"nor the name of one in evaluation.local.{_nearest(name, known)}"
            )
    for name in evaluation["local"]:
        if name in BUILT_IN:
            yield f"evaluation.local.{name}: is the name of a benchmark of the workflow's own."
    for name, entry in local_of(evaluation).items():
        try:
            files_of(entry)
        except BenchmarkMistake as mistake:
            yield f"evaluation.local.{name}.{mistake}"


def unasked_of(evaluation: dict) -> Iterator[str]:
    """One line for each variant that is asked nothing, and each benchmark that nobody is asked.

    Args:
        evaluation: the part of the configuration, its benchmarks all known.
    """
    left_out = {variant: not_asked(variant, evaluation) for variant in evaluation["variants"]}
    for variant, modes in left_out.items():
        if len(modes) == len(evaluation["benchmarks"]):
            yield (
                f"evaluation.variants: {variant} can only be asked what is answered by generation, "
                f"and evaluation.benchmarks has nothing of that kind ({_listed(modes)}). Add "
                f"heldout or recall, or take {variant} out."
            )
            return
    for name in set.intersection(*map(set, left_out.values())):
        yield (
            f"evaluation.benchmarks: {name} ({mode_of(name, evaluation)}) is asked of no variant: "
            f"{', '.join(left_out)} can only be asked what is answered by generation. Take it out, "
            "or add another variant."
        )


def _listed(modes: dict[str, str]) -> str:
    return ", ".join(f"{name}: {mode}" for name, mode in modes.items())


def _file(path: Path, entry: dict) -> Files:
    if path.suffix.lower() != ".jsonl":
        raise BenchmarkMistake(f"path: {path} is neither a folder nor a .jsonl file.")
    if "split" in entry:
        raise BenchmarkMistake(f"split: {path} is a single file and has no val and test.")
    if entry["shots"]:
        raise BenchmarkMistake(
            f"shots: {path} has no examples beside it. Move it to test/NAME.jsonl in a folder, put "
            "dev/NAME.jsonl beside test/, and name the folder."
        )
    return Files(_named({path.stem: path}, entry.get("subjects"), path.parent), {})


def _chosen(folder: Path, split: str, subjects: list[str] | None) -> dict[str, Path]:
    """The files of some subjects, or of all, in a folder of one split."""
    if not folder.is_dir():
        raise BenchmarkMistake(f"path: there is no folder {folder}. A benchmark has {LAYOUTS}.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        subject = path.stem.removesuffix(f"_{split}")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            if subject in found:
                raise BenchmarkMistake(f"path: {path} and {found[subject]} are of one subject.")
            found[subject] = path
    if not found:
        raise BenchmarkMistake(f"path: {folder} holds no .csv or .jsonl files.")
    return _named(found, subjects, folder)


def _named(found: dict[str, Path], subjects: list[str] | None, folder: Path) -> dict[str, Path]:
    for subject in subjects or ():
        if subject not in found:
            raise BenchmarkMistake(
                f"subjects: {subject!r} is not in {folder}.{_nearest(subject, found)}"
            )
    return {subject: found[subject] for subject in subjects or found}


def _nearest(value: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(value, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
