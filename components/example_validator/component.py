"""The interface of ExampleValidator."""

from millrace.dsl import HTML, Anomalies, Image, Input, Output, Schema, Statistics, step


@step(Image.DATA)
def example_validator(
    statistics: Input[Statistics],
    schema: Input[Schema],
    anomalies: Output[Anomalies],
    report: Output[HTML],
    fail_on_anomalies: bool = True,
    exclude_splits: list = [],
):
    """Holds the statistics of every split against the schema; stops the run if they disagree.

    Args:
        statistics: The statistics of the examples.
        schema: What the examples should look like.
        anomalies: TFDV's anomalies, a file for each split.
        report: A page with every anomaly and its reason.
        fail_on_anomalies: Whether an anomaly ends the step with an error, so that nothing after it
            runs.
        exclude_splits: Splits to leave out.
    """
