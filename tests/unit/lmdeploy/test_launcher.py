"""The launcher's exit status: whatever goes wrong inside lmdeploy is a failure."""

import launch_lmdeploy
import pytest


@pytest.fixture
def tool(monkeypatch):
    """Put a function in the place of lmdeploy's entry point."""
    import lmdeploy.cli.entrypoint

    def replace(function):
        monkeypatch.setattr(lmdeploy.cli.entrypoint, "run", function)

    return replace


def log_an_error():
    from lmdeploy.utils import get_logger

    get_logger("lmdeploy").error("something broke")


def fail():
    raise RuntimeError("crash")


def stop(code):
    raise SystemExit(code)


def test_success(tool, tmp_path):
    tool(lambda: (tmp_path / "made").touch())
    assert launch_lmdeploy.launch(["x"], expect=[tmp_path / "made"]) == 0


@pytest.mark.parametrize(
    ("run", "status"),
    [
        (fail, 1),
        (log_an_error, 1),
        (lambda: stop("a message"), 1),
        (lambda: stop(3), 3),
        (lambda: stop(0), 0),
        (lambda: None, 0),
    ],
    ids=["exception", "logged only", "message", "code", "exit 0", "returns"],
)
def test_status(tool, run, status):
    tool(run)
    assert launch_lmdeploy.launch(["x"]) == status


@pytest.mark.parametrize("run", [lambda: None, lambda: stop(0)], ids=["returns", "exit 0"])
def test_missing_product(tool, tmp_path, run, capsys):
    tool(run)
    assert launch_lmdeploy.launch(["x"], expect=[tmp_path / "absent"]) == 1
    assert "did not write" in capsys.readouterr().err


def test_arguments_reach_the_tool(tool, capsys):
    import sys

    tool(lambda: print(sys.argv))
    assert launch_lmdeploy.launch(["lite", "auto_awq", "--w-bits", "4"]) == 0
    assert "['lmdeploy', 'lite', 'auto_awq', '--w-bits', '4']" in capsys.readouterr().out


def test_a_cpu_gets_the_stand_ins(tool):
    import sys

    import torch

    if torch.cuda.is_available():
        pytest.skip("the tool runs untouched on a GPU")
    tool(lambda: None)
    launch_lmdeploy.launch(["x"])
    tensor = torch.ones(1)
    assert tensor.cuda() is tensor
    assert "_turbomind" in sys.modules


def test_search_scale_is_refused_on_a_cpu(tool):
    import torch

    if torch.cuda.is_available():
        pytest.skip("it is right on a GPU")
    tool(fail)
    with pytest.raises(SystemExit, match="corrupts the weights"):
        launch_lmdeploy.launch(["lite", "auto_awq", "model", "--search-scale"])


def test_a_gpu_gets_none(tool, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(launch_lmdeploy, "install_cpu_stand_ins", fail)
    monkeypatch.setattr(launch_lmdeploy, "observe_only_what_awq_reads", fail)
    tool(lambda: None)
    assert launch_lmdeploy.launch(["lite", "auto_awq", "model"]) == 0


def test_real_command_line(tmp_path, capsys):
    """A sub-command that is missing makes the bare tool print its help and exit 0."""
    product = tmp_path / "product"
    assert launch_lmdeploy.launch(["lite"], expect=[product]) == 1
    assert str(product) in capsys.readouterr().err
    assert launch_lmdeploy.launch(["convert", "name", str(tmp_path)]) == 1
