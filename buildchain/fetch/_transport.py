"""HTTP as a pull needs it: one answer for one URL, and its faults sorted into those worth another attempt and the rest.

Knows nothing of digests or the store. The only module that imports `requests`; import it late.
"""

import contextlib
import dataclasses
import datetime
import email.utils
import http
import http.client
import ssl
import time
import types
import typing
import urllib.parse
from collections.abc import Callable, Iterator, Mapping

import requests
import urllib3

from buildchain import digest, errors, urls
from buildchain.fetch import _access, _attempts, _certificates, _plan

MAX_REDIRECTS = 10

shown = urls.shown

_Answer = typing.TypeVar("_Answer")

_HEADERS = {
    "User-Agent": "metalk8s-buildchain",
    "Accept": "*/*",
    # Bytes as they are stored: a transfer compressed on the way has another length and cannot be resumed.
    "Accept-Encoding": "identity",
}

_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
_OVERLOAD = {429, 503}

_RENEWALS = 2
"""How often one attempt gets new credentials: for none, and for one that had just expired."""

_HINT_ADDRESS = "Mend this address, or choose another mirror."
_HINT_CA = "Set CA_BUNDLE in .env to the file of the certificate authority that signed this server's certificate."
_HINT_PLAIN = (
    "If plain HTTP is what it shall speak, say so: http:// in a mirror's address or in https_proxy, plain-http in "
    "registries.yaml."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a server: with `form` a POST, else a GET."""

    url: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    form: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Client:
    """The connections of one thread; `abort` may be called from another.

    Arguments:
        trusted: what `find_ca_bundle` found, once for all clients.
    """

    def __init__(self, options: _plan.Options, trusted: str | bool) -> None:
        self._options = options
        self._trusted = trusted
        self._session = requests.Session()
        self._session.headers.clear()
        self._session.headers.update(_HEADERS)
        self._response: requests.Response | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self._session.close()

    @contextlib.contextmanager
    def open(self, url: str, offset: int = 0) -> Iterator[requests.Response]:
        """Ask for a URL from a byte on: the answer has status 200, 206 or 416, and its body is still to be read.

        Raises:
            _attempts.AttemptError:   another attempt may fare better.
            TransportError: no other attempt will.
        """
        with self.ask(Question(url, {"Range": f"bytes={offset}-"} if offset else {})) as response:
            yield response

    @contextlib.contextmanager
    def ask(self, question: Question) -> Iterator[requests.Response]:
        """The same for any question."""
        question = _rewritten(question, self._options)
        self._response = self._follow(question)
        try:
            _judge(question.url, self._response)
            yield self._response
        finally:
            response, self._response = self._response, None
            response.close()

    def blocks(self, response: requests.Response, limit: int) -> Iterator[bytes]:
        """The body as it comes, up to the first byte after `limit`.

        Raises:
            _attempts.AttemptError: the connection broke or stalled.
        """
        started, begun = time.monotonic(), 0
        received = 0
        while received <= limit:
            with self._faults(response.url):
                block = response.raw.read1(min(digest.BLOCK_SIZE, limit + 1 - received), decode_content=False)
            if not block:
                return
            received += len(block)
            yield block
            elapsed_s = time.monotonic() - started
            if elapsed_s >= self._options.read_timeout_s:
                if received - begun < elapsed_s * self._options.min_bytes_per_s:
                    why = f"the body stalls: {received - begun} bytes in {elapsed_s:.0f} s"
                    raise _attempts.AttemptError(why, is_overload=True)
                started, begun = time.monotonic(), received

    def abort(self) -> None:
        """Wake the thread that waits for a body."""
        response = self._response
        if response is not None:
            with contextlib.suppress(OSError, RuntimeError, ValueError):  # it came to its end in the meantime
                response.raw.shutdown()

    def _follow(self, question: Question) -> requests.Response:
        trail = [question.url]
        response = self._admitted(question)
        has_left = False
        while response.is_redirect:
            with response:
                trail.append(self._target(response))
            _check_redirect(trail)
            if question.form:
                raise errors.TransportError(shown(trail[0]), "redirects what was posted to it", _HINT_ADDRESS)
            question = dataclasses.replace(question, url=trail[-1])
            # For good: what leads back to the first host is another's idea.
            has_left = has_left or host_of(trail[-1]) != host_of(trail[0])
            if has_left:
                question = dataclasses.replace(question, headers=_without_secrets(question.headers))
            response = self._ask(question) if has_left else self._admitted(question)
        return response

    def _admitted(self, question: Question) -> requests.Response:
        """An answer to a question with what `access` sends along, renewed while that helps."""
        access = self._options.access
        if access is None:
            return self._ask(question)
        for _ in range(_RENEWALS):
            sent = access.headers(question.url)
            response = self._ask(dataclasses.replace(question, headers={**question.headers, **sent}))
            if response.status_code != http.HTTPStatus.UNAUTHORIZED:
                return response
            with response:
                challenge = response.headers.get("WWW-Authenticate", "")
            access.renew(question.url, challenge, sent)
        return self._ask(dataclasses.replace(question, headers={**question.headers, **access.headers(question.url)}))

    def _target(self, response: requests.Response) -> str:
        try:
            target = urllib.parse.urljoin(response.url, self._session.get_redirect_target(response))
            return self._options.rewrites.apply(target)
        except ValueError as error:
            why = "is redirected to what is no URL"
            raise errors.TransportError(shown(response.url), why, _HINT_ADDRESS, response.status_code) from error

    def _ask(self, question: Question) -> requests.Response:
        url = question.url
        if _scheme(url) not in ("http", "https"):
            raise errors.TransportError(shown(url), "is neither an http nor an https URL", _HINT_ADDRESS)
        trust = (self._options.access.trust(url) if self._options.access else None) or _access.Trust()
        with self._faults(url, has_connected=False):
            prepared = self._session.prepare_request(
                requests.Request(
                    "POST" if question.form else "GET",
                    url,
                    dict(question.headers),
                    data=dict(question.form),
                    # ~/.netrc speaks where nobody else does.
                    auth=_as_it_is if "Authorization" in question.headers else None,
                )
            )
            # Not `Session.send`: it reads the body of a redirect, however long, even when told not to follow it.
            return self._session.get_adapter(url).send(
                prepared,
                stream=True,
                timeout=(self._options.connect_timeout_s, self._options.read_timeout_s),
                verify=trust.ca_bundle or self._trusted,
                cert=_certificates.shown(trust),
                proxies=requests.utils.get_environ_proxies(url),
            )

    @contextlib.contextmanager
    def _faults(self, url: str, *, has_connected: bool = True) -> Iterator[None]:
        try:
            yield
        except requests.exceptions.InvalidProxyURL as error:
            hint = "Mend http_proxy and https_proxy."
            raise errors.TransportError(shown(url), "the proxy's address is no URL", hint) from error
        except requests.exceptions.InvalidURL as error:
            raise errors.TransportError(shown(url), "is no URL", _HINT_ADDRESS) from error
        except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            # `requests` raises children of OSError, its raw body those of urllib3.
            cause = _innermost(error)
            if isinstance(cause, ssl.SSLCertVerificationError):
                why = f"its certificate is not trusted: {cause.verify_message}"
                raise errors.TransportError(shown(url), why, _HINT_CA) from error
            if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
                raise errors.TransportError(shown(url), "answers without TLS", _HINT_PLAIN) from error
            is_overload = has_connected and _is_timeout(cause)
            why = self._reason(error, cause)
            raise _attempts.AttemptError(why, has_connected=has_connected, is_overload=is_overload) from error

    def _reason(self, error: Exception, cause: BaseException) -> str:
        if isinstance(error, requests.exceptions.ConnectTimeout):
            return f"no connection within {self._options.connect_timeout_s:g} s"
        if _is_timeout(cause):
            return f"no byte for {self._options.read_timeout_s:g} s"
        if isinstance(cause, urllib3.exceptions.IncompleteRead | http.client.IncompleteRead):
            return "the connection ended before the body did"
        return (getattr(cause, "strerror", None) or str(cause) or type(cause).__name__).strip()


def read(question: Question, options: _plan.Options, max_bytes: int) -> _plan.Answer:
    """A small document, asked for as often as it takes."""
    question = _rewritten(question, options)
    return _insist(question.url, options, lambda client: _read_once(client, question, max_bytes))


def _rewritten(question: Question, options: _plan.Options) -> Question:
    return dataclasses.replace(question, url=options.rewrites.apply(question.url))


def is_there(url: str, options: _plan.Options) -> bool:
    """Whether the answer is the file or that there is none."""
    try:
        address = options.rewrites.apply(url)
        return _insist(address, options, lambda client: _is_there_once(client, address))
    except errors.TransportError as error:
        if error.status in (404, 410):
            return False
        raise


def _insist(url: str, options: _plan.Options, ask: Callable[[Client], _Answer]) -> _Answer:
    tries = _attempts.Tries(url, options)
    with Client(options, _certificates.find_ca_bundle(options.ca_bundle)) as client:
        while True:
            try:
                return ask(client)
            except _attempts.AttemptError as fault:
                time.sleep(tries.wait_after(fault))


def _is_there_once(client: Client, url: str) -> bool:
    with client.open(url) as response:
        if response.status_code != http.HTTPStatus.OK:
            raise _refusal(url, response.status_code)
    return True


def _read_once(client: Client, question: Question, max_bytes: int) -> _plan.Answer:
    with client.ask(question) as response:
        if response.status_code != http.HTTPStatus.OK:
            raise _refusal(question.url, response.status_code)
        content = b"".join(client.blocks(response, max_bytes))
        headers = {name.lower(): value for name, value in response.headers.items()}
    if len(content) > max_bytes:
        raise errors.IntegrityError(shown(question.url), "the server", f"at most {max_bytes} bytes", "more")
    return _plan.Answer(content, headers)


def host_of(url: str) -> str:
    """Scheme, host and port."""
    return "/".join(shown(url).split("/", 3)[:3])


def _check_redirect(trail: list[str]) -> None:
    source, target = (_scheme(url) for url in trail[-2:])
    if target not in ("http", "https"):
        why = f"is redirected to {shown(trail[-1])!r}, which is neither an http nor an https URL"
    elif (source, target) == ("https", "http"):
        why = f"is redirected from https to http ({shown(trail[-1])})"
    elif trail[-1] in trail[:-1]:
        why = f"redirects in a loop: {' -> '.join(shown(url) for url in trail)}"
    elif len(trail) > MAX_REDIRECTS + 1:
        why = f"redirects more than {MAX_REDIRECTS} times"
    else:
        return
    raise errors.TransportError(shown(trail[0]), why, _HINT_ADDRESS)


def _without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "Authorization"}


def _as_it_is(question: requests.PreparedRequest) -> requests.PreparedRequest:
    return question


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def _judge(url: str, response: requests.Response) -> None:
    status = response.status_code
    if status in _TEMPORARY:
        wait_s, is_overload = _retry_after_s(response.headers), status in _OVERLOAD
        raise _attempts.AttemptError(_status_text(status), status=status, wait_s=wait_s, is_overload=is_overload)
    if status not in (200, 206, 416):
        raise _refusal(url, status)


def _refusal(url: str, status: int) -> errors.TransportError:
    hint = {
        401: "Give a user name in the mirror's URL or in ~/.netrc; for a registry, log in with podman or docker.",
        403: "Ask the server's owner for access, or choose another mirror.",
        404: "Run ./doit.sh lock: what the mirror no longer has is replaced by what it has.",
        407: "The proxy asks for a user name: give it in http_proxy and https_proxy.",
        410: "Run ./doit.sh lock: what the mirror no longer has is replaced by what it has.",
    }.get(status, "Choose another mirror.")
    return errors.TransportError(shown(url), _status_text(status), hint, status)


def _status_text(status: int) -> str:
    try:
        return f"HTTP {status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _retry_after_s(headers: typing.Mapping[str, str]) -> float:
    """RFC 9110 section 10.2.3: seconds or a date; 0 for anything else."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0
    if date.tzinfo is None:
        date = date.replace(tzinfo=datetime.UTC)
    return max(0, date.timestamp() - time.time())


def _is_timeout(cause: BaseException) -> bool:
    return isinstance(cause, TimeoutError | urllib3.exceptions.ReadTimeoutError)


def _innermost(error: BaseException) -> BaseException:
    """The cause at the bottom of what `requests` and urllib3 have wrapped."""
    seen = [error]
    while True:
        inner = [getattr(seen[-1], "reason", None), *seen[-1].args, seen[-1].__cause__, seen[-1].__context__]
        found = next((each for each in inner if isinstance(each, BaseException) and each not in seen), None)
        if found is None:
            return seen[-1]
        seen.append(found)
