"""The model card of a run, in the form that the hubs read, for each form that is published."""

import json
import re
from pathlib import Path
from typing import Any

import jinja2

TEMPLATE = Path(__file__).with_name("model_card.md.j2")
# what is published: the variant in the scores that stands for it, and the library that loads it
FORMS = {
    "adapter": ("tuned", "peft"),
    "merged": ("tuned", "transformers"),
    "awq": ("awq", "transformers"),
    "turbomind": ("turbomind", "lmdeploy"),
}
# The metrics of the scores that the Hugging Face hub knows.
STANDARD = {"exact_match": "Exact match", "accuracy": "Accuracy"}
# Licences that the hubs know are written like this.
LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def render(values: dict[str, Any], form: str, licence: str | None) -> str:
    """The text of the card.

    Args:
        values: what model_card.py has collected.
        form: one of FORMS.
        licence: of the published model; None if none is decided.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown: `inline` and `fenced` do what is needed
    )
    environment.filters |= {
        "inline": inline,
        "fenced": fenced,
        "n": "{:,}".format,
        "percent": lambda fraction: f"{100 * fraction:.1f}",
        "words": lambda name: name.replace("_", " "),
        # JSON is YAML, whatever a text holds
        "yaml": lambda value: json.dumps(value, ensure_ascii=False),
    }
    template = environment.get_template(TEMPLATE.name)
    head = front_matter(values, form, licence)
    return template.render(values | {"head": head, "form": form, "licence": licence})


def front_matter(values: dict[str, Any], form: str, licence: str | None) -> dict[str, Any]:
    """What the hubs read: the YAML at the beginning of the card, as a mapping."""
    variant, library = FORMS[form]
    head: dict[str, Any] = {}
    if licence:
        known = LICENCE_ID.fullmatch(licence)
        head["license"] = licence if known else "other"
        if not known:
            head["license_name"] = licence
    if values["base"]["repository"]:
        head["base_model"] = values["base"]["repository"]
        head["base_model_relation"] = "adapter" if form == "adapter" else "finetune"
    head |= {
        "library_name": library,
        "pipeline_tag": "text-generation",
        "language": values["languages"],
        "tags": [values["domain"], *(stage["method"] for stage in values["stages"])],
    }
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {
                "type": f"{values['domain']}-{row['benchmark']}",
                "name": f"{values['domain']}: {row['benchmark']}, {row['n']} questions",
            },
            "metrics": [
                {
                    "type": row["metric"],
                    "name": STANDARD[row["metric"]],
                    "value": round(100 * row["scores"][variant], 2),
                }
            ],
        }
        for row in values["scores"]
        if row["metric"] in STANDARD and variant in row["scores"]
    ]
    if results:
        head["model-index"] = [{"name": values["run"], "results": results}]
    return head


def inline(text: object) -> str:
    """A text in a line or a cell of a table, where nothing in it is markup."""
    line = " ".join(str(text).split())
    return re.sub(r"[\\`*~\[\]<>|&#!$@{}]|\b_|_\b", lambda found: f"&#{ord(found.group())};", line)


def fenced(text: str) -> str:
    """A text as a block that nothing in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
