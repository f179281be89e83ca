"""Values and lean helpers mean what the standard library's mean."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envkit import lean
from envkit.address import Address
from envkit.observed.state import Health, InstanceState
from envkit.plan.model import Action
from envkit.values import as_dict, field, replace, struct, value


@value
class Point:
    x: int
    y: int = 2
    names: list[str] = field(default_factory=list)


@struct
class Box:
    at: Point
    size: int = 1


def test_a_value_has_its_fields_defaults_and_text():
    assert repr(Point(1)) == "Point(x=1, y=2, names=[])"
    assert Point(1) == Point(1, 2, names=[]) != Point(1, 3)
    assert Point(1).names is not Point(1).names
    assert replace(Point(1), y=5) == Point(1, 5)
    assert as_dict([Box(Point(1))]) == [{"at": {"x": 1, "y": 2, "names": []}, "size": 1}]
    assert copy.copy(Point(3)) == copy.deepcopy(Point(3)) == Point(3)
    assert not hasattr(Point(1), "__dict__")


@pytest.mark.parametrize("arguments", [((), {}), ((1, 2, [], 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1})])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(TypeError):
        Point(*arguments[0], **arguments[1])


def test_only_a_struct_can_be_changed_and_only_a_value_hashed():
    with pytest.raises(AttributeError):
        Point(1).x = 2  # type: ignore[misc]
    box = Box(Point(1))
    box.size = 7
    assert box == Box(Point(1), 7)
    with pytest.raises(TypeError):
        hash(box)
    assert len({Address("service", "web"), Address("service", "web", 1), Address("service", "web", 2)}) == 2


def test_enums_are_closed_and_their_members_unique():
    assert InstanceState("running") is InstanceState.RUNNING == "running"
    assert json.dumps({"state": Health.HEALTHY}) == '{"state": "healthy"}'
    assert f"{InstanceState.EXITED}" == "exited" == InstanceState.EXITED.value
    assert [item.name for item in Action][:2] == ["NOOP", "CREATE"]
    assert pickle.loads(pickle.dumps(Action.NOOP)) is Action.NOOP is copy.deepcopy(Action.NOOP)
    with pytest.raises(ValueError, match="no-state"):
        InstanceState("no-state")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_json_is_read_as_by_json(data):
    text = json.dumps(data)
    assert lean.json.loads(text) == lean.json.loads(f" {text}\n".encode()) == json.loads(text)


@given(st.binary(max_size=20))
def test_what_is_no_json_is_a_value_error(data):
    try:
        expected = json.loads(data.decode())
    except ValueError:
        with pytest.raises(ValueError):
            lean.json.loads(data)
    else:
        assert lean.json.loads(data) == expected or expected != expected  # noqa: PLR0124 (NaN)


def test_suppress_and_contextmanager():
    with lean.suppress(KeyError, OSError):
        raise FileNotFoundError
    with pytest.raises(ValueError, match="x"), lean.suppress(KeyError):
        raise ValueError("x")

    @lean.contextmanager
    def inside(found):
        found.append("in")
        yield len(found)
        found.append("out")

    seen: list[str] = []
    with inside(seen) as number:
        assert number == 1
    assert seen == ["in", "out"]
    assert isinstance(inside([]), contextlib.AbstractContextManager)
