"""How LMDeploy 0.7.3 is asked to serve a model. Standard library only."""

from collections.abc import Mapping


def command_line(model: Mapping[str, str], port: int | str, memory: float) -> list[str]:
    """The command that serves one model on a GPU, for this machine alone.

    Args:
        model: an `artefacts.Model` as a dict.
        port: where it listens.
        memory: which part of the GPU's free memory it may have, from 0 to 1.
    """
    # Prompts come in as text, made by the model's own chat template: LMDeploy needs none. "base"
    # keeps it from guessing one from words in the path.
    words = ["lmdeploy", "serve", "api_server", model["folder"], "--model-name", model["name"]]
    words += ["--backend", "turbomind", "--chat-template", "base"]
    if model["form"] == "awq":
        words += ["--model-format", "awq"]
    # 0.8 of what is free is LMDeploy's own default
    words += ["--cache-max-entry-count", f"{0.8 * memory:g}"]
    words += ["--server-name", "127.0.0.1", "--server-port", str(port)]
    words += ["--disable-fastapi-docs", "--log-level", "WARNING"]
    return words
