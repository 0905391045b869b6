"""A hook of mmengine that shows the progress of a training on the terminal."""

import sys
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

sys.path.insert(0, str(Path(__file__).parents[1] / "corpus"))
from progress import Progress


class ProgressHook(Hook):
    """A bar of the iterations, beside what XTuner's log says of the time left."""

    def before_train(self, runner) -> None:
        """Start where the training goes on."""
        self._progress = None
        if is_main_process():
            self._progress = Progress(
                label="training", total_rows=runner.max_iters, unit="iterations"
            )
            self._progress.update(rows=runner.iter)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """One more iteration."""
        if self._progress is not None:
            self._progress.update(rows=1)

    def after_train(self, runner) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.__exit__()
