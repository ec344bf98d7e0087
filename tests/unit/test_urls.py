"""Rewriting of URLs: whole path elements, longest rule first, and no password in sight."""

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import urls


def _rules(text: str) -> urls.Rewrites:
    rewrites, problems = urls.parse_rewrites(text)
    assert problems == []
    return rewrites


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://a.test/x.deb", "http://cache.test:8080/a/x.deb"),
        ("https://a.test", "http://cache.test:8080/a"),
        ("HTTPS://A.Test/X", "http://cache.test:8080/a/X"),
        ("https://user:secret@a.test/x", "http://cache.test:8080/a/x"),
        ("https://a.test/debian/dists/x", "https://u:p@b.test/d/dists/x"),
        ("https://a.test/debian-security/x", "http://cache.test:8080/a/debian-security/x"),
        ("https://a.test?x=1", "http://cache.test:8080/a?x=1"),
        ("https://a.test.evil.test/x", "https://a.test.evil.test/x"),
        ("https://a.test:8443/x", "https://a.test:8443/x"),
        ("http://a.test/x", "http://a.test/x"),
    ],
)
def test_the_longest_rule_about_whole_elements_counts(url: str, address: str) -> None:
    rewrites = _rules("https://a.test/ => http://cache.test:8080/a/ ,\n https://A.test/debian => https://u:p@b.test/d,")
    assert rewrites.apply(url) == address
    assert rewrites.apply(address) == address


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("https://a.test", "rule 1 is not `URL => URL`"),
        ("https://a.test => https://b.test => https://c.test", "rule 1 is not"),
        ("https://a.test => https://b.test, a.test => https://b.test", "rule 2 is not"),
        ("ftp://a.test => https://b.test", "rule 1 is not"),
        ("https://a.test => https://b.test/?x", "rule 1 is not"),
        ("https://a b.test => https://c.test", "rule 1 is not"),
        ("https://me:secret@a.test => https://c.test", "rule 1 is not"),
        ("https://a.test => https://me:secret,@c.test", "rule 2 is not"),
        ("https://a.test => https://b.test, https://a.test/ => https://c.test", "https://a.test is led to two places"),
        ("https://a.test => https://me:secret@b.test, https://b.test => https://c.test", "say where it ends"),
        ("https://a.test => https://b.test/x, https://b.test => https://c.test", "say where it ends"),
        ("https://a.test => https://b.test, https://b.test/x => https://c.test", "say where it ends"),
        ("https://a.test => https://a.test/cache", "say where it ends"),
    ],
)
def test_malformed_rules(text: str, problem: str) -> None:
    _, problems = urls.parse_rewrites(text)
    assert problem in "\n".join(problems)
    assert "secret" not in "\n".join(problems)


def test_no_rule_changes_nothing() -> None:
    assert _rules("") == urls.Rewrites()
    assert urls.Rewrites().apply("https://User:p@A.test/x?y#z") == "https://User:p@A.test/x?y#z"


def _addresses(letters: str, most: int) -> strategies.SearchStrategy[str]:
    path = strategies.lists(strategies.sampled_from(letters), max_size=most)
    return strategies.builds(
        lambda host, parts: "/".join([f"http://{host}.t", *parts]), strategies.sampled_from("ab"), path
    )


@hypothesis.given(strategies.dictionaries(_addresses("xy", 3), _addresses("xy", 3), max_size=3), _addresses("xyz", 4))
def test_rewriting_twice_is_rewriting_once(rules: dict[str, str], url: str) -> None:
    rewrites, problems = urls.parse_rewrites(",".join(f"{old}=>{new}" for old, new in rules.items()))
    hypothesis.assume(not problems)
    assert rewrites.apply(rewrites.apply(url)) == rewrites.apply(url)
