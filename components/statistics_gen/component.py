"""The interface of StatisticsGen."""

from millrace.dsl import HTML, Examples, Image, Input, Output, Schema, Statistics, step


@step(Image.DATA)
def statistics_gen(
    examples: Input[Examples],
    statistics: Output[Statistics],
    report: Output[HTML],
    schema: Input[Schema] = None,
    exclude_splits: list = [],
):
    """Computes TensorFlow Data Validation's statistics of every split, in one pass over its rows.

    Args:
        examples: The rows to describe.
        statistics: TFDV's statistics, a file for each split.
        report: A page with a card for each column.
        schema: A schema whose types and domains the statistics should follow, if there is one
            already.
        exclude_splits: Splits to leave out.
    """
