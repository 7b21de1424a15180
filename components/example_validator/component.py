"""The interface of ExampleValidator."""

from millrace.dsl import HTML, Anomalies, Image, Input, Output, Schema, Statistics, step


@step(Image.DATA, reads=["previous_statistics_uri", "serving_statistics_uri"])
def example_validator(
    statistics: Input[Statistics],
    schema: Input[Schema],
    anomalies: Output[Anomalies],
    report: Output[HTML],
    previous_statistics: Input[Statistics] = None,
    serving_statistics: Input[Statistics] = None,
    previous_statistics_uri: str = "",
    serving_statistics_uri: str = "",
    fail_on_anomalies: bool = True,
    fail_on_drift: bool = False,
    exclude_splits: list = [],
):
    """Holds the statistics of every split against the schema; stops the run if they disagree.

    It also compares every column with its statistics in an earlier span (drift) and in serving
    (skew), if they are given: by the schema's comparators, and otherwise by thresholds that follow
    from the number of rows.

    Args:
        statistics: The statistics of the examples.
        schema: What the examples should look like.
        anomalies: TFDV's anomalies, a file for each split, and the comparisons with both histograms
            as `Comparisons.json`.
        report: A page with every anomaly and its reason.
        previous_statistics: The statistics of an earlier span.
        serving_statistics: The statistics of the rows that are served.
        previous_statistics_uri: The folder of an earlier span's statistics, such as
            `<root>/tabular/<run>/statistics-gen/statistics`, instead of the input.
        serving_statistics_uri: The folder of the served rows' statistics, instead of the input.
        fail_on_anomalies: Whether an anomaly ends the step with an error, so that nothing after it
            runs.
        fail_on_drift: Whether a column that has changed is an anomaly rather than a warning, if the
            schema sets no threshold for it.
        exclude_splits: Splits to leave out.
    """
