"""Addresses on the network: how they are shown, and which of them a site has elsewhere.

    URL_REWRITES="https://deb.example/debian => https://cache.example/deb, https://registry.example => http://r:5000"

A rule is about a URL and all that stands below it; of several, the longest counts. The user name and password of an
address that a rule replaces go nowhere.
"""

import dataclasses
import re
from collections.abc import Iterator

_URL = re.compile(r"https?://[^\s/?#,@]+(?:/[^\s?#,]*)?", re.IGNORECASE)
# As `requests` takes it: http:// may be left out, and a path says nothing.
_PROXY = re.compile(
    r"(https?://)?([^\s/]*@)?([^\s/?#@:\[\]]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?(/\S*)?", re.IGNORECASE
)
_USER = re.compile(r"(?<=://)[^/\s]*@")


def shown(url: str) -> str:
    """A URL, or a text with some, without the passwords that it may hold."""
    return _USER.sub("", url)


def is_proxy(text: str) -> bool:
    """Whether a text names a proxy."""
    found = _PROXY.fullmatch(text)
    return found is not None and int(found["port"] or 0) < 2**16


@dataclasses.dataclass(frozen=True, slots=True)
class Rewrites:
    """Rules: URL and what stands in its place, neither with a slash at its end, the longest first.

    No rule leads to where another one begins: rewriting twice is rewriting once.
    """

    rules: tuple[tuple[str, str], ...] = ()

    def apply(self, url: str) -> str:
        """Where a URL is to be asked for; itself, if no rule is about it."""
        plain = _normal(shown(url))
        return next((target + plain[len(old) :] for old, target in self.rules if is_below(plain, old)), url)

    def places(self, url: str) -> frozenset[str]:
        """Where a URL and what stands below it are asked for: several, if a rule is about a part of it."""
        plain = _normal(shown(url))
        parts = (target for old, target in self.rules if is_below(old, plain))
        return frozenset(map(shown, (self.apply(url), *parts)))


NONE = Rewrites()


def parse_rewrites(text: str) -> tuple[Rewrites, list[str]]:
    """Read `FROM => TO` rules with commas or line ends between them; returns them and what is wrong with some."""
    rules: dict[str, str] = {}
    problems = []
    for number, part in enumerate(filter(None, map(str.strip, re.split(r"[,\n]", text))), start=1):
        old, arrow, new = (each.strip() for each in part.partition("=>"))
        if not (arrow and _URL.fullmatch(old) and _URL.fullmatch(shown(new))):
            # Not shown: a rule that cannot be read may hold a password in any place.
            problems.append(f"rule {number} is not `URL => URL` (http or https; a user name only in the second)")
        elif rules.setdefault(_normal(old), _normal(new)) != _normal(new):
            problems.append(f"{_normal(old)} is led to two places")
    rewrites = Rewrites(tuple(sorted(rules.items(), key=lambda rule: (-len(rule[0]), rule))))
    return rewrites, problems + list(_chains(rewrites))


def _chains(rewrites: Rewrites) -> Iterator[str]:
    for old, target in rewrites.rules:
        place = _normal(shown(target))
        again = [each for each, _ in rewrites.rules if is_below(place, each) or is_below(each, place)]
        yield from (f"{old} is led to {place}, and {each} is led elsewhere: say where it ends" for each in again)


def is_below(url: str, top: str) -> bool:
    """Whether a URL is another one, or stands below it."""
    return url == top or url.startswith((f"{top}/", f"{top}?"))


def _normal(url: str) -> str:
    """Scheme and host in lower case, no slash at the end; a user name stays as it is."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    return f"{scheme.lower()}://{user}{at}{host.lower()}{slash}{path}".rstrip("/")
