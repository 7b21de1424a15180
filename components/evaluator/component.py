"""The interface of Evaluator."""

from millrace.dsl import (
    HTML,
    Blessing,
    ClassificationMetrics,
    Evaluation,
    Examples,
    Image,
    Input,
    Metrics,
    Model,
    Output,
    step,
)


@step(Image.TRAIN)
def evaluator(
    examples: Input[Examples],
    model: Input[Model],
    evaluation: Output[Evaluation],
    blessing: Output[Blessing],
    metrics: Output[Metrics],
    curves: Output[ClassificationMetrics],
    report: Output[HTML],
    baseline_model: Input[Model] = None,
    split: str = "eval",
    slice_columns: list = [],
    thresholds: dict = {},
    min_slice_rows: int = 0,
    min_class_rows: int = 10,
):
    """Measures the exported model on raw rows and by slice, and blesses it or says why not.

    Args:
        examples: The raw rows.
        model: The exported model.
        evaluation: Every metric, overall and by slice.
        blessing: Whether the model may be pushed, and the reason.
        metrics: The overall metrics, as the KFP UI compares them between runs.
        curves: The confusion matrix and the ROC curve, for classification.
        report: A page with metrics, curves and slices.
        baseline_model: An earlier model to compare with.
        split: The split to measure on.
        slice_columns: Columns by whose values the metrics are broken down. A list within the list
            crosses columns.
        thresholds: Bounds that bless a model, by metric, such as `{"auc": {"lower_bound": 0.6}}`;
            there is `upper_bound`, too. `{"auc": {"min_change": -0.01}}` bounds the change from the
            baseline, as `max_change` does for a metric of which less is better.
        min_slice_rows: Slices of fewer rows are shown, but do not block a blessing. 0 lets only the
            overall metrics block it.
        min_class_rows: How many rows of a class a blessing takes, since metrics of fewer are
            chance: of both classes, or, if there are several, of all but the most frequent one
            together. 0 takes any number.
    """
