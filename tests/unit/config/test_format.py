"""`envkit fmt`: the layout changes, nothing else does."""

from pathlib import Path

import pytest

from envkit.config.format import formatted
from envkit.errors import EnvkitError, InputError

ROOT = Path(__file__).parents[3]
FILES = sorted(
    path for part in ("examples", "templates", "tests/apps") for path in (ROOT / part).rglob("*.y*ml")
)
UNTIDY = '''# head
name:    shop   # the name
x-a: &a {b: 1,   c: [1,2,  3], d: }


services:
      web:
          <<: *a
          image: "nginx"   # quoted
          ports:
          - "80:80"
          -   target: 0755
              published: ~
          # about the environment
          environment:
              - A=yes # no comment: 'it''s'
              - B: !reset null
          command: >-
              one # not a comment
              two

          x: |
            #!/bin/sh
              # kept
            echo


          empty:
      db:   # about db
        image: 'pg'
        t: 1e3
# the end
'''
TIDY = '''# head
name: shop  # the name
x-a: &a {b: 1, c: [1, 2, 3], d}

services:
  web:
    <<: *a
    image: "nginx"  # quoted
    ports:
      - "80:80"
      - target: 0755
        published: ~
    # about the environment
    environment:
      - A=yes  # no comment: 'it''s'
      - B: !reset null
    command: >-
      one # not a comment
      two

    x: |
      #!/bin/sh
        # kept
      echo

    empty:
  db:  # about db
    image: 'pg'
    t: 1e3
# the end
'''


def test_what_is_untidy_is_laid_out():
    assert formatted(UNTIDY, "envkit.yaml") == TIDY


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_second_time_changes_nothing(path):
    once = formatted(path.read_text(), str(path))
    assert formatted(once, str(path)) == once


def test_what_is_no_yaml_is_named_with_its_place():
    with pytest.raises(InputError) as caught:
        formatted("a:\n  - b\n c: d\n", "envkit.yaml")
    assert str(caught.value.diagnostics[0].source).startswith("envkit.yaml:3:")


def test_a_comment_that_would_be_lost_is_a_refusal():
    with pytest.raises(EnvkitError, match="without a loss"):
        formatted("a: [1,\n    # inside\n    2]\n", "envkit.yaml")
