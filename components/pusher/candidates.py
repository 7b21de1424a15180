"""Makes the candidates: converts the model, runs each conversion on rows and times it."""

from __future__ import annotations

import dataclasses
import logging
import time

import numpy as np

from millrace.components.pusher import convert
from millrace.components.pusher.interpreter import Runner, batches
from millrace.components.pusher.quantize import Quantizer
from millrace.components.pusher.sample import Sample
from millrace.errors import ModelError
from millrace.ml.exported import ExportedModel, shaped
from millrace.ml.scores import Scores

logger = logging.getLogger(__name__)

# Single rows are timed in rounds over all candidates, so that other load on the machine affects all
# of them equally.
_ROUNDS = 20
_ROWS_IN_ROUND = 50
_MOST_SECONDS = 3.0


@dataclasses.dataclass
class Candidate:
    """A conversion of the model.

    Attributes:
        name: float32, float16, dynamic_range or int8.
        failure: Why it could not be converted or run; the other fields are then meaningless.
        content: The .tflite file.
        inputs: The names of its inputs: the raw columns that the model uses.
        metrics: Every metric.
        quality: The headline metric.
        loss: How much worse it is than the SavedModel's.
        difference: The largest difference of a prediction from the SavedModel's.
        latency_us: The median of microseconds for one row.
        latency_p95_us: Their 95th percentile.
        rows_per_second: Throughput in batches of 1,024, in one thread.
    """

    name: str
    failure: str = ""
    content: bytes = b""
    inputs: tuple[str, ...] = ()
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    quality: float = 0.0
    loss: float = 0.0
    difference: float = 0.0
    latency_us: float = 0.0
    latency_p95_us: float = 0.0
    rows_per_second: float = 0.0


def make_all(model: ExportedModel, names: list[str], sample: Sample) -> list[Candidate]:
    """Converts a model in each of the given ways, and measures the results.

    Raises:
        ModelError: TFLite cannot compute the model at all.
    """
    variables = (each.numpy() for each in model.signature.variables)
    quantizer = Quantizer(convert.to_float32(model), variables, sample.calibration)
    made = [_make(name, quantizer, model, sample) for name in names]
    _time([each for each in made if not each.failure], sample)
    for each in made:
        logger.info("%s", describe(each, sample.metric))
    return made


def describe(candidate: Candidate, metric: str) -> str:
    """Returns a candidate's measurements in one line."""
    if candidate.failure:
        return f"{candidate.name}: {candidate.failure}"
    return (
        f"{candidate.name}: {metric} {candidate.quality:.5g} (loss {candidate.loss:.2g}), "
        f"{len(candidate.content):,} bytes, {candidate.latency_us:.3g} µs"
    )


def _make(name: str, quantizer: Quantizer, model: ExportedModel, sample: Sample) -> Candidate:
    try:
        content = quantizer.make(name)
        runner = Runner(content)
        outputs, seconds = runner.predict(sample.features)
    except ModelError as error:
        return Candidate(name, failure=str(error))
    outputs = shaped(outputs, model)
    if not np.isfinite(outputs).all():
        return Candidate(name, failure="some of its predictions are not finite numbers")
    metrics = Scores.of(sample.problem, sample.labels, outputs).overall()
    quality = metrics[sample.metric]
    return Candidate(
        name,
        content=content,
        inputs=tuple(runner.inputs),
        metrics=metrics,
        quality=quality,
        loss=sample.loss(quality),
        difference=float(np.abs(outputs - sample.outputs).max()),
        rows_per_second=len(outputs) / seconds,
    )


def _time(candidates: list[Candidate], sample: Sample) -> None:
    """Measures the latencies; the first round is a warm-up."""
    rows = [next(batches(sample.features, _ROWS_IN_ROUND))]
    rows = [row for some in rows for row in batches(some, 1)]
    runners = [Runner(each.content) for each in candidates]
    taken: list[list[float]] = [[] for _ in candidates]
    until = time.monotonic() + _MOST_SECONDS
    for number in range(_ROUNDS + 1):
        for runner, seconds in zip(runners, taken, strict=True):
            measured = [runner.run(row) for row in rows]
            if number:
                seconds += measured
        if number and time.monotonic() > until:
            break
    for each, seconds in zip(candidates, taken, strict=True):
        each.latency_us = float(np.percentile(seconds, 50)) * 1e6
        each.latency_p95_us = float(np.percentile(seconds, 95)) * 1e6
