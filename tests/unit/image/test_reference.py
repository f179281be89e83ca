"""References: what people write, what it means, what is refused. Meanings are those of distribution/reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envkit.image.reference import InvalidReferenceError, Reference, familiar, normalise, parse

D = "sha256:" + "a" * 64

MEANINGS = {
    "busybox": "docker.io/library/busybox:latest",
    "busybox:1.36": "docker.io/library/busybox:1.36",
    "docker.io/busybox": "docker.io/library/busybox:latest",
    "index.docker.io/library/busybox": "docker.io/library/busybox:latest",
    "team/app": "docker.io/team/app:latest",
    "a/b/c:x": "docker.io/a/b/c:x",
    "localhost/app": "localhost/app:latest",
    "localhost:5000/app:v1": "localhost:5000/app:v1",
    "registry.example/app": "registry.example/app:latest",
    "registry.example:443/a__b/c-d.e:V_1.2-x": "registry.example:443/a__b/c-d.e:V_1.2-x",
    "[::1]:5000/app": "[::1]:5000/app:latest",
    "UPPER/app": "UPPER/app:latest",
    "busybox:5000": "docker.io/library/busybox:5000",
    f"busybox@{D}": f"docker.io/library/busybox@{D}",
    f"busybox:1@{D}": f"docker.io/library/busybox:1@{D}",
    "a" * 200: f"docker.io/library/{'a' * 200}:latest",
}

REFUSED = [
    "", " ", ":", "@", "busybox:", "busybox@", ":tag", "/busybox", "busybox/", "a//b", "../a", "a/../b", "a/.",
    ".a", "a.", "-a", "a_", "a___b", "a..b", "Busybox", "team/App", "a b", "a\nb", "a\0b", "ä", "a:b:c", "a:-x",
    "a:.x", "a:" + "t" * 129, "a@sha256:12", "a@md5:" + "a" * 32, f"a@{D}@{D}", f"a@{D.upper()}", "a" * 64,
    "a" * 300, "http://a/b", "host.name:port/a",
    "-host.name/a", "a$b", "a%2fb", "a\\b", "a\n", "busybox:1\n", D, "[::1/a",
]  # fmt: skip


@pytest.mark.parametrize("text", MEANINGS)
def test_meaning(text: str) -> None:
    assert normalise(text) == MEANINGS[text]
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        parse(text)
    assert caught.value.detail


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("docker.io/library/busybox:1", "busybox:1"), ("docker.io/team/app:1", "team/app:1"),
        ("localhost/app:1", "localhost/app:1"), ("docker.io/library/a/b:1", "library/a/b:1"),
        ("not a reference", "not a reference"),
    ],
)  # fmt: skip
def test_familiar_form(text: str, short: str) -> None:
    assert familiar(text) == short


def test_parts() -> None:
    assert parse(f"r.example:5000/a/b:t@{D}") == Reference("r.example:5000", "a/b", "t", D)


@given(st.text(alphabet="ab1./:@-_A[]\n\0 ", max_size=30))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        full = normalise(text)
    except InvalidReferenceError:
        return
    assert normalise(full) == full
    assert normalise(familiar(full)) == full
    assert ".." not in full.split("/") and "\n" not in full and full.count("@") <= 1
