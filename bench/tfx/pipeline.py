"""The flights pipeline in TFX: one process, LocalDagRunner, SQLite MLMD. Writes a JSON of timings.

python pipeline.py --data DIR --work DIR --out FILE.json [--workers 0]   # 0: Beam processes on every core
"""

import time

START = time.perf_counter()
import argparse
import json
import os
import resource
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
parser = argparse.ArgumentParser()
for name in ("data", "work", "out"):
    parser.add_argument("--" + name, required=True)
parser.add_argument(
    "--workers", type=int, help="Beam multi-processing with so many workers (0: all cores)"
)
args = parser.parse_args()
os.environ["TFX_HISTORY"] = args.out.replace(".json", ".history.json")

import tensorflow_model_analysis as tfma
from tfx import v1 as tfx
from tfx.orchestration.portable import launcher

IMPORTED = time.perf_counter()
components, types = tfx.components, tfx.types.standard_artifacts
module = os.path.join(HERE, "flights_module.py")

examples = components.CsvExampleGen(input_base=args.data)  # splits 2:1 into train and eval
statistics = components.StatisticsGen(examples=examples.outputs["examples"])
schema = components.SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=True)
validator = components.ExampleValidator(
    statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
)
transform = components.Transform(
    examples=examples.outputs["examples"], schema=schema.outputs["schema"], module_file=module
)
trainer = components.Trainer(
    module_file=module,
    examples=transform.outputs["transformed_examples"],
    transform_graph=transform.outputs["transform_graph"],
    schema=schema.outputs["schema"],
    train_args=tfx.proto.TrainArgs(num_steps=600),
    eval_args=tfx.proto.EvalArgs(num_steps=200),
)
baseline = tfx.dsl.Resolver(
    strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
    model=tfx.dsl.Channel(type=types.Model),
    model_blessing=tfx.dsl.Channel(type=types.ModelBlessing),
).with_id("baseline")
threshold = tfma.MetricThreshold(
    value_threshold=tfma.GenericValueThreshold(lower_bound={"value": 0.55})
)
# A plain threshold would gate every slice, and a carrier with 13 flights then blocks the push.
overall = [tfma.PerSliceMetricThreshold(slicing_specs=[tfma.SlicingSpec()], threshold=threshold)]
metrics = [
    tfma.MetricConfig(class_name=name, per_slice_thresholds=overall if name == "AUC" else None)
    for name in ("ExampleCount", "BinaryAccuracy", "AUC")
]
evaluator = components.Evaluator(
    examples=examples.outputs["examples"],
    model=trainer.outputs["model"],
    baseline_model=baseline.outputs["model"],
    eval_config=tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name="serving_default",
                label_key="late_xf",
                preprocessing_function_names=["transform_features"],
            )
        ],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["carrier"])],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
    ),
)
pusher = components.Pusher(
    model=trainer.outputs["model"],
    model_blessing=evaluator.outputs["blessing"],
    push_destination=tfx.proto.PushDestination(
        filesystem=tfx.proto.PushDestination.Filesystem(
            base_directory=os.path.join(args.work, "serving")
        )
    ),
)
pipeline = tfx.dsl.Pipeline(
    beam_pipeline_args=[]
    if args.workers is None
    else ["--direct_running_mode=multi_processing", f"--direct_num_workers={args.workers}"],
    pipeline_name="flights",
    pipeline_root=os.path.join(args.work, "root"),
    enable_cache=True,
    components=[
        examples,
        statistics,
        schema,
        validator,
        transform,
        trainer,
        baseline,
        evaluator,
        pusher,
    ],
    metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
        os.path.join(args.work, "mlmd", "metadata.db")
    ),
)

seconds, rss = {}, {}
original = launcher.Launcher.launch


def timed(self):
    start = time.perf_counter()
    try:
        return original(self)
    finally:
        node = self._pipeline_node.node_info.id
        seconds[node] = round(time.perf_counter() - start, 3)
        rss[node] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


launcher.Launcher.launch = timed
ok = False
try:
    tfx.orchestration.LocalDagRunner().run(pipeline)
    ok = True
finally:
    with open(args.out, "w") as out:
        json.dump(
            {
                "ok": ok,
                "import_s": round(IMPORTED - START, 3),
                "component_s": seconds,
                "in_process_s": round(time.perf_counter() - START, 3),
                "peak_rss_mb_after": rss,
            },
            out,
            indent=1,
        )
