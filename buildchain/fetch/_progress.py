"""How a pull is shown: one bar on a terminal, a plain line now and then elsewhere, or nothing."""

import collections
import time
import typing
from collections.abc import Sequence

from buildchain.fetch import _plan

if typing.TYPE_CHECKING:
    import rich.progress


class Progress(typing.Protocol):
    """What a pull tells while it runs; the calls come from several threads, never two at once."""

    def on_start(self, missing: Sequence[_plan.Request], total_bytes: int) -> None:
        """These files and so many bytes of them are still to come."""

    def on_bytes(self, count: int) -> None:
        """Bytes came in; a negative count was thrown away and is to come once more."""

    def on_done(self, request: _plan.Request) -> None:
        """A file is in the store."""

    def on_retry(self, name: str, why: str) -> None:
        """A file is asked for again."""

    def close(self) -> None:
        """The pull ended, well or not."""


class NullProgress:
    """Shows nothing."""

    def on_start(self, missing: Sequence[_plan.Request], total_bytes: int) -> None:
        """Nothing."""

    def on_bytes(self, count: int) -> None:
        """Nothing."""

    def on_done(self, request: _plan.Request) -> None:
        """Nothing."""

    def on_retry(self, name: str, why: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class _Tally:
    """Files and whole images that came, of those to come."""

    def __init__(self, missing: Sequence[_plan.Request] = ()) -> None:
        self.count = 0
        self._total = len(missing)
        self._left = collections.Counter(image for request in missing for image in request.images)

    def add(self, request: _plan.Request) -> None:
        """Count a file."""
        self.count += 1
        self._left.subtract(request.images)

    def __str__(self) -> str:
        images = len(self._left)
        whole = sum(not left for left in self._left.values())
        return f"{self.count}/{self._total} files" + (f", {whole}/{images} images" if images else "")


class LineProgress:
    """A line for every tenth of the bytes, at most one a second; on a slow link one every ten seconds."""

    def __init__(self, stream: typing.TextIO) -> None:
        self._stream = stream
        self._tally = _Tally()
        self._bytes = self._total_bytes = 0
        self._shown = (0, 0)
        self._started = self._shown_at = time.monotonic()

    def on_start(self, missing: Sequence[_plan.Request], total_bytes: int) -> None:
        """Remember the totals."""
        self._tally, self._total_bytes = _Tally(missing), total_bytes
        self._started = self._shown_at = time.monotonic()

    def on_bytes(self, count: int) -> None:
        """Print a line when one is due."""
        self._bytes += count
        silent_s = time.monotonic() - self._shown_at
        is_tenth = (self._bytes - self._shown[1]) * 10 >= self._total_bytes
        if silent_s >= 10 or (is_tenth and silent_s >= 1):
            self._show()

    def on_done(self, request: _plan.Request) -> None:
        """Count the file."""
        self._tally.add(request)

    def on_retry(self, name: str, why: str) -> None:
        """Print the reason."""
        self._print(f"retry {name}: {why}")

    def close(self) -> None:
        """Print the last line, if it is new."""
        if self._shown != (self._tally.count, self._bytes):
            self._show()

    def _show(self) -> None:
        self._shown, self._shown_at = (self._tally.count, self._bytes), time.monotonic()
        rate = self._bytes / max(self._shown_at - self._started, 0.001)
        left_s = max(self._total_bytes - self._bytes, 0) / max(rate, 1)
        self._print(
            f"pulled {self._tally}, "
            f"{_plan.size_text(self._bytes)} of {_plan.size_text(self._total_bytes)}, "
            f"{_plan.size_text(int(rate))}/s, {left_s:.0f} s left"
        )

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class BarProgress:
    """One bar over all files: bytes, rate, time left, files and images."""

    def __init__(self, stream: typing.TextIO) -> None:
        self._stream = stream
        self._bar: rich.progress.Progress | None = None
        self._tally = _Tally()

    def on_start(self, missing: Sequence[_plan.Request], total_bytes: int) -> None:
        """Draw the bar."""
        import rich.console
        import rich.progress as columns

        self._bar = columns.Progress(
            columns.TextColumn("{task.description}", markup=False),
            columns.BarColumn(),
            columns.DownloadColumn(),
            columns.TransferSpeedColumn(),
            columns.TimeRemainingColumn(),
            console=rich.console.Console(file=self._stream),
        )
        self._tally = _Tally(missing)
        self._task = self._bar.add_task(self._text(), total=total_bytes)
        self._bar.start()

    def on_bytes(self, count: int) -> None:
        """Move the bar."""
        if self._bar:
            self._bar.advance(self._task, count)

    def on_done(self, request: _plan.Request) -> None:
        """Count the file."""
        self._tally.add(request)
        if self._bar:
            self._bar.update(self._task, description=self._text())

    def on_retry(self, name: str, why: str) -> None:
        """Print the reason above the bar."""
        if self._bar:
            self._bar.console.print(f"retry {name}: {why}", markup=False, highlight=False)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar:
            self._bar.stop()

    def _text(self) -> str:
        return f"pull {self._tally}"


def progress_on(stream: typing.TextIO) -> Progress:
    """The bar when people watch the stream, else lines."""
    return BarProgress(stream) if stream.isatty() else LineProgress(stream)
