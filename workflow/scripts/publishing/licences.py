"""Which licence a tuned model may bear, of that of its base model and that of its data."""

# Whoever keeps their conditions may pass what is made of them on under the licence of the base
# model. Of any other licence, or two of which one is another, a person has to decide.
PERMISSIVE = {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense", "bsl-1.0"),
    *("cc0-1.0", "cc-by-4.0", "pddl"),
}
# what make_tiny.py writes, and the licence of this workflow
OURS, OUR_LICENCE = "that of this workflow", "apache-2.0"


def decided(base: str, data: str) -> str | None:
    """The licence of a model tuned from `base` on `data`; None if no rule here tells.

    Args:
        base: what the manifest of the base model says.
        data: `corpus.license` of the configuration.
    """
    names = [OUR_LICENCE if name.startswith(OURS) else name.lower() for name in (base, data)]
    return names[0] if PERMISSIVE.issuperset(names) else None
