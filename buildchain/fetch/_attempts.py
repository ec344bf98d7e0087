"""Faults that another attempt may mend, and how many attempts there are."""

from buildchain import errors, urls
from buildchain.fetch import _plan

_HINT_NETWORK = "Check the network and the proxy settings, and run the same command again: what came is kept."


class AttemptError(Exception):
    """An attempt failed in a way that the next one may not."""

    def __init__(
        self,
        why: str,
        *,
        status: int | None = None,
        wait_s: float = 0,
        has_connected: bool = True,
        is_overload: bool = False,
        verdict: errors.BuildchainError | None = None,
    ) -> None:
        super().__init__(why)
        self.why = why
        self.status = status
        self.wait_s = wait_s
        """What the server asked for."""
        self.has_connected = has_connected
        self.is_overload = is_overload
        """Whether fewer questions at once may help."""
        self.verdict = verdict
        """What to raise when no attempt is left, if that is not a transport error."""


class Tries:
    """The failures of one URL: says how long to wait for the next attempt, or that it was enough."""

    def __init__(self, url: str, options: _plan.Options, attempts: int | None = None) -> None:
        self._url = url
        self._options = options
        self._attempts = attempts or options.attempts
        self._total = 0
        self._in_a_row = 0
        self._farthest = 0

    def wait_after(self, fault: AttemptError, reached: int = 0) -> float:
        """Seconds to wait; `reached` bytes are good, and a new farthest point starts the count of attempts anew.

        Raises:
            TransportError or the fault's own verdict: no attempt is left.
        """
        self._total += 1
        if reached > self._farthest:
            self._farthest, self._in_a_row = reached, 0
        self._in_a_row += 1
        if self._in_a_row >= self._attempts or self._total >= self._options.attempts_total:
            raise fault.verdict or errors.TransportError(
                urls.shown(self._url), fault.why, _HINT_NETWORK, fault.status, self._total
            )
        wait_s = self._options.first_wait_s * float(2 ** (self._in_a_row - 1))
        return min(max(wait_s, fault.wait_s), self._options.longest_wait_s)
