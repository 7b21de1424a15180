"""Records a push in push.json and on a page: what was pushed, or why nothing was."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from millrace.components.pusher.candidates import Candidate
from millrace.components.pusher.policy import FASTEST, Policy
from millrace.components.pusher.quantize import MEANING
from millrace.components.pusher.sample import Sample
from millrace.ml.blessing import Decision
from millrace.ml.bounds import by_metric
from millrace.ml.exported import ExportedModel
from millrace.ml.metrics import METRICS
from millrace.report import numbers, page
from millrace.storage import digest

FILE = "push.json"
_TOOLS = ("tensorflow", "ai-edge-litert", "ai-edge-quantizer")
_MISSING = {"float32": "NaN", "int64": -(2**63), "string": ""}


@dataclasses.dataclass(frozen=True)
class Trial:
    """All candidates of a model, and how one of them is picked.

    Attributes:
        model: The model.
        split: The split whose rows the candidates were measured on.
        sample: Those rows.
        policy: How a candidate is picked.
        candidates: All that were tried.
    """

    model: ExportedModel
    split: str
    sample: Sample
    policy: Policy
    candidates: list[Candidate]

    def as_json(self) -> dict[str, Any]:
        """Returns the content of push.json, equal for equal models, rows and tools.

        Latencies differ from run to run, and are written only if they decided.
        """
        return {
            "policy": {
                **dataclasses.asdict(self.policy),
                "bounds": by_metric(self.policy.bounds),
            },
            "metric": self.sample.metric,
            "saved_model": {
                "digest": digest.of(self.model.folder).hexdigest,
                self.sample.metric: self.sample.quality,
            },
            "measured_on": {"split": self.split, "rows": len(self.sample.labels)},
            "candidates": [self._candidate(each) for each in self.candidates],
            "problem": dataclasses.asdict(self.model.problem),
            "tools": {name: importlib.metadata.version(name) for name in _TOOLS},
        }

    def _candidate(self, each: Candidate) -> dict[str, Any]:
        fields = {"name": each.name, "meaning": MEANING[each.name]}
        if each.failure:
            return {**fields, "failure": each.failure}
        decided = {"latency_us": each.latency_us} if self.policy.name == FASTEST else {}
        return {
            **fields,
            "objection": self.policy.objection(each),
            "sha256": hashlib.sha256(each.content).hexdigest(),
            "bytes": len(each.content),
            self.sample.metric: each.quality,
            "loss": each.loss,
            "largest_difference": each.difference,
            **decided,
        }

    def metrics(self, chosen: Candidate) -> dict[str, float]:
        """Returns the numbers of a candidate."""
        return {
            self.sample.metric: chosen.quality,
            f"{self.sample.metric}_of_saved_model": self.sample.quality,
            "loss": chosen.loss,
            "largest_difference": chosen.difference,
            "bytes": len(chosen.content),
            "latency_us": chosen.latency_us,
            "latency_p95_us": chosen.latency_p95_us,
            "rows_per_second": chosen.rows_per_second,
        }


def inputs(model: ExportedModel, chosen: Candidate) -> dict[str, Any]:
    """Returns the inputs of a file by raw column, and the value that means missing."""
    return {
        column: {
            "name": feature.input,
            "dtype": feature.dtype,
            **({} if feature.required else {"missing": _MISSING[feature.dtype]}),
        }
        for column, feature in model.spec.items()
        if feature.input in chosen.inputs
    }


def encode(content: dict[str, Any]) -> bytes:
    """Returns push.json."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def render(
    trial: Trial | None,
    chosen: Candidate | None,
    reason: str,
    decision: Decision | None,
    where: str,
) -> str:
    """Returns the page.

    Args:
        trial: The candidates, if any were made.
        chosen: The one that was pushed.
        reason: Why it was, or why nothing was.
        decision: The Evaluator's, if one was given.
        where: The version at the destination.
    """
    return page.render(
        Path(__file__).with_name("report.html.j2"),
        trial=trial,
        chosen=chosen,
        reason=reason,
        decision=decision,
        where=where,
        meaning=MEANING,
        **(_charts(trial) if trial else {}),
    )


def _charts(trial: Trial) -> dict[str, Any]:
    """Returns the data of the page's charts: rows of name, value and text, and points."""
    made = [each for each in trial.candidates if not each.failure]
    metric = METRICS[trial.model.problem.kind][trial.sample.metric]
    quality, limit = trial.sample.quality, trial.policy.max_metric_loss
    return {
        "metric": metric,
        "made": made,
        "sizes": {each.name: len(each.content) for each in made},
        "size_bars": [
            (each.name, len(each.content), numbers.size(len(each.content))) for each in made
        ],
        "loss_bars": [(each.name, each.loss, f"{each.loss:.2g}") for each in made],
        "predicted": "prediction" if metric.better < 0 else "probability",
        "differed": [(each.name, each.difference, f"{each.difference:.2g}") for each in made],
        "timed": [(each.name, each.latency_us, f"{each.latency_us:.3g} µs") for each in made],
        # Sorted by size: names are put left and right of their points in turn.
        "points": sorted(
            ((each.name, len(each.content), each.quality) for each in made),
            key=lambda point: point[1],
        ),
        "floor": quality - limit if metric.better > 0 else quality * (1 + limit),
    }
