"""Settings: all mistakes at once, and defaults that do not depend on who builds."""

import pathlib
import re

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import errors, settings, urls


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """A checkout with a development key."""
    key = tmp_path / "checkout" / settings.DEVELOPMENT_KEY
    key.parent.mkdir(parents=True)
    key.touch()
    return tmp_path / "checkout"


def _problems(root: pathlib.Path, **environment: str) -> dict[str, str]:
    with pytest.raises(errors.ConfigError) as caught:
        settings.load(root, {"HOME": str(root.parent), **environment})
    assert caught.value.hint == "Mend .env; .env.example describes every setting."
    return dict(caught.value.problems)


def test_defaults(root: pathlib.Path) -> None:
    loaded = settings.load(root, {"HOME": str(root.parent)})
    assert loaded.project_name == "MetalK8s"
    assert loaded.build_root == root / "_build"
    assert loaded.store == root.parent / ".cache/metalk8s/store"
    assert loaded.signing_key == str(root / settings.DEVELOPMENT_KEY)
    assert (loaded.mirrors, loaded.ca_bundle, loaded.is_offline, loaded.pull_jobs) == ({}, None, False, 8)
    assert (loaded.epoch, loaded.git, loaded.signing_passphrase_file) == (None, "git", None)
    assert (loaded.connect_timeout_s, loaded.read_timeout_s, loaded.rewrites) == (10, 30, urls.Rewrites())
    assert (loaded.vagrant, loaded.vagrant_provider, loaded.vagrant_snapshot_name) == (
        "vagrant", "virtualbox", "auto_generated",
    )  # fmt: skip
    assert loaded.vagrant_up_args == (
        "--provision", "--no-destroy-on-error", "--parallel", "--provider", "virtualbox",
    )  # fmt: skip


def test_an_empty_value_is_no_value(root: pathlib.Path) -> None:
    names = [*_NAMES[:-2], "GIT_BIN", "SKOPEO_BIN", "XDG_CACHE_HOME", "SIGNING_KEY_PASSPHRASE_FILE"]
    home = {"HOME": str(root.parent)}
    assert settings.load(root, home | dict.fromkeys(names, "")) == settings.load(root, home)


def test_all_values(root: pathlib.Path) -> None:
    (root / "ca.pem").touch()
    (root / "secret").touch()
    (root / "git").touch(0o755)
    loaded = settings.load(
        root,
        {
            "PROJECT_NAME": "My Distribution 2", "BUILD_ROOT": "out/here", "STORE": "../store", "CA_BUNDLE": "ca.pem",
            "SIGNING_KEY": "secret", "SIGNING_KEY_PASSPHRASE_FILE": "secret", "OFFLINE": "1", "PULL_JOBS": "3",
            "SOURCE_DATE_EPOCH": "0", "GIT_BIN": "./git", "DEBIAN_MIRROR": "http://m/debian/",
            "DEBIAN_SECURITY_MIRROR": "https://m:8080/s", "HOME": "/nonexistent",
            "CONNECT_TIMEOUT": "1", "READ_TIMEOUT": "3600", "URL_REWRITES": "http://m => http://u:p@n/x",
            "VAGRANT_BIN": "vagrant-2.4", "VAGRANT_PROVIDER": "docker", "VAGRANT_UP_ARGS": "--provision 'a b'",
            "VAGRANT_SNAPSHOT_NAME": "before", "VAGRANT_LIBVIRT_DRIVER": "qemu",
        },
    )  # fmt: skip
    assert loaded.project_name == "My Distribution 2"
    assert (loaded.build_root, loaded.store) == (root / "out/here", root.parent / "store")
    assert (loaded.signing_key, loaded.signing_passphrase_file) == (str(root / "secret"), root / "secret")
    assert (loaded.ca_bundle, loaded.is_offline, loaded.pull_jobs) == (str(root / "ca.pem"), True, 3)
    assert (loaded.epoch, loaded.git) == (0, str(root / "git"))
    assert loaded.mirrors == {"debian": "http://m/debian", "debian-security": "https://m:8080/s"}
    assert (loaded.connect_timeout_s, loaded.read_timeout_s) == (1, 3600)
    assert loaded.rewrites.apply("http://m/debian") == "http://u:p@n/x/debian"
    assert (loaded.vagrant, loaded.vagrant_provider) == ("vagrant-2.4", "docker")
    assert loaded.vagrant_up_args == ("--provision", "a b", "--provider", "docker")
    assert (loaded.vagrant_snapshot_name, loaded.vagrant_libvirt_driver) == ("before", "qemu")


def test_another_distribution(root: pathlib.Path) -> None:
    (root / "examples/mine").mkdir(parents=True)
    loaded = settings.load(root, {"HOME": str(root.parent), "DISTRIBUTION": "examples/mine"})
    assert (loaded.root, loaded.distribution) == (root, root / "examples/mine")
    assert settings.load(root, {"HOME": str(root.parent)}).distribution == root


def test_all_mistakes_at_once(root: pathlib.Path) -> None:
    wrong = {
        "PROJECT_NAME": "a/b", "BUILD_ROOT": "..", "STORE": ".", "SIGNING_KEY": "no/key", "CA_BUNDLE": "none",
        "DISTRIBUTION": "none",
        "SIGNING_KEY_PASSPHRASE_FILE": "none", "OFFLINE": "yes", "PULL_JOBS": "0", "SOURCE_DATE_EPOCH": "now",
        "DEBIAN_MIRROR": "mirror.example.test", "SKOPEO_BIN": "/bin/skopeo", "HARDLINK_BIN": "hardlink",
        "GIT_BIN": "a git", "VAGRANT_BIN": "./none", "VAGRANT_PROVIDER": "vmware", "VAGRANT_UP_ARGS": "'",
        "VAGRANT_SNAPSHOT_NAME": "a b", "CONNECT_TIMEOUT": "0", "READ_TIMEOUT": "1.5", "URL_REWRITES": "a => b",
        "VAGRANT_LIBVIRT_DRIVER": "xen", "http_proxy": "socks5://proxy:1080", "HTTPS_PROXY": "http://proxy:99999",
    }  # fmt: skip
    assert _problems(root, **wrong).keys() == wrong.keys()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("SOURCE_DATE_EPOCH", "yesterday", "'yesterday' is not a whole number from 0 to 4294967295"),
        ("SOURCE_DATE_EPOCH", "-1", "is not a whole number"),
        ("SOURCE_DATE_EPOCH", "1.5", "is not a whole number"),
        ("SOURCE_DATE_EPOCH", " 1", "is not a whole number"),
        ("SOURCE_DATE_EPOCH", "4294967296", "is not a whole number"),
        ("SOURCE_DATE_EPOCH", "\u0661", "is not a whole number"),
        ("SOURCE_DATE_EPOCH", "9" * 5000, "is not a whole number"),
        ("PULL_JOBS", "65", "from 1 to 64"),
        ("CONNECT_TIMEOUT", "3601", "is not a whole number from 1 to 3600"),
        ("READ_TIMEOUT", "30s", "is not a whole number from 1 to 3600"),
        ("URL_REWRITES", "https://a => https://me:secret@b?", "rule 1 is not `URL => URL`"),
        ("VAGRANT_PROVIDER", "VirtualBox", "'VirtualBox' is none of virtualbox, libvirt, docker"),
        ("VAGRANT_UP_ARGS", "--provision 'node1", "cannot be cut into words: no closing quotation"),
        ("VAGRANT_UP_ARGS", "--provider libvirt", "names the provider 'libvirt', VAGRANT_PROVIDER is 'virtualbox'"),
        ("VAGRANT_UP_ARGS", "--provider=docker", "names the provider 'docker', VAGRANT_PROVIDER is 'virtualbox'"),
        ("VAGRANT_UP_ARGS", "--provision --provider", "names the provider '', VAGRANT_PROVIDER is 'virtualbox'"),
        ("VAGRANT_SNAPSHOT_NAME", "--force", "does not match"),
        ("GIT_BIN", "/opt/no/git", "/opt/no/git is not a program"),
        ("GIT_BIN", "./packages", "./packages is not a program"),
        ("VAGRANT_BIN", "vagrant --debug", "does not match"),
        ("OFFLINE", "true", "'true' is neither 0 nor 1"),
        ("PROJECT_NAME", "Métal", "does not match"),
        ("PROJECT_NAME", "a\nb", "does not match"),
        ("DEBIAN_MIRROR", "ftp://m/debian", "is not an http or https URL"),
        ("DEBIAN_MIRROR", "http://m/debian\nTrusted: yes", "is not an http or https URL"),
        ("DEBIAN_MIRROR", "http://m/debian?x", "is not an http or https URL"),
        ("DEBIAN_MIRROR", "me:secret@m/debian", "'m/debian' is not an http or https URL"),
        ("SIGNING_KEY", "~nobody-of-this-name/key.asc", "is not a file"),
        ("CA_BUNDLE", "~nobody-of-this-name/ca.pem", "is not a file"),
        ("BUILD_ROOT", ".", "holds the checkout itself"),
        ("BUILD_ROOT", "salt/..", "holds the checkout itself"),
        ("BUILD_ROOT", "/", "holds the checkout itself"),
        ("STORE", "_build/..", "holds BUILD_ROOT"),
        ("STORE", "_build", "holds BUILD_ROOT"),
        ("STORE", "_build/root/../../_build", "holds BUILD_ROOT"),
        ("http_proxy", "socks5://me:secret@proxy:1080", "is not http://HOST:PORT"),
        ("http_proxy", "http://", "is not http://HOST:PORT"),
        ("https_proxy", "http://proxy:65536", "is not http://HOST:PORT"),
        ("HTTP_PROXY", "http://a proxy", "is not http://HOST:PORT"),
        ("HTTPS_PROXY", "http://[::1", "is not http://HOST:PORT"),
    ],
)
def test_wrong_values(root: pathlib.Path, name: str, value: str, problem: str) -> None:
    found = _problems(root, **{name: value})
    assert found.keys() == {name}
    assert problem in found[name]
    assert "secret" not in found[name]


@pytest.mark.parametrize(
    "value", ["http://proxy.example.test:3128", "https://me:s@cret@proxy/", "proxy:3128", "http://[2001:db8::1]:65535"]
)
def test_proxies_that_requests_understands(root: pathlib.Path, value: str) -> None:
    home = {"HOME": str(root.parent)}
    assert settings.load(root, home | {"http_proxy": value, "HTTPS_PROXY": value}) == settings.load(root, home)


def test_where_a_file_was_looked_for_is_told(root: pathlib.Path) -> None:
    """It need not be where the command was typed."""
    found = _problems(root, SIGNING_KEY="keys/me.asc", SIGNING_KEY_PASSPHRASE_FILE="pw")
    assert found["SIGNING_KEY"] == f"{root}/keys/me.asc is not a file"
    assert found["SIGNING_KEY_PASSPHRASE_FILE"] == f"{root}/pw is not a file"


def test_the_store_may_stand_below_the_build_root_but_not_above(root: pathlib.Path) -> None:
    assert settings.load(root, {"STORE": "_build/store"}).store == root / "_build/store"
    assert "STORE" in _problems(root, BUILD_ROOT="/srv/out/build", STORE="/srv/out")


def test_a_key_of_the_users_gpg_keeps_its_name(root: pathlib.Path) -> None:
    assert settings.load(root, {"SIGNING_KEY": "Release <r@example.test>"}).signing_key == "Release <r@example.test>"


@pytest.mark.parametrize("text", ["--provider virtualbox", "--provider=virtualbox"])
def test_the_guides_own_arguments_name_the_provider(root: pathlib.Path, text: str) -> None:
    assert settings.load(root, {"VAGRANT_UP_ARGS": text}).vagrant_up_args == tuple(text.split())


def test_every_option_of_the_guide_is_read_or_refused(root: pathlib.Path) -> None:
    """MetalK8s 2.5.1, chapter "Configuration" of the buildchain: none is silently ignored."""
    read = {"PROJECT_NAME", "BUILD_ROOT", "GIT_BIN", "VAGRANT_BIN"}
    read |= {"VAGRANT_PROVIDER", "VAGRANT_UP_ARGS", "VAGRANT_SNAPSHOT_NAME"}
    replaced = {"DOCKER_BIN", "HARDLINK_BIN", "MKISOFS_BIN", "SKOPEO_BIN", "GOFMT_BIN", "OPERATOR_SDK_BIN"}
    wrong = dict.fromkeys(read - {"BUILD_ROOT"}, "'") | {"BUILD_ROOT": "."}
    assert _problems(root, **wrong).keys() == read
    found = _problems(root, **dict.fromkeys(replaced, "name"))
    assert found.keys() == replaced
    assert all("; remove it" in why for why in found.values())
    example = (pathlib.Path(__file__).parents[2] / ".env.example").read_text()
    assert [name for name in read | replaced if not re.search(rf"\b{name}\b", example)] == []


def test_a_file_of_credentials_need_not_be_there(root: pathlib.Path) -> None:
    for name in ("/none", "~nobody-of-this-name/auth.json"):
        loaded = settings.load(root, {"HOME": str(root.parent), "REGISTRY_AUTH_FILE": name})
        assert loaded.credentials == (pathlib.Path(name),)


def test_replaced_options_say_by_what(root: pathlib.Path) -> None:
    assert _problems(root, MKISOFS_BIN="mkisofs") == {"MKISOFS_BIN": "the ISO is written by pycdlib; remove it"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HOME": ""},
        {"HOME": "relative"},
        {"HOME": __file__},
        {"HOME": f"{__file__}/x"},
        {"XDG_CACHE_HOME": "/proc"},
    ],
)
def test_without_a_usable_home_the_store_stands_beside_the_build_root(
    root: pathlib.Path, environment: dict[str, str]
) -> None:
    loaded = settings.load(root, environment)
    assert loaded.store.parent == root
    assert loaded.store.name.startswith(".metalk8s-store-")


def test_the_cache_folder_of_the_desktop_specification(root: pathlib.Path) -> None:
    environment = {"HOME": "/nonexistent", "XDG_CACHE_HOME": str(root.parent / "cache")}
    assert settings.load(root, environment).store == root.parent / "cache/metalk8s/store"


_NAMES = [
    "PROJECT_NAME", "BUILD_ROOT", "STORE", "SIGNING_KEY", "CA_BUNDLE", "OFFLINE", "PULL_JOBS", "SOURCE_DATE_EPOCH",
    "DEBIAN_MIRROR", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "http_proxy", "HOME", "XDG_CACHE_HOME",
]  # fmt: skip
_TEXTS = strategies.text(
    strategies.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12
) | strategies.sampled_from(["~", "/", "..", "~x/y", "0", "1"])


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], deadline=None)
@hypothesis.given(strategies.dictionaries(strategies.sampled_from(_NAMES), _TEXTS))
def test_any_environment_is_accepted_or_refused(root: pathlib.Path, environment: dict[str, str]) -> None:
    try:
        loaded = settings.load(root, environment)
    except errors.ConfigError as error:
        assert {name for name, _ in error.problems} <= set(_NAMES)  # noqa: PT017 — either outcome is right
    else:
        assert loaded.build_root.is_absolute()
        assert loaded.store.is_absolute()
