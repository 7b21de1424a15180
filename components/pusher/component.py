"""The interface of Pusher."""

from millrace.dsl import (
    HTML,
    Blessing,
    Examples,
    Image,
    Input,
    Metrics,
    Model,
    Output,
    PushedModel,
    step,
)


@step(Image.TRAIN, writes=["push_destination"])
def pusher(
    model: Input[Model],
    examples: Input[Examples],
    pushed_model: Output[PushedModel],
    metrics: Output[Metrics],
    report: Output[HTML],
    blessing: Input[Blessing] = None,
    push_destination: str = "",
    candidates: list = ["float32", "float16", "dynamic_range", "int8"],
    policy: str = "smallest",
    max_metric_loss: float = 0.005,
    max_bytes: int = 0,
    split: str = "eval",
    max_rows: int = 20000,
):
    """Converts a blessed model to TFLite candidates, measures each and pushes the best by a policy.

    Each candidate is one .tflite file from raw features to prediction.

    Args:
        model: The exported model.
        examples: The raw rows to measure on.
        pushed_model: What was pushed, every candidate, and why this one.
        metrics: The quality, size and latency of what was pushed.
        report: A page with the trade-off between quality, size and latency.
        blessing: The evaluator's verdict; a model that is not blessed is not pushed, and no
            candidate that breaks a bound which the model was blessed by, but for rounding.
        push_destination: A folder or URI that gets the model as its next numbered version; empty
            pushes into the artifact only.
        candidates: Which conversions to try: float32, float16, dynamic_range, int8.
        policy: Which candidate to pick of those that keep the quality: smallest, fastest or best.
        max_metric_loss: How much worse than the SavedModel a candidate's metric may be: AUC,
            accuracy or relative RMSE.
        max_bytes: The largest file that may be pushed; 0 sets no limit.
        split: The split to measure on.
        max_rows: How many of its rows to measure on.
    """
