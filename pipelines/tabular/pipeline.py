"""Tabular: from any table to a model that predicts one of its columns, without code."""

from kfp import dsl

from millrace.components.evaluator.component import evaluator
from millrace.components.example_gen.component import example_gen
from millrace.components.example_validator.component import example_validator
from millrace.components.pusher.component import pusher
from millrace.components.schema_gen.component import schema_gen
from millrace.components.statistics_gen.component import statistics_gen
from millrace.components.trainer.component import trainer
from millrace.components.transform.component import transform
from millrace.dsl import with_resources


@dsl.pipeline(name="tabular")
def tabular(
    data_uri: str,
    label: str,
    problem: str = "auto",
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
    schema_uri: str = "",
    fail_on_anomalies: bool = True,
    previous_statistics_uri: str = "",
    serving_statistics_uri: str = "",
    fail_on_drift: bool = False,
    preprocessing_file: str = "",
    model_file: str = "",
    custom_config: dict = {},
    train_steps: int = 0,
    batch_size: int = 512,
    seed: int = 1,
    measure_split: str = "eval",
    slice_columns: list = [],
    thresholds: dict = {},
    min_class_rows: int = 10,
    candidates: list = ["float32", "float16", "dynamic_range", "int8"],
    policy: str = "smallest",
    max_metric_loss: float = 0.005,
    max_bytes: int = 0,
    push_destination: str = "",
):
    """Trains a model that predicts one column of a table, and pushes it as a .tflite file.

    Args:
        data_uri: The table: a file, a folder or a glob of CSV, Parquet or JSON files.
        label: The column to predict.
        problem: The kind of problem: binary, multiclass, regression, or auto to infer it from the
            column.
        spans: Which spans to read if `data_uri` has {SPAN} or {YYYY}-{MM}-{DD} in its path: latest,
            "last 7", all, 3, 3..7, 2024-01-01..2024-01-31.
        query: SQL to select, filter or compute columns from the table "data". Empty takes all of
            it.
        splits: The splits, train and eval among them, and how many parts of the rows each gets.
        key_columns: Columns such as a customer's number: rows that share them stay in one split.
        time_column: The column with the time of a row, to train on earlier rows and measure on
            later ones.
        time_gap: How long rows are left out between these splits, such as `7 days`.
        max_rejected: How many unreadable rows of a CSV file to set aside before failing.
        header_line: The line of a CSV file that names the columns; 0 if there is none.
        delimiter: What stands between two values of a CSV file. Empty finds it out.
        encoding: The encoding of a CSV file, such as latin-1. Empty reads UTF-8 and UTF-16.
        column_types: The types of some columns of a CSV file, such as `{"zip": "text"}`: text,
            integer, decimal, boolean, date, timestamp or zoned timestamp.
        missing_values: The texts that stand for a missing value, such as `["?"]`. Empty finds them
            out.
        decimal: The decimal mark: a point or a comma. Empty finds it out.
        date_formats: How dates are written, such as `["%d.%m.%Y"]`, besides 2013-01-31.
        schema_uri: A curated `schema.pbtxt` to validate the data against. Empty infers one.
        fail_on_anomalies: Whether data that does not fit the schema stops the run.
        previous_statistics_uri: The folder of an earlier run's statistics, such as
            `<root>/tabular/<run>/statistics-gen/statistics`. Columns that have changed since are
            reported.
        serving_statistics_uri: The folder of the statistics of served rows, to compare with.
        fail_on_drift: Whether a column that has changed stops the run, if the schema sets no
            threshold for it.
        preprocessing_file: A Python file with `preprocessing_fn(inputs)`. Empty makes default
            features.
        model_file: A Python file with `build_model(fn_args)`. Empty takes the default network.
        custom_config: Passed to both of these files.
        train_steps: Batches to train on; 0 stops when the loss on eval no longer falls.
        batch_size: Rows in a batch.
        seed: Makes the training repeatable.
        measure_split: The split to measure the model on. If eval decides when training stops, a
            split that training does not use is fairer: add `"test": 1` to the splits and choose
            test.
        slice_columns: Columns whose values define slices to measure.
        thresholds: Bounds that a model must keep to be pushed, such as `{"auc": {"lower_bound":
            0.7}}`.
        min_class_rows: How many rows of each class a model must be measured on to be pushed.
        candidates: The TFLite conversions to try: float32, float16, dynamic_range, int8.
        policy: Which candidate to push of those that keep the quality: smallest, fastest or best.
        max_metric_loss: How much worse than the trained model a candidate may be.
        max_bytes: The largest file that may be pushed; 0 sets no limit.
        push_destination: A folder or URI that gets the model as its next version. Empty keeps it in
            the run.
    """
    # 1. Rows, split by a hash so that the same row is always in the same split.
    rows = with_resources(
        example_gen(
            data_uri=data_uri,
            spans=spans,
            query=query,
            splits=splits,
            key_columns=key_columns,
            time_column=time_column,
            time_gap=time_gap,
            max_rejected=max_rejected,
            header_line=header_line,
            delimiter=delimiter,
            encoding=encoding,
            column_types=column_types,
            missing_values=missing_values,
            decimal=decimal,
            date_formats=date_formats,
        ),
        "ExampleGen",
        cpu="2",
    )

    # 2. What the rows look like, and whether they look as they should.
    stats = with_resources(statistics_gen(examples=rows.outputs["examples"]), "StatisticsGen")
    schema = with_resources(
        schema_gen(statistics=stats.outputs["statistics"], schema_uri=schema_uri),
        "SchemaGen",
        cpu="500m",
    )
    valid = with_resources(
        example_validator(
            statistics=stats.outputs["statistics"],
            schema=schema.outputs["schema"],
            previous_statistics_uri=previous_statistics_uri,
            serving_statistics_uri=serving_statistics_uri,
            fail_on_anomalies=fail_on_anomalies,
            fail_on_drift=fail_on_drift,
        ),
        "ExampleValidator",
        cpu="500m",
    )

    # 3. Features, learned from the training split only.
    features = with_resources(
        transform(
            examples=rows.outputs["examples"],
            schema=schema.outputs["schema"],
            label=label,
            problem=problem,
            module_file=preprocessing_file,
            custom_config=custom_config,
        ).after(valid),
        "Transform",
        cpu="2",
    )

    # 4. A model.
    trained = with_resources(
        trainer(
            transformed_examples=features.outputs["transformed_examples"],
            transform_graph=features.outputs["transform_graph"],
            schema=schema.outputs["schema"],
            module_file=model_file,
            train_steps=train_steps,
            batch_size=batch_size,
            seed=seed,
            custom_config=custom_config,
        ),
        "Trainer",
        cpu="2",
    )

    # 5. Its quality on raw rows, overall and by slice.
    evaluated = with_resources(
        evaluator(
            examples=rows.outputs["examples"],
            model=trained.outputs["model"],
            split=measure_split,
            slice_columns=slice_columns,
            thresholds=thresholds,
            min_class_rows=min_class_rows,
        ),
        "Evaluator",
    )

    # 6. One .tflite file, chosen among candidates on eval rather than on measure_split.
    with_resources(
        pusher(
            model=trained.outputs["model"],
            examples=rows.outputs["examples"],
            blessing=evaluated.outputs["blessing"],
            candidates=candidates,
            policy=policy,
            max_metric_loss=max_metric_loss,
            max_bytes=max_bytes,
            push_destination=push_destination,
        ),
        "Pusher",
    )
