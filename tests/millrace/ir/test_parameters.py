"""The parameters of a run: conversions, and one clear error for each mistake."""
# ruff: noqa: B006, RUF013  KFP reads defaults and types from the signature

import json
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.errors import ParameterError
from millrace.ir import parameters
from millrace.ir import spec as ir
from millrace.runner.run import load


@pytest.fixture(scope="module")
def pipeline(kit):
    def takes(
        data_uri: str,
        rows: int,
        ratio: float = 0.5,
        flag: bool = False,
        columns: list = ["a"],
        options: dict = {"a": 1},
        note: str = None,
    ):
        """Takes one of each.

        Args:
            data_uri: Where the data is.
            rows: How many rows to take.
            columns: Which columns to take.
        """
        kit.play(text=data_uri, count=rows, ratio=ratio, flag=flag, items=columns, options=options)

    return load(str(kit.compile(takes)))


REQUIRED = ["data_uri=x.csv", "rows=1"]


def given_by(pipeline, *pairs):
    values = parameters.of_command_line(pairs, pipeline.root.parameters)
    return parameters.checked(pipeline, values)


def test_defaults_are_filled_in(pipeline):
    assert given_by(pipeline, *REQUIRED) == {
        "data_uri": "x.csv",
        "rows": 1,
        "ratio": 0.5,
        "flag": False,
        "columns": ["a"],
        "options": {"a": 1.0},
    }


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("rows=12", 12),
        ("rows= -3", -3),
        ("rows=1e6", 1_000_000),
        ("rows=9007199254740993", 9007199254740993),
        ("ratio=1", 1.0),
        ("ratio=2.5e-3", 0.0025),
        ("flag=true", True),
        ("flag=False", False),
        ("flag=yes", True),
        ("flag=0", False),
        ('columns=["a", "b"]', ["a", "b"]),
        ("columns=[]", []),
        ('options={"auc": {"lower_bound": 0.6}}', {"auc": {"lower_bound": 0.6}}),
        ("data_uri=", ""),
        ("data_uri=a=b", "a=b"),
        ("data_uri=  ", "  "),
        ("data_uri=Größe.csv", "Größe.csv"),
        ("data_uri=5", "5"),
        ("note=x", "x"),
    ],
)
def test_the_command_line(pipeline, pair, value):
    name = pair.partition("=")[0]
    others = [one for one in REQUIRED if not one.startswith(f"{name}=")]
    found = given_by(pipeline, *others, pair)[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("rows=many", '"rows" must be a whole number, and is "many".'),
        ("rows=1.5", '"rows" must be a whole number, and is "1.5".'),
        ("rows=", '"rows" must be a whole number, and is "".'),
        ("rows=nan", '"rows" must be a whole number, and is "nan".'),
        ("rows=1e400", '"rows" must be a whole number, and is "1e400".'),
        ("ratio=half", '"ratio" must be a number, and is "half".'),
        ("ratio=nan", '"ratio" must be a number, and is "nan".'),
        ("ratio=inf", '"ratio" must be a number, and is "inf".'),
        ("flag=maybe", '"flag" must be true or false, and is "maybe".'),
        ("flag=", '"flag" must be true or false, and is "".'),
        ("columns=a,b", '"columns" must be a list as JSON, such as ["a", "b"], and is "a,b".'),
        ('columns={"a": 1}', '"columns" must be a list as JSON'),
        ("options=[1]", '"options" must be an object as JSON, such as {"key": 1}, and is "[1]".'),
        ("options={a: 1}", '"options" must be an object as JSON'),
        ("columns=" + "[" * 900 + "]" * 900, '"columns" has more than 30 nested lists and objects'),
        ("columns=" + "[" * 90_000, '"columns" must be a list as JSON'),
        ('options={"a": NaN}', '"options" holds "nan", a float, which is not JSON'),
        ("rows", "A parameter is given as name=value, and 'rows' is not."),
        ("=5", "A parameter is given as name=value, and '=5' is not."),
        ("row=5", 'The pipeline "takes" has no parameter "row". Did you mean "rows"?'),
        ("zzz=5", 'The pipeline "takes" has no parameter "zzz".\n  data_uri (string): Where'),
    ],
)
def test_mistakes_on_the_command_line(pipeline, pair, message):
    name = pair.partition("=")[0]
    others = [one for one in REQUIRED if not one.startswith(f"{name}=")]
    with pytest.raises(ParameterError) as raised:
        given_by(pipeline, *others, pair)
    assert message in str(raised.value)


def test_a_mistake_shows_what_the_parameter_is_for(pipeline):
    with pytest.raises(ParameterError, match=r"  rows \(integer\): How many rows to take\."):
        given_by(pipeline, "data_uri=x", "rows=x")


def test_a_parameter_given_twice(pipeline):
    with pytest.raises(ParameterError, match='The parameter "rows" is given twice'):
        given_by(pipeline, *REQUIRED, "rows=2")


def test_missing_ones_are_named_with_what_they_are_for(pipeline):
    with pytest.raises(ParameterError) as raised:
        given_by(pipeline)
    assert str(raised.value) == (
        'The pipeline "takes" needs --param data_uri=… --param rows=…\n'
        "  data_uri (string): Where the data is.\n"
        "  rows (integer): How many rows to take."
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": "1"}, '"rows" must be a whole number, and is "1".'),
        ({"rows": True}, '"rows" must be a whole number, and is true.'),
        ({"rows": None}, '"rows" must be a whole number, and is null.'),
        ({"rows": 1.5}, '"rows" must be a whole number'),
        (
            {"options": {"a": [date(2024, 1, 1)]}},
            '"options" holds "2024-01-01", a date, which is not JSON: quote it',
        ),
        ({"options": {1: "a"}}, '"options" has a key that is not text: write 1 in quotes.'),
        ({"ratio": "1"}, '"ratio" must be a number'),
        ({"flag": "true"}, '"flag" must be true or false'),
        ({"flag": 1}, '"flag" must be true or false'),
        ({"data_uri": 5}, '"data_uri" must be text, and is 5.'),
        ({"columns": "a"}, '"columns" must be a list'),
        ({"options": [{}]}, '"options" must be an object'),
    ],
)
def test_mistakes_in_json_values(pipeline, values, message):
    with pytest.raises(ParameterError) as raised:
        parameters.checked(pipeline, {"data_uri": "x", "rows": 1, **values})
    assert message in str(raised.value)


def test_whole_numbers_and_floats_stand_for_each_other(pipeline):
    found = parameters.checked(pipeline, {"data_uri": "x", "rows": 2.0, "ratio": 3})
    assert (found["rows"], type(found["rows"])) == (2, int)
    assert (found["ratio"], type(found["ratio"])) == (3.0, float)


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("p.json", '{"rows":\t5, "columns": ["a"]}'),
            ("p.yaml", "rows: 5\ncolumns:\n- a\n"),
            ("p.yml", "{rows: 5, columns: [a]}"),
        ],
    )
    def test_json_and_yaml(self, tmp_path, name, text):
        (tmp_path / name).write_text(text)
        assert parameters.of_file(tmp_path / name) == {"rows": 5, "columns": ["a"]}

    def test_an_empty_file(self, tmp_path):
        (tmp_path / "p.yaml").write_text("")
        assert parameters.of_file(tmp_path / "p.yaml") == {}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[1]", "must hold an object of parameter names and values"),
            ("5: 6", "must hold an object of parameter names and values"),
            ("a: [", "is neither JSON nor YAML"),
            ("a: " + "[" * 5000, "is neither JSON nor YAML"),
            ("a: !!python/name:os.system", "is neither JSON nor YAML"),
        ],
    )
    def test_mistakes(self, tmp_path, text, message):
        (tmp_path / "p.yaml").write_text(text)
        with pytest.raises(ParameterError, match=message):
            parameters.of_file(tmp_path / "p.yaml")

    def test_no_file(self, tmp_path):
        with pytest.raises(ParameterError, match=r"Cannot read .*p.yaml: No such file"):
            parameters.of_file(tmp_path / "p.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=3), st.lists(JSON, max_size=3))
def test_json_comes_through_as_it_is(struct, items):
    declared = {
        "s": ir.Parameter("s", "STRUCT"),
        "l": ir.Parameter("l", "LIST"),
    }
    pairs = [f"s={json.dumps(struct)}", f"l={json.dumps(items)}"]
    assert parameters.of_command_line(pairs, declared) == {"s": struct, "l": items}


@pytest.mark.parametrize("kind", ["NUMBER_INTEGER", "NUMBER_DOUBLE"])
def test_a_number_that_no_double_holds(kind):
    with pytest.raises(ParameterError, match='"n" must be a'):
        parameters.of_command_line([f"n={'9' * 400}"], {"n": ir.Parameter("n", kind)})
