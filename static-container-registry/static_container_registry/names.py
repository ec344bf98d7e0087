"""The grammar of names: OCI distribution specification 1.1, section "Pulling manifests", and image specification 1.1.

What this module lets through has no character that nginx, a regular expression, JSON or Jinja gives a meaning to,
apart from the dot. That is why everything else may write names without quoting them one by one.
"""

import re

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,126}/[A-Za-z0-9][A-Za-z0-9.+_-]{0,126}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_JINJA = re.compile(r"\{\{[^{}'\"\\$;]*\}\}")
# ngx_http_script.c: a dollar sign begins a variable, and nothing else can be meant by it.
_LONE_DOLLAR = re.compile(r"\$(?!\w|\{\w+\}|\{\{)", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# distribution specification 1.1: clients limit "hostname, colon, port, slash, name" to 255 characters.
MAX_NAME_LENGTH = 255
# nginx reads tokens of less than 4096 bytes.
MAX_ROOT_LENGTH = 700


def is_repository(text: str) -> bool:
    """Whether this is a repository name of the specification, such as `a/b/c`."""
    return len(text) <= MAX_NAME_LENGTH and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether this is a tag of the specification."""
    return _TAG.fullmatch(text) is not None


def is_media_type(text: str) -> bool:
    """Whether this is a media type of RFC 6838, without the characters that nobody uses."""
    return _MEDIA_TYPE.fullmatch(text) is not None


def is_digest(text: object) -> bool:
    """Whether this is a digest that a manifest may name here: SHA-256 only."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def normal_prefix(text: str) -> str:
    """A name prefix as `a/b/`, or "" for none; Jinja placeholders stay as they are.

    Raises:
        ValueError: the prefix cannot begin a repository name.
    """
    prefix = text.strip("/")
    if prefix and not is_repository(_JINJA.sub("x", prefix)):
        raise ValueError(f"{text!a} cannot begin a repository name (small letters, digits and . _ - /)")
    return f"{prefix}/" if prefix else ""


def checked_server_root(text: str) -> str:
    """A server root: a path that may hold nginx variables and Jinja placeholders.

    Raises:
        ValueError: nginx cannot be given this text.
    """
    if not text or len(text) > MAX_ROOT_LENGTH or _CONTROL.search(text):
        raise ValueError(f"{text!a} is empty, longer than {MAX_ROOT_LENGTH} or has a control character")
    if _LONE_DOLLAR.search(text):
        raise ValueError(f"{text!a} has a $ that begins no variable of nginx")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text!a} is not UTF-8") from error
    return text


def checked_literal_root(text: str) -> str:
    """A real folder as a server root.

    Raises:
        ValueError: nginx would read a variable or Jinja a placeholder in it, and neither can be quoted there.
    """
    if "$" in text or "{{" in text or "{%" in text or "{#" in text:
        raise ValueError(f"{text!a} has a $ or a brace that nginx or Jinja would expand; give --server-root")
    return checked_server_root(text)
