"""The interface of Transform."""

from millrace.dsl import HTML, Examples, Image, Input, Output, Schema, TransformGraph, step


@step(Image.DATA, modules=["module_file"])
def transform(
    examples: Input[Examples],
    schema: Input[Schema],
    label: str,
    transform_graph: Output[TransformGraph],
    transformed_examples: Output[Examples],
    report: Output[HTML],
    module_file: str = "",
    problem: str = "auto",
    analyze_splits: list = ["train"],
    custom_config: dict = {},
):
    """Computes features from raw columns with TensorFlow Transform, for training and serving alike.

    In a column that the schema lets be missing, an empty text counts as missing, and so does NaN.

    Args:
        examples: The raw rows.
        schema: The schema of the raw rows.
        label: The column to predict.
        transform_graph: TFT's output, which `tft.TFTransformOutput` loads.
        transformed_examples: The features of every row, in the same splits.
        report: A page with the features and what was learned for them.
        module_file: A Python file or module with `preprocessing_fn(inputs)`, which returns the
            features and the label under its own name: the index of its class in sorted order, or
            its value as it is, because later steps compare with the raw label. Empty makes one from
            the schema.
        problem: What kind of problem the label poses: binary, multiclass, regression, or auto.
        analyze_splits: The splits that vocabularies, means and buckets are learned from.
        custom_config: Passed to `preprocessing_fn` if it takes `custom_config`.
    """
