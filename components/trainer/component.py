"""The interface of Trainer."""

from millrace.dsl import (
    HTML,
    Examples,
    Image,
    Input,
    Metrics,
    Model,
    Output,
    Schema,
    TransformGraph,
    step,
)


@step(Image.TRAIN, modules=["module_file"])
def trainer(
    transformed_examples: Input[Examples],
    transform_graph: Input[TransformGraph],
    schema: Input[Schema],
    model: Output[Model],
    metrics: Output[Metrics],
    report: Output[HTML],
    module_file: str = "",
    train_steps: int = 0,
    eval_steps: int = 0,
    batch_size: int = 512,
    seed: int = 1,
    custom_config: dict = {},
):
    """Trains a Keras model on the transformed examples and exports it with its transform inside.

    The SavedModel's signatures are `serving_default`, which takes serialized tf.Examples;
    `raw_features`, which takes raw columns by name; and `transform_features`.

    Args:
        transformed_examples: The features, with a train split and an eval split.
        transform_graph: TFT's output, exported with the model.
        schema: The schema of the raw rows.
        model: The SavedModel.
        metrics: Losses and metrics on both splits, after the step whose weights were kept.
        report: A page with the curves of the training.
        module_file: A Python file or module with `build_model(fn_args)`, which returns a compiled
            Keras model, or `run_fn(fn_args)`, which trains and saves one itself. Empty takes a
            sound default.
        train_steps: Batches to train on; 0 stops when the loss on the eval split no longer falls,
            and keeps the best weights; a `run_fn` then gets the steps of 10 epochs.
        eval_steps: Batches to evaluate on after training; 0 takes the whole eval split.
        batch_size: Rows in a batch.
        seed: Makes the shuffle and the initial weights repeatable.
        custom_config: Passed on as `fn_args.custom_config`.
    """
