"""What the documentation says is compared with what the project is."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from snakemake.cli import get_argument_parser
from snakemake.utils import update_config

ROOT = Path(__file__).resolve().parents[3]
for folder in ("config", "base_models"):
    sys.path.insert(0, str(ROOT / "workflow" / "scripts" / folder))

import validation

READMES = ["README.md", "README.zh-CN.md"]
PAGES = [*READMES, "config/README.md"]
SCHEMA_FILE = ROOT / "workflow" / "schemas" / "config.schema.yaml"
SCHEMA = yaml.safe_load(SCHEMA_FILE.read_text(encoding="utf-8"))
# What a `local` example has on disk: the sizes of internlm2-chat-7b.
MODEL = {"hidden_size": 4096, "num_attention_heads": 32, "intermediate_size": 14336}


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


# ------------------------------------------------------------------- reference of the configuration


def resolved(node):
    """A schema node with the definition it refers to merged in."""
    if "$ref" in node:
        definition = SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]
        return {**definition, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def walk(node, path="", required=False, described=None):
    """Yield (key, schema node, required) of every key, branches of if/then included.

    The keys of a definition are described where it is used first.
    """
    described = [] if described is None else described
    definition = node.get("$ref")
    node = resolved(node)
    if definition in described:
        yield path, {"type": "mapping"}, required
        return
    if path:
        yield path, node, required
    if definition and "properties" in node:
        described.append(definition)
    for part in (node, *(rule["then"] for rule in node.get("allOf", []))):
        for key, child in part.get("properties", {}).items():
            needed = key in part.get("required", [])
            yield from walk(child, f"{path}.{key}".lstrip("."), needed, described)
    if isinstance(node.get("additionalProperties"), dict):
        yield from walk(node["additionalProperties"], f"{path}.NAME", described=described)
    if "items" in node and "properties" in resolved(node["items"]):
        yield from walk(node["items"], f"{path}[]", described=described)


def is_heading(node):
    """Whether a key is nothing but the sum of the keys below it, which stand under its heading."""
    return node.get("type") == "object" and not isinstance(node.get("additionalProperties"), dict)


def type_of(node):
    """The word for a type in the tables."""
    if "const" in node:
        return "constant"
    if "enum" in node:
        return "choice"
    if node["type"] == "array":
        item = resolved(node["items"])
        words = {"choice": "choices", "text": "texts", "mapping by name": "mappings"}
        return "list of " + words.get(type_of(item), "values")
    words = {"string": "text", "boolean": "true or false", "object": "mapping by name"}
    if isinstance(node["type"], list):
        return " or ".join(type_of({**node, "type": name}) for name in node["type"])
    return words.get(node["type"], node["type"])


def limits_of(node):
    """What the column of limits must mention."""
    signs = {
        "minimum": "≥",
        "maximum": "≤",
        "exclusiveMinimum": ">",
        "exclusiveMaximum": "<",
    }
    limits = [f"{sign} {node[word]}" for word, sign in signs.items() if word in node]
    limits += [
        "not empty" for word in ("minItems", "minProperties", "minLength") if node.get(word) == 1
    ]
    limits += ["none twice"] if node.get("uniqueItems") else []
    limits += [f"only {node['const']}"] if "const" in node else []
    choices = node.get("enum", []) + resolved(node.get("items", {})).get("enum", [])
    return limits + [f"`{choice}`" for choice in choices]


def default_of(node, required):
    """The column of defaults."""
    if required:
        return "required"
    if "default" not in node:
        return "optional"
    return f"`{json.dumps(node['default'], separators=(',', ':'), ensure_ascii=False)}`"


def table_rows():
    """The rows of config/README.md: {key: [type, default, limits, meaning]}."""
    rows = {}
    for line in text_of("config/README.md").splitlines():
        if found := re.match(r"\| `([\w.\[\]]+)` \|", line):
            key, *cells = (cell.strip() for cell in line.strip().strip("|").split(" |"))
            assert found[1] not in rows, f"{key} stands twice"
            rows[found[1]] = [cell.strip() for cell in cells]
    return rows


KEYS = {path: (node, required) for path, node, required in walk(SCHEMA)}
ROWS = {
    path: entry
    for path, entry in KEYS.items()
    if not is_heading(entry[0]) and not path.endswith(("[]", "NAME"))
}


def test_reference_names_every_key_and_no_other():
    assert sorted(table_rows()) == sorted(ROWS)


def test_reference_has_a_heading_for_every_group():
    headings = set(re.findall(r"^##+ `([\w.\[\]]+)`$", text_of("config/README.md"), re.MULTILINE))
    groups = {path for path, (node, _) in KEYS.items() if is_heading(node) and "[]" not in path}
    assert headings == groups | {*("base_models", "runs", "corpus.sources[]", "runs.NAME.stages[]")}


@pytest.mark.parametrize("key", sorted(ROWS))
def test_reference_tells_the_truth(key):
    node, required = ROWS[key]
    kind, default, limits, meaning = table_rows()[key]
    assert kind == type_of(node)
    assert default == default_of(node, required)
    assert [limit for limit in limits_of(node) if limit not in limits] == []
    assert meaning


# ---------------------------------------------------------------------------------------- examples


def blocks(page, language):
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)


def examples(kind):
    """(page, text) of the yaml examples that are profiles of Snakemake, or configurations."""
    for page in PAGES:
        for block in blocks(page, "yaml"):
            name = block.partition("\n")[0]
            if ("profile" in name) == (kind == "profile"):
                yield pytest.param(block, id=f"{page}: {name.removeprefix('# ')}")


@pytest.mark.parametrize("block", list(examples("configuration")))
def test_example_is_a_valid_configuration(block, tmp_path, monkeypatch):
    overlay = yaml.safe_load(block)
    config = yaml.safe_load(text_of("config/config.yaml"))
    update_config(config, overlay)
    corpus = overlay.get("corpus", {})
    read = [source["path"] for source in corpus.get("sources", [])]
    for path in [tmp_path / name for name in (*read, corpus.get("reviewed")) if name]:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for base in overlay.get("base_models", {}).values():
        if base["source"] == "local":
            model = tmp_path / base["path"]
            model.mkdir(parents=True)
            (model / "config.json").write_text(json.dumps(MODEL))
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    example = tmp_path / "example.yaml"
    example.write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    validation.prepare(config, SCHEMA_FILE, config_files=[example])


@pytest.mark.parametrize("page", READMES)
def test_second_run_differs_from_the_default_one_in_its_adapter_only(page):
    (block,) = (block for block in blocks(page, "yaml") if block.startswith("# compare.yaml"))
    (second,) = yaml.safe_load(block)["runs"].values()
    (first,) = yaml.safe_load(text_of("config/config.yaml"))["runs"].values()
    assert second["training"]["lora"] != first["training"]["lora"]
    second["training"]["lora"] = first["training"]["lora"]
    assert second == first


def test_there_are_examples_to_check():
    for page in READMES:
        assert len(blocks(page, "yaml")) >= 4


@pytest.mark.parametrize("block", list(examples("profile")))
def test_profile_has_options_of_snakemake(block):
    parser = get_argument_parser()
    known = {option for action in parser._actions for option in action.option_strings}
    for key in yaml.safe_load(block):
        assert f"--{key}" in known or key.startswith("slurm-"), key  # those of the plugin


def test_both_languages_show_the_same_examples():
    def content(page):
        return [yaml.safe_load(block) for block in blocks(page, "yaml")]

    assert content("README.md") == content("README.zh-CN.md")


# ------------------------------------------------------------------------ commands, links, pictures


def commands(page):
    """The indented and inline code of a page, line by line."""
    text = re.sub(r"\\\n\s*", "", text_of(page))
    return re.findall(r"^    (\S.*)$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    named = {
        found[1] for line in commands(page) if (found := re.match(r"make ([a-z][a-z-]*)", line))
    }
    assert "run" in named
    assert named - targets == set()


@pytest.mark.parametrize("page", PAGES)
def test_snakemake_options_exist(page):
    parser = get_argument_parser()
    known = {option for action in parser._actions for option in action.option_strings}
    named = {
        option
        for line in commands(page)
        if line.startswith("snakemake ")
        for option in re.findall(r"(?<= )--[a-z-]+", line)
    }
    assert named - known == set()


def anchor(heading):
    """The anchor that GitHub gives a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_resolve(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        path, _, fragment = link.partition("#")
        assert "://" not in path, f"{link}: the pages name nothing outside the clone"
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists():
            broken.append(link)
        elif fragment:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            if fragment not in map(anchor, headings):
                broken.append(link)
    assert broken == []


def test_both_languages_have_the_same_sections():
    def levels(page):
        text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
        return re.findall(r"^(#+) ", text, re.MULTILINE)

    assert levels("README.md") == levels("README.zh-CN.md")


# -------------------------------------------------------------------------------------- rule graph


def descendants(edges):
    """{node: all nodes that can be reached from it}."""
    after = {}
    for tail, head in edges:
        after.setdefault(tail, set()).add(head)

    def reach(node):
        heads = after.get(node, set())
        return heads.union(*(reach(head) for head in heads))

    return {node: reach(node) for edge in edges for node in edge}


@pytest.fixture(scope="module")
def rule_graph(tmp_path_factory):
    """The edges of the default configuration's rules, as Snakemake prints them."""
    folder = tmp_path_factory.mktemp("graph")
    for name in ("resources", "config"):
        (folder / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--cores", "1", "--rulegraph", "mermaid-js"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    graph = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert graph.returncode == 0, graph.stderr
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]", graph.stdout, re.MULTILINE))
    pairs = re.findall(r"^\s*(id\d+) --> (id\d+)", graph.stdout, re.MULTILINE)
    return {(names[tail], names[head]) for tail, head in pairs}


@pytest.mark.parametrize("page", READMES)
def test_rule_graph_is_that_of_the_workflow(page, rule_graph):
    (block,) = blocks(page, "mermaid")
    shown = set(re.findall(r"^\s*(\w+) --> (\w+)$", block, re.MULTILINE))
    after = descendants(rule_graph)
    # without the arrows that follow from others
    wanted = {
        (tail, head)
        for tail, head in rule_graph
        if not any(head in after[other] for other in after[tail] if (tail, other) in rule_graph)
    }
    listing = "\n".join(f"    {tail} --> {head}" for tail, head in sorted(wanted))
    assert shown == wanted, f"the arrows must be\n{listing}"


# ------------------------------------------------------------------------------------ small print


def test_citation_agrees_with_the_project():
    import tomllib

    citation = yaml.safe_load(text_of("CITATION.cff"))
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == project["name"]
    assert citation["version"] == project["version"]
    assert citation["license"] == "Apache-2.0"
    assert citation["message"] and citation["authors"]


def test_catalog_entry_names_the_deployment():
    usage = yaml.safe_load(text_of(".snakemake-workflow-catalog.yml"))["usage"]
    assert usage["software-stack-deployment"]["conda"] is True
    assert usage["report"] is True
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}


@pytest.mark.parametrize("page", PAGES)
def test_environments_and_variables_are_real(page):
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("environments", "cache")
        for path in (ROOT / "workflow" / "scripts" / folder).iterdir()
        if path.is_file()
    )
    for name in re.findall(r"`((?:FINETUNE|UV|PIP)_[A-Z_]+)`", text_of(page)):
        # pip's own variables are read by `pip config list`
        assert name in code or name.startswith("PIP_"), name
