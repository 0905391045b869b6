"""What a script imports is an input of its rule."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ROOT / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS / "config"))

import imports


def names(script):
    return [path.relative_to(SCRIPTS).as_posix() for path in imports.imported_by(script, SCRIPTS)]


def test_other_stages_and_modules_of_modules_are_found():
    assert "corpus/normalise.py" in names(SCRIPTS / "base_models" / "withhold_facts.py")
    # convert_turbomind -> launch_lmdeploy -> calibration
    found = names(SCRIPTS / "quantization" / "convert_turbomind.py")
    assert {"base_models/limits.py", "quantization/calibration.py"} <= set(found)
    assert "quantization/chat_template.py" in found
    assert "export/chat_template.py" not in found, "its own folder comes first"


def test_packages_and_relative_imports(tmp_path):
    files = {
        "a/rule.py": "import json\nfrom tools import one\n",
        "a/tools/__init__.py": "",
        "a/tools/one.py": "from . import two\nfrom .deep.three import x\n",
        "a/tools/two.py": "import other_stage\n",
        "a/tools/deep/__init__.py": "",
        "a/tools/deep/three.py": "from ..four import y\n",
        "a/tools/four.py": "",
        "a/tools/unused.py": "",
        "b/other_stage.py": "import rule\n",
        "b/json.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = imports.imported_by(tmp_path / "a/rule.py", tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in found} == set(files) - {
        *("a/rule.py", "a/tools/unused.py", "b/json.py")
    }


def parsed(script):
    """(level, module, imported names) of each import statement, by Python's own parser."""
    for node in ast.walk(ast.parse(script.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]


def test_no_import_is_overlooked():
    for script in SCRIPTS.rglob("*.py"):
        found = list(imports._imports(script))
        for level, module, names in parsed(script):
            # besides names, what stands around them is found: `as`, and words of comments
            assert any(
                (level, module) == each[:2] and set(names) <= set(each[2]) for each in found
            ), f"{script}: {module} {names}"
