"""What nginx would answer, worked out from its configuration alone."""

import pytest

from buildchain.verify import medium, nginx

REWRITING = rb"""
# names and patterns as static-container-registry writes them
if ($uri = /v2/_catalog) { set $catalog "x"; }
location ^~ "/v2/m-1.0/app/" {
    rewrite "(?s)^\Q/v2/m-1.0/app/manifests/1.0\E\z" "/.internal:$request_method/manifest/HEX/app/1.0/m.json.om" last;
    rewrite "(?s)^\Q/v2/m-1.0/app/blobs/sha256:\E([0-9a-f]{4})\z" "/.internal:$request_method/blob/$1/app/1.0" last;
    set $name "m-1.0/app";
    set $tags '"1.0",';
    set $tags '${tags}"1.1",';
    rewrite "(?s)^\Q/v2/m-1.0/app/tags/list\E\z" "/.internal:$request_method/tags" last;
    rewrite "(?s)^\Q/v2/m-1.0/app/\E(.*)\z" "/.internal:$request_method/other/$1" last;
}
location ^~ "/.internal:" {
    internal;
    return 405 "no";
    location ~ "(?s)^\Q/.internal:\E(?:GET|HEAD)/manifest/(?<hex>[A-Z]+)/(?<path>.+)[.][a-z][a-z]\z" {
        set $digest sha256:$hex;
        if ($http_if_none_match = $digest) { return 304; }
        alias "$m_images/$path";
        add_header Docker-Content-Digest $digest always;
        types { application/vnd.oci.image.manifest.v1+json om; }
    }
    location ~ "(?s)^\Q/.internal:\E(?:GET|HEAD)/blob/(?<hex>[0-9a-f]{4})/(?<path>.+)\z" {
        alias "$m_images/$path/$hex";
        default_type application/octet-stream;
    }
    location ~ "(?s)^\Q/.internal:\E(?:GET|HEAD)/tags\z" { return 200 '{"name":"$name","tags":[$tags]}'; }
}
"""

PLAIN = rb"""
location /a/ { alias $root/long/; }
location /a/b/ { alias $root/longer/; }
location ~ ^/a/c { alias $root/pattern; }
location ^~ /a/c/d { alias $root/final/; }
location = /a/exact { alias $root/dir/; try_files one two =404; default_type text/x; }
location ~* ^/CASE/(.*)$ { alias $root/$1; }
location /circle { rewrite ^(.*)$ $1 last; }
location /grow { set $a "$a$a$a$a$a$a$a$a$a$a"; rewrite ^ /grow last; alias $a; }
"""


def get(text: bytes, uri: str) -> nginx.Answer | None:
    return nginx.get(nginx.parse(text), uri)


def test_rewritten_manifest() -> None:
    answer = get(REWRITING, "/v2/m-1.0/app/manifests/1.0")
    assert answer == nginx.Answer(
        ("$m_images/app/1.0/m.json",),
        "",
        "application/vnd.oci.image.manifest.v1+json",
        {"docker-content-digest": "sha256:HEX"},
    )


def test_rewritten_blob_and_tags() -> None:
    blob, tags = get(REWRITING, "/v2/m-1.0/app/blobs/sha256:0a1b"), get(REWRITING, "/v2/m-1.0/app/tags/list")
    assert blob == nginx.Answer(("$m_images/app/1.0/0a1b",), "", "application/octet-stream", {})
    assert tags
    assert tags.text == '{"name":"m-1.0/app","tags":["1.0","1.1",]}'


@pytest.mark.parametrize("uri", ["/v2/m-1.0/app/manifests/1X0", "/v2/m-1.0/app/blobs/sha256:0a1bX", "/v2/other/"])
def test_what_is_not_there(uri: str) -> None:
    answer = get(REWRITING, uri)
    assert answer is None or not answer.files


@pytest.mark.parametrize(
    ("uri", "files"),
    [
        ("/a/x", ("$root/long/x",)),
        ("/a/b/x", ("$root/longer/x",)),
        ("/a/c/x", ("$root/pattern",)),
        ("/a/c/d/x", ("$root/final//x",)),
        ("/a/exact", ("$root/dir/one", "$root/dir/two")),
        ("/case/x", ("$root/x",)),
    ],
)
def test_choice_of_location(uri: str, files: tuple[str, ...]) -> None:
    answer = get(PLAIN, uri)
    assert answer
    assert answer.files == files


def test_circles_end() -> None:
    with pytest.raises(medium.DamagedError, match="rewrites in circles"):
        get(PLAIN, "/circle")


def test_values_do_not_grow_without_end() -> None:
    text = b'location / { set $a "xxxxxxxxxx"; ' + b'set $a "$a$a$a$a$a$a$a$a$a$a"; ' * 9 + b"}"
    with pytest.raises(medium.DamagedError, match="has a value without end"):
        get(text, "/")


@pytest.mark.parametrize(
    "text", ["(a+)+", "[a--b]", "[[a]", "(a|b)*c", "(?=a)b", "(?<=a)b", "(", "[", "a{9999999999}", ".*.*.*.*x"]
)
def test_pattern_that_could_be_slow_or_strange(text: str) -> None:
    with pytest.raises(medium.DamagedError, match="has a pattern that is not understood"):
        nginx.pattern(text)


def test_pattern_with_literal_part() -> None:
    found = nginx.pattern(r"(?s)^\Qa.b(\E(?<rest>.*)\z").search("a.b(c\n")
    assert found
    assert found["rest"] == "c\n"
    assert nginx.pattern(r"^\Qa.b\E\z").search("axb") is None
