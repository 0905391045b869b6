"""Which of the project's modules a script imports, directly and through others.

They are inputs of its rule: an edit of one reruns the rules that use it, and no others.
Runs inside Snakemake, while the rules are read: standard library only.
"""

import ast
import itertools
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path


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
    # the folder that holds the outermost package of the file, or the file itself
    top = next(folder for folder in path.parents if not (folder / "__init__.py").exists())
    found = []
    for level, module, names in _imports(path):
        if level:
            folders = [path.parents[level - 1]]
        elif module.partition(".")[0] in sys.stdlib_module_names:
            folders = [top]
        else:
            folders = [top, *(path for path in sorted(scripts.iterdir()) if path != top)]
        files = (_file_of(folder, module) for folder in folders)
        if file := next(filter(None, files), None):
            found.append(file)
            # importing a module runs the packages around it
            packages = (folder / "__init__.py" for folder in file.parents)
            found += itertools.takewhile(Path.is_file, packages)
            if file.name == "__init__.py":
                found += filter(None, (_file_of(file.parent, name) for name in names))
    return found


def _imports(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Level, module and imported names of each import statement."""
    for node in _statements(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, []
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below a node, and not their expressions, of which there are many more."""
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        for statement in getattr(node, field, ()):
            yield statement
            yield from _statements(statement)


def _file_of(folder: Path, module: str) -> Path | None:
    path = folder.joinpath(*module.split(".")) if module else folder
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)
