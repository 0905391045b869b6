"""Which of the project's modules a script imports, directly and through others.

They are inputs of its rule: an edit of one reruns the rules that use it, and no others.
Runs inside Snakemake, while the rules are read: standard library only.
"""

import itertools
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# Searched for: to parse all scripts took a fifth of a start of Snakemake. A test compares this with
# what Python's parser finds.
_IMPORT = re.compile(
    r"^ *(?:from (\.*)([\w.]*) import (\([^)]*\)|.+)|import ([\w.]+))", re.MULTILINE
)


@cache
def imported_by(script: Path, scripts: Path) -> list[Path]:
    """The project's files that a script imports, sorted, without the script itself.

    A script sees the modules of its own folder; a few put the folder of another stage on sys.path.

    Args:
        script: a Python file below `scripts`.
        scripts: the folder of the stages, workflow/scripts.
    """
    found: set[Path] = set()
    new = [script]
    while new:
        for path in _directly_imported(new.pop(), scripts):
            if path not in found:
                found.add(path)
                new.append(path)
    return sorted(found - {script})


@cache
def _directly_imported(path: Path, scripts: Path) -> list[Path]:
    modules = _modules(scripts)
    # the folder that holds the outermost package of the file, or the file itself
    top = next(folder for folder in path.parents if (folder, "") not in modules)
    others = [folder for folder in _stages(scripts) if folder != top]
    found = []
    for level, module, names in _imports(path):
        if level:
            folders = [path.parents[level - 1]]
        elif module.partition(".")[0] in sys.stdlib_module_names:
            folders = [top]
        else:
            folders = [top, *others]
        files = (modules.get((folder, module)) for folder in folders)
        if file := next(filter(None, files), None):
            found.append(file)
            # importing a module runs the packages around it
            packages = (modules.get((folder, "")) for folder in file.parents)
            found += itertools.takewhile(bool, packages)
            if file.name == "__init__.py":
                found += filter(None, (modules.get((file.parent, name)) for name in names))
    return found


@cache
def _stages(scripts: Path) -> list[Path]:
    return sorted(scripts.iterdir())


@cache
def _modules(scripts: Path) -> dict[tuple[Path, str], Path]:
    """The project's files, by a folder above them and their dotted name from there.

    A package has no name in its own folder: it is (folder, "").
    """
    modules = {}
    for file in scripts.rglob("*.py"):
        path = file.parent if file.name == "__init__.py" else file.with_suffix("")
        names = path.relative_to(scripts).parts
        for depth in range(len(names)):
            modules[scripts.joinpath(*names[:depth]), ".".join(names[depth:])] = file
        if path == file.parent:
            modules[path, ""] = file
    return modules


def _imports(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Level, module and imported names of each import statement."""
    for dots, parent, names, module in _IMPORT.findall(path.read_text("utf-8")):
        yield len(dots), parent or module, re.findall(r"\w+", names)
