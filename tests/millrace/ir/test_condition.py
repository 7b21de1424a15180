"""Conditions: what KFP's compiler writes, and what is rejected."""

import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.errors import ParameterError, PipelineError
from millrace.ir.condition import Condition

X = "inputs.parameter_values['x']"
Y = "inputs.parameter_values['pipelinechannel--y']"


@pytest.mark.parametrize(
    ("text", "inputs", "holds"),
    [
        (f"{X} == 'big'", {"x": "big"}, True),
        (f"{X} == 'big'", {"x": "Big"}, False),
        (f"{X} != 'big'", {"x": "small"}, True),
        (f"'b' > {X}", {"x": "a"}, True),
        (f"{X} == true", {"x": True}, True),
        (f"{X} == false", {"x": False}, True),
        (f"{X} == 1", {"x": True}, False),
        (f"int({X}) >= 3", {"x": 3.0}, True),
        (f"int({X}) < -3", {"x": -4}, True),
        (f"double({X}) > 0.5", {"x": 1}, True),
        (f"{X} > 1.5e3", {"x": 1501.0}, True),
        (f"string({X}) == '3'", {"x": 3}, True),
        (f"bool({X}) == true", {"x": "true"}, True),
        (f"{X} == {Y}", {"x": "a", "pipelinechannel--y": "a"}, True),
        (f"!({X} == 'a') && int({Y}) >= 3", {"x": "b", "pipelinechannel--y": 3.0}, True),
        (f"!({X} == 'a') && !(int({Y}) >= 3)", {"x": "b", "pipelinechannel--y": 3.0}, False),
        (f"{X} == 'a' || {X} == 'b'", {"x": "b"}, True),
        (f"({X} == 'a' || {X} == 'b') && {Y} == ''", {"x": "b", "pipelinechannel--y": "z"}, False),
        (f"{X} == 'a' || {X} == 'b' && {X} == 'c'", {"x": "a"}, True),
        (f'{X} == "it\'s"', {"x": "it's"}, True),
        (f"{X} == 'it\\'s'", {"x": "it's"}, True),
        ('inputs.parameter_values["x"] == ""', {"x": ""}, True),
        (f"{X} == 'a && b'", {"x": "a && b"}, True),
        (f"{X} == 'größe'", {"x": "größe"}, True),
    ],
)
def test_holds(text, inputs, holds):
    assert Condition.parse(text).holds(inputs) is holds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "inputs.parameter_values['x'] ==",
        "inputs.parameter_values['x'] + 1 == 2",
        "size(inputs.parameter_values['x']) == 2",
        "inputs.parameter_values['x'].startsWith('a')",
        "inputs.parameter_values['x'] in ['a']",
        "(inputs.parameter_values['x'] == 'a'",
        "inputs.parameter_values['x'] == 'it's'",
        "inputs.artifacts['x'] == 'a'",
        "inputs.parameter_values['x'] == 'a' ? true : false",
        "__import__('os')",
    ],
)
def test_more_of_cel_is_refused(text):
    with pytest.raises(PipelineError, match="is not supported"):
        Condition.parse(text)


def test_an_input_without_a_value():
    condition = Condition.parse(f"{Y} == 'a'")
    assert condition.inputs == {"pipelinechannel--y"}
    with pytest.raises(ParameterError, match=r"The condition y == 'a' needs .*y\", which has no"):
        condition.holds({})


def test_what_cannot_be_compared():
    with pytest.raises(
        ParameterError, match=r"The condition x >= 3 cannot be evaluated for x = 'a'"
    ):
        Condition.parse(f"int({X}) >= 3").holds({"x": "a"})


def test_a_condition_that_is_not_true_or_false():
    with pytest.raises(
        ParameterError, match=r"The condition x must be true or false, and is 'yes'\."
    ):
        Condition.parse(X).holds({"x": "yes"})


SIGNS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@settings(max_examples=100, deadline=None)
@given(st.integers(-(2**31), 2**31), st.integers(-(2**31), 2**31), st.sampled_from(sorted(SIGNS)))
def test_integers_compare_as_in_python(left, right, sign):
    condition = Condition.parse(f"int({X}) {sign} {right}")
    assert condition.holds({"x": float(left)}) is SIGNS[sign](left, right)


@settings(max_examples=100, deadline=None)
@given(
    st.text(st.characters(exclude_characters="'\\", exclude_categories=["Cs"])),
    st.text(),
    st.sampled_from(sorted(SIGNS)),
)
def test_text_compares_as_in_python(literal, value, sign):
    condition = Condition.parse(f"{X} {sign} '{literal}'")
    assert condition.holds({"x": value}) is SIGNS[sign](value, literal)
