"""A query reads the table and nothing else: no other file, no network, no setting, no variable."""

from __future__ import annotations

import pytest

from millrace.errors import MillraceError, ParameterError

SECRET = "millrace-secret"


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.csv"
    path.write_text(f"a,b\n{SECRET},1\n")
    return path


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_blob('{secret}')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM data UNION ALL BY NAME SELECT * FROM read_csv('{secret}')",
        "SELECT *, (SELECT content FROM read_text('{secret}')) AS stolen FROM data",
        "SELECT Delimiter FROM sniff_csv('{secret}')",
        "SELECT * FROM read_parquet('https://example.com/x.parquet')",
        "SELECT * FROM query('SELECT * FROM read_csv(''{secret}'')')",
    ],
)
def test_no_other_file_is_read(generate, people, secret, query):
    with pytest.raises(MillraceError) as caught:
        generate(people, query=query.format(secret=secret, folder=secret.parent))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "COPY data TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/out.db'",
        "CREATE TABLE t AS FROM data",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA enable_profiling",
        "DELETE FROM data",
        "CALL pragma_version()",
        "SELECT 1; COPY data TO '{folder}/out.csv'",
    ],
)
def test_nothing_but_a_select_runs(generate, people, tmp_path, query):
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ParameterError, match="must be one SELECT over the table"):
        generate(people, query=query.format(folder=tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir() if "run-" not in path.name) == before


def test_a_python_variable_is_no_table(generate, people):
    import pyarrow as pa

    hidden = pa.table({"a": [SECRET]})
    with pytest.raises(ParameterError, match='there is no table "hidden"'):
        generate(people, query="SELECT * FROM hidden")
    assert hidden.num_rows


def test_the_environment_is_out_of_reach(generate, people):
    with pytest.raises(MillraceError, match="getenv"):
        generate(people, query="SELECT getenv('HOME') AS home FROM data")
