"""Words reads a command line as argparse does, or leaves it to argparse."""

from __future__ import annotations

import argparse

from hypothesis import given
from hypothesis import strategies as st

from envkit.cli.words import Namespace, Words

WORD = st.sampled_from(["web", "-", "-f", "a.yaml", "--file", "--file=b", "--yes", "-y", "-n", "3", "x", "--mode=a",
                        "--", "--mode", "b", "c", "--nonsense", "-yn", "--ye", "--help", "", "-1"])  # fmt: skip


def declare(parser):
    parser.add_argument("services", nargs="*")
    group = parser.add_argument_group("more")
    group.add_argument("-f", "--file", action="append", default=[])
    group.add_argument("-y", "--yes", action="store_true")
    group.add_argument("-n", "--number", type=int)
    group.add_argument("--mode", choices=("a", "b"), default="a")
    return parser


@given(st.lists(WORD, max_size=5))
def test_what_is_understood_is_what_argparse_understands(words):
    found = Namespace()
    if declare(Words()).parse(words, found):
        expected = declare(argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)).parse_args(words)
        assert vars(found) == vars(expected)
    else:
        assert not vars(found)


def test_ordinary_lines_are_understood():
    for line in ("", "web db", "-f a.yaml --yes web", "--file=a -n 3 --mode b"):
        assert declare(Words()).parse(line.split(), Namespace()), line
