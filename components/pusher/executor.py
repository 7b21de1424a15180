"""Pusher: converts a blessed model to TFLite candidates, measures them and pushes one."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any

from millrace.artifacts import (
    HTML,
    Blessing,
    Examples,
    Input,
    Metrics,
    Model,
    Output,
    PushedModel,
)
from millrace.components.pusher import record
from millrace.components.pusher.candidates import Candidate, make_all
from millrace.components.pusher.destination import open_destination
from millrace.components.pusher.policy import Policy, kept
from millrace.components.pusher.quantize import MEANING
from millrace.components.pusher.sample import take
from millrace.errors import ParameterError, PolicyError, nearest
from millrace.ml.blessing import Decision
from millrace.ml.exported import ExportedModel

MODEL_FILE = "model.tflite"

logger = logging.getLogger(__name__)


def run(
    model: Input[Model],
    examples: Input[Examples],
    pushed_model: Output[PushedModel],
    metrics: Output[Metrics],
    report: Output[HTML],
    blessing: Input[Blessing] | None = None,
    push_destination: str = "",
    candidates: list[Any] = ["float32", "float16", "dynamic_range", "int8"],
    policy: str = "smallest",
    max_metric_loss: float = 0.005,
    max_bytes: int = 0,
    split: str = "eval",
    max_rows: int = 20000,
) -> None:
    """Converts a blessed model to candidates, measures each on raw rows and pushes one."""
    names = _names(candidates)
    rule = Policy(policy, max_metric_loss, max_bytes)
    if max_rows < 1:
        raise ParameterError(f'"max_rows" must be 1 or more, and is {max_rows}.')
    decision = Decision.load(blessing.path) if blessing else None
    pushed_model.path.mkdir(parents=True, exist_ok=True)
    if decision and not decision.blessed:
        _record_unblessed(decision, pushed_model, metrics, report)
        return

    destination = open_destination(push_destination) if push_destination else None
    exported = ExportedModel(model.path)
    sample = take(exported, examples.path, split, max_rows)
    if decision:
        rule = dataclasses.replace(rule, bounds=kept(decision.bounds, sample.metrics))
    trial = record.Trial(exported, split, sample, rule, make_all(exported, names, sample))
    try:
        chosen = rule.choose(trial.candidates, sample.metric)
    except PolicyError as error:
        report.path.write_text(record.render(trial, None, str(error), decision, ""), "utf-8")
        raise
    reason = rule.reason(chosen, trial.candidates)
    content = {
        "pushed": True,
        "reason": reason,
        "chosen": chosen.name,
        "blessing": decision.as_json() if decision else None,
        **trial.as_json(),
        "inputs": record.inputs(exported, chosen),
    }
    version, where = 0, ""
    if destination:
        extra = {MODEL_FILE: chosen.content, record.FILE: record.encode(content)}
        version, where = destination.push(exported.folder, extra)
        content |= {"version": version, "pushed_destination": where}
    logger.info("%s%s", reason, f" It is at {where}." if where else "")

    _write_artifact(pushed_model, trial, chosen, content)
    metrics.metadata |= {"pushed": 1, **trial.metrics(chosen)}
    report.path.write_text(record.render(trial, chosen, reason, decision, where), "utf-8")


def _record_unblessed(
    decision: Decision, pushed_model: PushedModel, metrics: Metrics, report: HTML
) -> None:
    """Records that a model was not blessed, and so not pushed."""
    reason = f"The evaluator did not bless the model: {'; '.join(decision.reasons)}."
    logger.warning("not pushed. %s", reason)
    content = {"pushed": False, "reason": reason, "blessing": decision.as_json()}
    (pushed_model.path / record.FILE).write_bytes(record.encode(content))
    pushed_model.metadata |= {"pushed": False, "reason": reason}
    metrics.metadata |= {"pushed": 0}
    report.path.write_text(record.render(None, None, reason, decision, ""), "utf-8")


def _write_artifact(
    pushed_model: PushedModel, trial: record.Trial, chosen: Candidate, content: dict[str, Any]
) -> None:
    """Writes the artifact: the chosen file, every candidate, the problem and push.json."""
    folder = pushed_model.path / "candidates"
    folder.mkdir(exist_ok=True)
    for each in trial.candidates:
        if not each.failure:
            (folder / f"{each.name}.tflite").write_bytes(each.content)
    (pushed_model.path / MODEL_FILE).write_bytes(chosen.content)
    (pushed_model.path / record.FILE).write_bytes(record.encode(content))
    trial.model.problem.save(pushed_model.path)
    metadata: dict[str, Any] = {
        "pushed": True,
        "chosen": chosen.name,
        "reason": content["reason"],
        "model_bytes": len(chosen.content),
        "latency_us": chosen.latency_us,
        trial.sample.metric: chosen.quality,
        **{key: content[key] for key in ("version", "pushed_destination") if key in content},
    }
    pushed_model.metadata |= metadata


def _names(candidates: list[Any]) -> list[str]:
    """Returns the candidates to try, the most precise first."""
    for name in candidates:
        if not isinstance(name, str) or name not in MEANING:
            hint = nearest(name, MEANING) if isinstance(name, str) else ""
            raise ParameterError(
                f"candidates: there is no {json.dumps(name)}.{hint} There are {', '.join(MEANING)}."
            )
    if not candidates:
        raise ParameterError(f"candidates: allow one at least of {', '.join(MEANING)}.")
    return [name for name in MEANING if name in candidates]
