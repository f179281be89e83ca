"""What envkit.lean has in place of the standard library's does the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envkit import lean

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


SEPARATORS = st.sampled_from([None, (",", ":"), (", ", ": ")])


@given(VALUES, st.booleans(), st.booleans(), SEPARATORS, st.sampled_from([None, 1]))
def test_what_is_encoded_is_what_json_encodes(value, ascii_only, sort, separators, indent):
    options = {"ensure_ascii": ascii_only, "sort_keys": sort, "separators": separators}
    if indent:
        options["indent"] = indent
    text = lean.json.dumps(value, **options)
    assert text == json.dumps(value, **options)
    assert lean.json.loads(text) == json.loads(text)


def test_what_cannot_be_encoded_is_refused():
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        lean.json.dumps({"a": {1}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        lean.json.dumps(float("nan"), allow_nan=False)
    assert lean.json.dumps({"a": {1}}, default=sorted) == '{"a": [1]}'
