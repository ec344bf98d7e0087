"""Mirrors are found among the host's own sources, or named in the settings."""

import pathlib

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import errors, fetch, manifest, mirrors, urls

DEBIAN = manifest.Archive("debian", "Debian", "bookworm", ("main",), ())
SECURITY = manifest.Archive("debian-security", "Debian", "bookworm-security", ("main",), ())
RELEASE = "-----BEGIN PGP SIGNED MESSAGE-----\n\nOrigin: Debian\nSuite: oldstable\nCodename: bookworm\nSHA256:\n"
SOURCES = """\
# a comment
Types: deb deb-src
URIs: http://one.test/debian/ https://two.test/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://sources.test/
Suites: bookworm
Components: main

Types: deb
Enabled: no
URIs: http://disabled.test/
Suites: bookworm
Components: main

Types: deb
URIs: file:/srv/local cdrom://x http://three.test/debian
Suites: bookworm
"""


class Answers:
    """What each URL answers, in place of the network; keeps what was asked."""

    def __init__(self, answers: dict[str, bytes | errors.BuildchainError]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def get(self, url: str, _options: fetch.Options, *, max_bytes: int) -> bytes:
        assert max_bytes == mirrors.MAX_INRELEASE_BYTES
        self.asked.append(url)
        answer = self.answers.get(url, errors.TransportError(url, "not found", status=404))
        if isinstance(answer, errors.BuildchainError):
            raise answer
        return answer


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    made = Answers({})
    monkeypatch.setattr(fetch, "get", made.get)
    return made


def _apt(directory: pathlib.Path, **files: str) -> pathlib.Path:
    (directory / "sources.list.d").mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", "/").replace("_", ".")).write_text(text)
    return directory


def _mirrors(directory: pathlib.Path, **configured: str) -> mirrors.Mirrors:
    return mirrors.Mirrors(configured, fetch.Options(), directory)


def test_sources_in_apts_order(tmp_path: pathlib.Path) -> None:
    directory = _apt(
        tmp_path,
        sources_list="deb http://a.test/debian/ bookworm main\n#deb http://off.test/ x\ndeb-src http://src.test/ x y\n"
        "  deb [arch=amd64 signed-by=/k.gpg]  https://b.test/debian bookworm main # end\ndeb cdrom:[Debian]/ x y\n",
        **{"sources.list.d__z_list": "deb http://z.test/ ./\n", "sources.list.d__a_list": "deb\thttp://y.test x\ty\n",
           "sources.list.d__b_sources": SOURCES,
           "sources.list.d__c_list": "\n\n", "sources.list.d__d_save": "deb http://n x"},
    )  # fmt: skip
    assert list(mirrors.host_sources(directory)) == [
        "http://a.test/debian", "https://b.test/debian", "http://y.test", "http://z.test",
        "http://one.test/debian", "https://two.test/debian", "http://three.test/debian",
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["no", "No", "false", "off", "0"])
def test_sources_that_are_switched_off(tmp_path: pathlib.Path, word: str) -> None:
    text = f"Types: deb\nURIs: http://x.test/\nSuites: a\nEnabled: {word}\n"
    assert list(mirrors.host_sources(_apt(tmp_path, **{"sources.list.d__a_sources": text}))) == []


def test_a_host_without_sources(tmp_path: pathlib.Path) -> None:
    assert list(mirrors.host_sources(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("archive", "release", "is_offered"),
    [
        (DEBIAN, RELEASE, True),
        (DEBIAN, RELEASE.replace("oldstable", "bookworm").replace("Codename: bookworm\n", ""), True),
        (DEBIAN, RELEASE.replace("Origin: Debian", "Origin: Debian Backports"), False),
        (DEBIAN, RELEASE.replace("bookworm", "trixie"), False),
        (SECURITY, RELEASE, False),
        (SECURITY, RELEASE.replace("bookworm", "bookworm-security"), True),
        (DEBIAN, "<html>Origin: Debian</html>", False),
        (DEBIAN, "", False),
    ],
)
def test_offers(archive: manifest.Archive, release: str, is_offered: bool) -> None:
    assert mirrors.offers(release, archive) is is_offered


def test_the_first_source_that_offers_the_archive(tmp_path: pathlib.Path, answers: Answers) -> None:
    answers.answers = {
        "http://one.test/debian/dists/bookworm/InRelease": RELEASE.replace("Origin: Debian", "Origin: Other").encode(),
        "https://two.test/debian/dists/bookworm/InRelease": errors.IntegrityError("x", "x", "less", "more"),
        "http://three.test/debian/dists/bookworm/InRelease": RELEASE.encode(),
    }
    found = _mirrors(_apt(tmp_path, **{"sources.list.d__b_sources": SOURCES}))
    assert found.url(DEBIAN) == "http://three.test/debian"
    assert found.url(DEBIAN) == "http://three.test/debian"
    assert len(answers.asked) == 3  # asked once


@pytest.mark.parametrize(
    ("rules", "address"),
    [
        ("", "http://m.test/d"),
        ("http://m.test => https://u:p@n.test/x", "https://u:p@n.test/x/d"),
        ("http://m.test/d/dists => http://n.test/e/dists, http://m.test/d/pool => http://o.test", "http://n.test/e"),
    ],
)
def test_the_address_for_apt(tmp_path: pathlib.Path, rules: str, address: str) -> None:
    options = fetch.Options(rewrites=urls.parse_rewrites(rules)[0])
    found = mirrors.Mirrors({"debian": "http://m.test/d"}, options, tmp_path)
    assert found.address(DEBIAN) == address
    assert found.url(DEBIAN) == "http://m.test/d"


def test_a_rule_that_apt_cannot_follow(tmp_path: pathlib.Path) -> None:
    options = fetch.Options(rewrites=urls.parse_rewrites("http://m.test/d/dists => http://u:p@n.test/indexes")[0])
    with pytest.raises(errors.BuildchainError) as caught:
        mirrors.Mirrors({"debian": "http://m.test/d"}, options, tmp_path).address(DEBIAN)
    assert str(caught.value).startswith("URL_REWRITES: leads http://m.test/d/dists/bookworm/InRelease to http://n.test")


def test_a_configured_mirror_is_not_judged(tmp_path: pathlib.Path, answers: Answers) -> None:
    assert _mirrors(tmp_path, debian="http://m.test/d").url(DEBIAN) == "http://m.test/d"
    assert answers.asked == []


def test_no_mirror_names_the_variable_to_set(tmp_path: pathlib.Path, answers: Answers) -> None:
    found = _mirrors(_apt(tmp_path, **{"sources.list.d__b_sources": SOURCES}))
    with pytest.raises(errors.BuildchainError) as caught:
        found.url(SECURITY)
    assert str(caught.value) == (
        "archive debian-security: none of this host's 3 apt sources offers Debian bookworm-security\n"
        "Set DEBIAN_SECURITY_MIRROR in .env to a mirror's base URL, the folder that holds dists/bookworm-security/."
    )
    assert len(answers.asked) == 3


def test_offline_says_offline(tmp_path: pathlib.Path, answers: Answers) -> None:
    offline = errors.BuildchainError("http://one.test", "is not asked for offline", "Unset OFFLINE.")
    answers.answers = {"http://one.test/debian/dists/bookworm/InRelease": offline}
    with pytest.raises(errors.BuildchainError, match="is not asked for offline\nUnset OFFLINE"):
        _mirrors(_apt(tmp_path, **{"sources.list.d__b_sources": SOURCES})).url(DEBIAN)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(strategies.binary(max_size=60) | strategies.text("TypesdbURI:\n -htp/.", max_size=60).map(str.encode))
def test_any_sources_are_read(tmp_path: pathlib.Path, content: bytes) -> None:
    directory = _apt(tmp_path)
    (directory / "sources.list").write_bytes(content)
    (directory / "sources.list.d/a.sources").write_bytes(content)
    assert all(url.startswith(("http://", "https://")) for url in mirrors.host_sources(directory))


def test_an_archive_of_rpms_is_where_the_intent_or_a_setting_says(tmp_path: pathlib.Path) -> None:
    archive = manifest.Archive("epel-9", "", "", (), (), manifest.RPM, "https://mirror.test/9")
    assert mirrors.Mirrors({}, fetch.Options(), tmp_path).url(archive) == "https://mirror.test/9"
    assert mirrors.Mirrors({"epel-9": "http://other"}, fetch.Options(), tmp_path).url(archive) == "http://other"
    nowhere = manifest.Archive("epel-9", "", "", (), (), manifest.RPM)
    with pytest.raises(errors.BuildchainError, match=r"Set EPEL_9_MIRROR in \.env to its base URL, or `url` in"):
        mirrors.Mirrors({}, fetch.Options(), tmp_path).url(nowhere)
