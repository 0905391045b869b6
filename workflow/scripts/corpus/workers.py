"""Work shared among processes, with results in the order of the tasks.

Processes, not threads: most of the work is done by Python itself. They are forked, which takes
milliseconds where a new interpreter takes half a second, so `ordered` has to be called before
the program starts threads (as writing parquet does).
"""

import contextlib
import fcntl
import gc
import io
import multiprocessing
import os
import pickle
import struct
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

# How many tasks a worker has at a time: one in work and one to go on with.
AHEAD = 2
PIPE_BYTES = 2**20
SIZES = struct.Struct("<I")
SIZE = struct.Struct("<Q")


class WorkerError(Exception):
    """A worker ended unexpectedly; the text says how."""


class Workers:
    """Runs a function on tasks in processes.

    The workers are started when the object is made. Used as a context manager it ends them.
    """

    def __init__(self, function: Callable[[object], Iterator], number: int):
        """Start the workers.

        Args:
            function: yields the results of a task; tasks and results have to be picklable. A
                task must be small (some kilobytes), results may be large.
            number: of processes; with 1 the work is done in this one.
        """
        gc.freeze()  # before the processes are forked, so that they share these objects
        gc.set_threshold(200_000)  # parsed rows are many objects without cycles
        self._function = function
        self._workers: list[_Worker] = []
        if number > 1:
            for _ in range(number):
                self._workers.append(_Worker(function, self._workers))

    def ordered(self, tasks: Iterable) -> Iterator:
        """Results of the tasks, those of the first one first.

        Raises:
            Exception: whatever the function raised.
            WorkerError: a worker was killed.
        """
        if not self._workers:
            for task in tasks:
                yield from self._function(task)
            return
        tasks = iter(tasks)
        busy: deque[_Worker] = deque()
        more = True
        while more or busy:
            while more and len(busy) < AHEAD * len(self._workers):
                worker = min(self._workers, key=busy.count)
                try:
                    worker.send(next(tasks))
                except StopIteration:
                    more = False
                else:
                    busy.append(worker)
            if busy:
                # a worker that is ahead of the others waits in its pipe until it is its turn
                yield from busy[0].results()
                busy.popleft()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.stop()


class _Worker:
    """One process, as seen from its parent."""

    def __init__(self, function: Callable, earlier: list["_Worker"]):
        task_out, task_in = os.pipe()
        result_out, result_in = os.pipe()
        with contextlib.suppress(OSError):  # a larger pipe is only faster
            fcntl.fcntl(result_in, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._tasks = io.FileIO(task_in, "w")
        self._results = io.FileIO(result_out)
        # a worker that holds the parent's ends of pipes would not see the parent die
        inherited = [self, *earlier]
        self._process = multiprocessing.get_context("fork").Process(
            target=_work, args=(function, task_out, result_in, inherited), daemon=True
        )
        self._process.start()
        os.close(task_out)
        os.close(result_in)

    def close_pipes(self) -> None:
        self._tasks.close()
        self._results.close()

    def send(self, task: object) -> None:
        try:
            _write(self._tasks, task)
        except BrokenPipeError:
            self._ended()

    def results(self) -> Iterator:
        while True:
            try:
                kind, value = _read(self._results)
            except EOFError:
                self._ended()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value

    def _ended(self) -> None:
        self._process.join()
        code = self._process.exitcode
        killed = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        hint = ", probably for lack of memory: use fewer threads" if code == -9 else ""
        raise WorkerError(f"a worker process {killed}{hint}") from None

    def stop(self) -> None:
        self.close_pipes()
        self._process.terminate()
        self._process.join()


def _work(function: Callable, tasks: int, results: int, inherited: list[_Worker]) -> None:
    """What a worker does: tasks from one pipe, their results into another, until that closes."""
    for worker in inherited:
        worker.close_pipes()
    source, sink = io.FileIO(tasks), io.FileIO(results, "w")
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            task = _read(source)
            try:
                for result in function(task):
                    _write(sink, ("result", result))
                _write(sink, ("end", None))
            except (BrokenPipeError, KeyboardInterrupt):
                raise
            except BaseException as error:
                _write(sink, ("error", _picklable(error)))


def _picklable(error: BaseException) -> BaseException:
    error.add_note("In a worker process:\n" + traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return WorkerError(traceback.format_exc())
    return error


def _write(file: io.FileIO, value: object) -> None:
    """Write a value to a pipe: its pickle, then buffers of arrays as they lie in memory."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    sizes = b"".join(SIZE.pack(part.nbytes) for part in parts)
    for part in (memoryview(SIZES.pack(len(parts)) + sizes), *parts):
        while part:
            part = part[file.write(part) :]


def _read(file: io.FileIO) -> object:
    """The next value of a pipe.

    Raises:
        EOFError: the other end is closed.
    """
    number = SIZES.unpack(_read_bytes(file, SIZES.size))[0]
    sizes = _read_bytes(file, number * SIZE.size)
    head, *buffers = [_read_bytes(file, size) for (size,) in SIZE.iter_unpack(sizes)]
    return pickle.loads(head, buffers=buffers)


def _read_bytes(file: io.FileIO, size: int) -> np.ndarray:
    data = np.empty(size, np.uint8)  # a bytearray would be filled with zeros first
    left = memoryview(data)
    while left:
        count = file.readinto(left)
        if not count:
            raise EOFError
        left = left[count:]
    return data
