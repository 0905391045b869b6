"""Progress of long work: a line in the log now and then, and a bar on the terminal.

Rules run `python SCRIPT 3>&2 > LOG 2>&1`: the log takes what is printed, and file descriptor 3
is what Snakemake's messages go to. If that is a terminal, it shows a bar.
"""

import contextlib
import os
import time

from tqdm import tqdm

TERMINAL_FD = 3
SECONDS_BETWEEN_LINES = 5.0


class _Terminal:
    """A terminal as a file that swallows what cannot be shown: it may go away, the work goes on."""

    def __init__(self) -> None:
        # of no width: one of a serial line or a test
        self.columns = os.get_terminal_size(TERMINAL_FD).columns or None

    def fileno(self) -> int:
        return TERMINAL_FD

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(TERMINAL_FD, text.encode())

    def flush(self) -> None:
        pass


def _open_terminal() -> _Terminal | None:
    """File descriptor 3 if it is a terminal."""
    try:
        return _Terminal() if os.isatty(TERMINAL_FD) else None
    except OSError:
        return None


# Asked when the program starts: a file that is opened later could get the number 3.
_terminal = _open_terminal()
# tqdm's watchdog is a thread, and worker processes are forked.
tqdm.monitor_interval = 0


class Progress:
    """Counts rows and bytes of work that takes long.

    >>> with Progress(label="reading", total_rows=2) as progress:
    ...     progress.update(rows=2)
    """

    def __init__(
        self, *, label: str, total_bytes: int = 0, total_rows: int = 0, unit: str = "rows"
    ):
        """Start the clock.

        Args:
            label: what is done ("reading").
            total_bytes: size of the work; the bar and the time left go by it if it is not 0.
            total_rows: size of the work where bytes are not known; 0 if rows are not either.
            unit: what is counted, if not rows.
        """
        self._label, self._unit = label, unit
        self._by_bytes = bool(total_bytes)
        self._total = total_bytes or total_rows
        self._rows = self._bytes = 0
        self._started = self._last_line = time.monotonic()
        self._bar = None
        if _terminal is not None:
            self._bar = tqdm(
                desc=label,
                total=self._total or None,
                unit="B" if self._by_bytes else f" {unit}",
                unit_scale=True,
                file=_terminal,
                dynamic_ncols=_terminal.columns is not None,
                ncols=None if _terminal.columns else 80,
                leave=False,
            )

    def update(self, *, rows: int = 0, bytes: int = 0) -> None:
        """Add what has been done since the last call."""
        self._rows += rows
        self._bytes += bytes
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            print(self._line(now), flush=True)
        if self._bar is not None:
            self._bar.update(bytes if self._by_bytes else rows)

    def _line(self, now: float) -> str:
        seconds = max(now - self._started, 1e-9)
        done = self._bytes if self._by_bytes else self._rows
        rate = self._rows / seconds
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        parts = [f"{self._label}: {self._rows:,} {self._unit}, {speed} {self._unit}/s"]
        if self._by_bytes:
            parts.append(f"{self._bytes / seconds / 1e6:,.1f} MB/s")
        if self._total and done:
            left = max(self._total - done, 0) / done * seconds
            parts.append(f"{min(done / self._total, 1):.0%}, {_clock(left)} left")
        return ", ".join(parts)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any.

    >>> _clock(65), _clock(3605)
    ('1:05', '1:00:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
