"""The program of `make publish`: compares what is published with what a hub has, and sends it.

It is given the plan of launch_publish.py.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import card
import contents
import licences
from contents import Part, Refused
from remote import Difference, Failed, Repository, difference

# imported when it is asked for: each brings its own client
HUBS = {
    "huggingface": ("to_huggingface", "HuggingFace"),
    "modelscope": ("to_modelscope", "ModelScope"),
}


def licence_of(plan: dict[str, Any], values: dict[str, Any]) -> str | None:
    """The licence of what is published; None if none is decided, and it is private.

    Raises:
        Refused: it would be public without one.
    """
    base, data = values["base"]["licence"], values["data_licence"]
    licence = plan["licence"] or licences.decided(base, data)
    if plan["public"] and not licence:
        raise Refused(
            f"the base model's licence is {base!r} and that of the data {data!r}. Whether a model "
            "made of both may be public, and under which licence, you have to decide: say it by "
            "--licence, or leave --public out."
        )
    return licence


def listing(parts: list[Part], todo: Difference) -> str:
    """The files with their sizes and sums, and what would become of each."""
    words = dict.fromkeys(todo.new, "new") | dict.fromkeys(todo.replaced, "replaced")
    rows = [
        f"  {words.get(part.name, 'there'):8} {part.size:>14,}  {part.sha256}  {part.name}"
        for part in parts
    ]
    total = sum(part.size for part in parts)
    return "\n".join([*rows, f"  {len(parts)} files, {total:,} bytes"])


def check(plan: dict[str, Any], seen: Repository, todo: Difference) -> None:
    """Whether the repository that is there may be written to.

    Raises:
        Refused: it is public or private against what was asked for, or holds other files.
    """
    if seen.private == plan["public"]:
        now, asked = ("private", "public") if seen.private else ("public", "private")
        other = "leave --public out" if plan["public"] else "say --public"
        raise Refused(
            f"{plan['repository']} is {now} and was to be {asked}. Change that in its settings, "
            f"{other}, or take another name."
        )
    if todo.others and not plan["replace"]:
        raise Refused(
            f"{plan['repository']} holds other files: {', '.join(todo.others)}. They would stay "
            "beside the model. --replace takes them away in the same step; or take another name."
        )


def publish(plan: dict[str, Any]) -> str:
    """Show what would be published, or publish it; returns the last word.

    Raises:
        Refused: it is not to be published.
        Failed: the hub does not take it.
    """
    values = json.loads(Path(plan["values"]).read_text(encoding="utf-8"))
    licence = licence_of(plan, values)
    parts = contents.collect(plan, card.render(values, plan["form"], licence))
    module, name = HUBS[plan["hub"]]
    hub = getattr(importlib.import_module(module), name)()
    kind = "public" if plan["public"] else "private"
    print(f"{plan['what']} -> {plan['repository']} on {hub.name}, {kind}")
    print(f"licence: {licence or 'not decided'}")
    try:
        seen = hub.listed(plan["repository"])
    except Failed as error:
        if plan["upload"]:
            raise
        print(f"What is there is not known: {error}")
        seen = None
    todo = difference(parts, seen)
    print(listing(parts, todo), flush=True)
    if seen:
        check(plan, seen, todo)
    removed = todo.others
    if removed:
        print("taken away: " + ", ".join(removed))
    if seen and not (todo.new or todo.replaced or removed):
        return "All of it is there already: nothing is sent."
    if not plan["upload"]:
        return "Nothing was sent. To send it, say the same with --upload."
    print(f"as {hub.user()}", flush=True)
    if not seen:
        seen = hub.create(plan["repository"], not plan["public"], licence)
    sent = [part for part in parts if part.name in (*todo.new, *todo.replaced)]
    hub.send(plan["repository"], sent, removed, plan["what"], seen)
    left = difference(parts, hub.listed(plan["repository"]))
    if left.new or left.replaced:
        raise Failed(
            f"what is there now is not what was sent: {', '.join((*left.new, *left.replaced))}. "
            "Run this again."
        )
    return "All of it is there, and its sums are those of the files here."


def main() -> str | None:
    """Command line; returns a message on failure, as `sys.exit` takes it."""
    try:
        print(publish(json.loads(sys.argv[1])))
    except (Refused, Failed) as error:
        return f"make publish: {error}"
    except KeyboardInterrupt:
        return "make publish: stopped. Run it again: files that have arrived are not sent again."
    return None


if __name__ == "__main__":
    sys.exit(main())
