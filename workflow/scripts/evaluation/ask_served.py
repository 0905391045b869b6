"""Ask the 4-bit model its questions through the API of `make api`, in one start of OpenCompass.

The server is the one that users start, with its own defaults. It listens to this machine alone, on
a free port, and only to who knows a token that is made up here; it ends with this script.
"""

import json
import os
import secrets
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from opencompass_config import Setting, served_model_config
from question_files import Benchmark
from run_opencompass import Evaluated, EvaluationError, context_length, evaluate, parser, publish

# behind this folder, which has modules of the same names
sys.path += [str(Path(__file__).parents[1] / stage) for stage in ("serving", "config")]
import starting
from artefacts import Model
from generation import EngineError
from options import TOKEN_VARIABLE
from options import parser as options_of
from server_process import ServerProcess, free_port


def plan(args: Namespace, port: int) -> dict:
    """What the server is told, as `make api` tells it."""
    form = "turbomind" if args.device == "cuda" else "model"
    model = Model(f"{args.run}/turbomind", str(args.model), str(args.tokenizer), form)
    words = ["--port", str(port), "--max-requests", str(args.batch_size)]
    given = options_of("api").parse_args(words)
    trusted = args.trust_remote_code
    return starting.plan(args.domain, args.device, [model], trusted, args.system, given)


def ask(args: Namespace, benchmarks: Sequence[Benchmark], setting: Setting) -> Evaluated:
    """Start the server, ask, and end it in any case.

    Raises:
        EvaluationError: the server or OpenCompass has failed; with the end of what the server said.
    """
    started, token, port = time.time(), secrets.token_hex(32), free_port()
    what = plan(args, port)
    url = f"http://127.0.0.1:{port}"
    server = ServerProcess(
        starting.command("api", what),
        f"{url}/health",
        os.environ | starting.VARIABLES | {TOKEN_VARIABLE: token},
    )
    try:
        server.wait_until_ready()
        seconds = round(time.time() - started, 3)
        context = context_length(args.tokenizer)
        (served,) = what["models"]
        model = served_model_config(args.variant, served["name"], f"{url}/v1", context, setting)
        try:
            variables = {"OPENAI_API_KEY": token}
            metrics, rows = evaluate(args.work_dir, model, benchmarks, setting, variables)
        except EvaluationError as error:
            server.check()
            raise EvaluationError(f"{error}. The server said last:\n{server.said_last()}") from None
    except EngineError as error:
        raise EvaluationError(str(error)) from None
    finally:
        server.stop()
    metrics["not_asked"] = args.not_asked
    metrics["seconds"]["server_start_up"] = seconds
    return metrics, rows


def main(argv: Sequence[str] | None = None) -> None:
    command_line = parser(__doc__.splitlines()[0])
    command_line.add_argument("--domain", required=True)
    command_line.add_argument("--run", required=True)
    command_line.add_argument(
        "--not-asked", type=json.loads, default={}, help="JSON: {benchmark: its mode} of the others"
    )
    args = command_line.parse_args(argv)
    # as an exception, which ends OpenCompass and the server
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    publish(args, lambda benchmarks, setting: ask(args, benchmarks, setting))


if __name__ == "__main__":
    main()
