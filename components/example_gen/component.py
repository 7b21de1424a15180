"""The interface of ExampleGen."""

from millrace.dsl import HTML, Examples, Image, Output, step


@step(Image.CORE, reads=["data_uri"])
def example_gen(
    data_uri: str,
    examples: Output[Examples],
    report: Output[HTML],
    spans: str = "latest",
    query: str = "",
    splits: dict = {"train": 2, "eval": 1},
    key_columns: list = [],
    time_column: str = "",
    time_gap: str = "",
    max_rejected: int = 0,
    header_line: int = 1,
    delimiter: str = "",
    encoding: str = "",
    column_types: dict = {},
    missing_values: list = [],
    decimal: str = "",
    date_formats: list = [],
):
    """Reads a table, splits its rows by a stable hash and writes them as examples.

    The same row lands in the same split on every run, whatever the order of the rows or the number
    of files.

    Args:
        data_uri: The data: a file, a folder or a glob of CSV, Parquet or JSON files (one object a
            line, or a list of objects); CSV and JSON may be gzipped, CSV also in .zst and .zip
            files. The fields of nested objects become columns such as `address.city`. CSV files
            have a header line; an empty value and NA in them are missing values, as are blanks,
            marks such as ?, -, N/A, NULL, None and nan, and a few stray words in a column that
            otherwise holds numbers. Digits such as 01234, +41 or 1E5 are text where a number would
            not keep what they say. Unless the delimiter is a comma, numbers may have decimal
            commas: 1.234 is 1234 in a file with decimal commas, and 1,234 is 1234 in one with
            decimal points. The page and the log list the columns that were read in one of these
            ways. Subfolders such as `year=2020` become columns.
        examples: The rows, in splits.
        report: A page with the columns, the splits and what was rejected.
        spans: Which spans of the data to read, if `data_uri` has {SPAN}, or {YYYY}, {MM} and {DD},
            in its path: latest; "last 7", which end with the latest; all; one, such as 3 or
            2024-01-31; or a range, such as 3..7. A span that is missing in between is an error. Of
            each, the highest {VERSION} is read.
        query: SQL to select, filter or compute columns from the table "data", such as
            `SELECT * FROM data WHERE amount > 0`. It must return the same rows on every run; for a
            sample of a tenth, use `WHERE hash(id) % 10 = 0`. Empty takes every row and column.
        splits: Names of the splits and how many parts of the rows each gets.
        key_columns: Columns whose value decides the split, so that rows that share it stay
            together. Empty takes the whole row, so that copies of a row stay together.
        time_column: The column with the time of a row, to split by instead: train gets the earliest
            rows and test the latest, so that a model is measured on rows that come after those it
            learned from. Rows of the same time stay together.
        time_gap: How long rows are left out after each such split, such as `7 days`, or a number
            for a column of numbers: as long as features look back or labels look ahead.
        max_rejected: How many rows of a CSV file may be unreadable before the step fails; such rows
            are set aside in `rejected.csv`.
        header_line: The line of CSV files that names the columns; what stands above it is skipped.
            With 0 there is none, and the columns are named column_1, column_2 and so on.
        delimiter: What stands between two values of CSV files. Empty finds out whether it is a
            comma, a semicolon, a tab or a bar.
        encoding: The encoding of CSV files, such as latin-1 or windows-1252. Empty reads UTF-8, and
            UTF-16 with a byte order mark.
        column_types: The types of some columns of CSV files, such as `{"zip": "text", "charges":
            "decimal"}`: text, integer, decimal, boolean, date, timestamp or zoned timestamp.
            Values that are not of the type are missing, and counted.
        missing_values: The texts that stand for a missing value in every column of CSV files, such
            as `["?", "unknown"]`. Empty finds them out.
        decimal: The decimal mark of CSV files: a point or a comma. Empty finds it out.
        date_formats: How dates in CSV files are written, such as `["%d.%m.%Y"]`, besides
            2013-01-31.
    """
