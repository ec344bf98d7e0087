import pytest

from static_container_registry import names


@pytest.mark.parametrize("text", ["a", "a/b/c", "a__b", "a_b", "a-b", "a---b", "a.b", "0", "library/nginx"])
def test_repository_names_of_the_specification(text: str) -> None:
    assert names.is_repository(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "a/",
        "/a",
        "a//b",
        "a..b",
        "a___b",
        "-a",
        "a-",
        ".",
        "..",
        "a/../b",
        "a b",
        "a\n",
        "a\x00b",
        "\u00e9",
        "a$b",
        "a{b",
        "a;b",
        'a"b',
        "a+b",
        "_manifests",
        "a" * 256,
        "\udcff",
    ],
)
def test_other_names_are_refused(text: str) -> None:
    assert not names.is_repository(text)


@pytest.mark.parametrize("text", ["latest", "1.0", "_", "A-B.c_d", "a" * 128])
def test_tags_of_the_specification(text: str) -> None:
    assert names.is_tag(text)


@pytest.mark.parametrize("text", ["", ".a", "-a", "a:b", "a/b", "a+b", "a" * 129, "a\n", "\u0661"])
def test_other_tags_are_refused(text: str) -> None:
    assert not names.is_tag(text)


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("", ""),
        ("/", ""),
        ("a", "a/"),
        ("/a/b/", "a/b/"),
        ("{{ repository }}", "{{ repository }}/"),
        ("x-{{ v }}/y", "x-{{ v }}/y/"),
        ("metalk8s-2.11.0", "metalk8s-2.11.0/"),
    ],
)
def test_prefix(given: str, normal: str) -> None:
    assert names.normal_prefix(given) == normal


@pytest.mark.parametrize(
    "text",
    ["A", "a//b", "../a", "a b", 'a"', "a;", "{{ a", "a }}", "{% x %}", "{{ a }}{", '{{ "x" }}', "$a", "a\n", "\\E"],
)
def test_a_prefix_that_cannot_begin_a_name(text: str) -> None:
    with pytest.raises(ValueError, match="cannot begin a repository name"):
        names.normal_prefix(text)


@pytest.mark.parametrize("text", ["/srv/$x", "/srv/{{ x }}", "/srv/{%", "/srv/{#", "/a\nb", "", "/\udcff"])
def test_a_folder_that_nginx_cannot_be_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"root|control|UTF-8"):
        names.checked_literal_root(text)


@pytest.mark.parametrize("text", ["/srv/$", "$", "/srv/$/x", "${x", "/${}/y", "$-x", "/$\u20ac"])
def test_a_dollar_sign_that_nginx_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="begins no variable"):
        names.checked_server_root(text)


@pytest.mark.parametrize(
    "text",
    ["$metalk8s_2_5_1_images", "/srv/${x}y", "{{ registry_root }}", "${{ name }}", "/srv/a b;\"'", "/srv/\u20ac"],
)
def test_an_expression_is_a_server_root(text: str) -> None:
    assert names.checked_server_root(text) == text
