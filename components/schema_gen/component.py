"""The interface of SchemaGen."""

from millrace.dsl import HTML, Image, Input, Output, Schema, Statistics, step


@step(Image.DATA, reads=["schema_uri"])
def schema_gen(
    statistics: Input[Statistics],
    schema: Output[Schema],
    report: Output[HTML],
    schema_uri: str = "",
    infer_feature_shape: bool = True,
    max_string_domain_size: int = 100,
    exclude_splits: list = [],
):
    """Infers the schema of the examples from their statistics, or imports a curated one.

    In an inferred schema, a column without any value is marked so that later steps leave it out,
    and decimals may be neither NaN nor infinite.

    Args:
        statistics: The statistics to infer from.
        schema: The schema, as `schema.pbtxt`.
        report: A page with a row for each feature.
        schema_uri: A curated `schema.pbtxt` to take instead of inferring one.
        infer_feature_shape: Whether a column that is never missing becomes a required, dense
            feature.
        max_string_domain_size: A text column with more distinct values than this gets no closed
            list of values.
        exclude_splits: Splits to leave out of the inference.
    """
