"""envkit.image.recipe: keys and configurations. Pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envkit.image import recipe

COPY = {"kind": "copy", "args": {"sources": ["/home/a/project/app"], "to": "/srv"}, "inputs": "sha256:1"}


def test_no_host_path_is_part_of_a_key():
    elsewhere = {**COPY, "args": {"sources": ["/builds/17/app"], "to": "/srv"}}
    assert recipe.layer_key(COPY, None) == recipe.layer_key(elsewhere, None)
    run = {"kind": "run", "args": {"argv": ["x"], "mounts": [{"source": "/a", "to": "/src"}]}, "inputs": "i"}
    moved = {"kind": "run", "args": {"argv": ["x"], "mounts": [{"source": "/b", "to": "/src"}]}, "inputs": "i"}
    assert recipe.layer_key(run, None) == recipe.layer_key(moved, None)


@pytest.mark.parametrize(
    "other",
    [
        {**COPY, "inputs": "sha256:2"}, {**COPY, "args": {**COPY["args"], "to": "/opt"}},
        {**COPY, "args": {**COPY["args"], "mode": 0o600}}, {**COPY, "kind": "archive"},
    ],
)  # fmt: skip
def test_every_input_is_part_of_a_key(other):
    assert recipe.layer_key(COPY, None) != recipe.layer_key(other, None)
    assert recipe.layer_key(COPY, 1) != recipe.layer_key(COPY, 2)


def test_paths_in_another_image_are_part_of_a_key():
    one = {"kind": "copy", "args": {"sources": ["/a"], "to": "/x", "from": {"image": "i"}}}
    two = {"kind": "copy", "args": {"sources": ["/b"], "to": "/x", "from": {"image": "i"}}}
    assert recipe.layer_key(one, None) != recipe.layer_key(two, None)


def test_other_images_are_found_wherever_they_are_named():
    spec = {
        "name": "x", "base": {"image": "a"},
        "layers": [
            {"kind": "copy", "args": {"sources": ["/"], "to": "/", "from": {"image": "b"}}},
            {"kind": "copy", "args": {"sources": ["/"], "to": "/", "from": {"reference": "c:1"}}}, COPY,
        ],
    }  # fmt: skip
    assert recipe.images_in(spec) == {"a", "b"}
    assert recipe.references_in(spec) == {"c:1"}


TITLES = [
    ({"kind": "apt", "args": {"packages": ["a", "b"]}}, "apt a b"),
    ({"kind": "pip", "args": {"requirements": "/p/requirements.txt"}}, "pip requirements.txt"),
    (COPY, "copy app /srv"),
    ({"kind": "copy", "args": {"sources": ["/x"], "to": "/y", "from": {"image": "i"}}}, "copy from=i x /y"),
    ({"kind": "files", "args": {"files": {"/b": {}, "/a": {}}}}, "files /a /b"),
    ({"kind": "archive", "args": {"source": "https://h/t.tgz", "to": "/opt"}}, "archive t.tgz /opt"),
    ({"kind": "user", "args": {"name": "app"}}, "user app"),
    ({"kind": "link", "args": {"links": {"/l": "t"}}}, "link /l -> t"),
    ({"kind": "remove", "args": {"paths": ["/a/*"]}}, "remove /a/*"),
    ({"kind": "run", "args": {"argv": ["/bin/sh", "-ec", "make\n  install\n"]}}, "run make install"),
    ({"kind": "run", "args": {"argv": ["make", "all"]}}, "run make all"),
]


@pytest.mark.parametrize(("layer", "title"), TITLES, ids=[title for _, title in TITLES])
def test_titles(layer, title):
    assert recipe.title(layer) == title


def test_a_title_is_one_line_of_bounded_length():
    title = recipe.title({"kind": "run", "args": {"argv": ["/bin/sh", "-ec", "x\n" * 1000]}})
    assert "\n" not in title
    assert len(title) < 210


CONFIGS = [
    ({"Cmd": ["a"], "Entrypoint": ["e"]}, {"command": ["b"]}, {"Cmd": ["b"], "Entrypoint": ["e"]}),
    ({"Cmd": ["a"]}, {"entrypoint": ["e"]}, {"Entrypoint": ["e"]}),
    ({"Env": ["A=1", "B=2"]}, {"environment": {"B": "3", "C": "="}}, {"Env": ["A=1", "B=3", "C=="]}),
    ({"Labels": None}, {"labels": {"x": "y"}}, {"Labels": {"x": "y"}}),
    ({"ExposedPorts": {"1/tcp": {}}}, {"expose": ["80", "53/udp"]},
     {"ExposedPorts": {"1/tcp": {}, "80/tcp": {}, "53/udp": {}}}),
    ({}, {"volumes": ["/v"], "user": "app", "workdir": "/w"},
     {"Volumes": {"/v": {}}, "User": "app", "WorkingDir": "/w"}),
    ({}, {"healthcheck": {"test": ["CMD", "t"], "interval": 0.5, "retries": 2}},
     {"Healthcheck": {"Test": ["CMD", "t"], "Interval": 500_000_000, "Retries": 2}}),
    ({"StopSignal": "SIGTERM"}, {"stop_signal": "SIGINT"}, {"StopSignal": "SIGINT"}),
]  # fmt: skip


@pytest.mark.parametrize(("inherited", "wanted", "expected"), CONFIGS)
def test_configurations(inherited, wanted, expected):
    assert recipe.image_config(inherited, wanted) == expected


@given(st.dictionaries(st.text(st.characters(exclude_characters="=\0"), min_size=1), st.text()))
def test_environment_survives_the_configuration(variables):
    assert recipe.environment_of(recipe.image_config({}, {"environment": variables})) == variables
