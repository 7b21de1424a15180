"""The types of artifacts, and the annotations of a step's inputs and outputs.

An executor annotates `run(examples: Input[Examples], schema: Output[Schema])` with these classes;
its `component.py` uses KFP's classes of the same names from `millrace.dsl`. This
module imports no library, so an image needs neither kfp nor ml_metadata to run a step.

The titles are in KFP's `system` namespace because kfp's compiler rejects any but `system` and
`google`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from millrace.storage import paths

INPUT, OUTPUT = "input", "output"

_T = TypeVar("_T")
Input = Annotated[_T, INPUT]
Output = Annotated[_T, OUTPUT]

# Where KFP's launcher places remote objects before a step starts.
_MOUNTS = {
    "gs://": "/gcs/",
    "s3://": "/s3/",
    "minio://": "/minio/",
    "oci://": "/oci/",
    "file://": "/",
}


class Artifact:
    """A file or folder that a step read or wrote, with metadata that lineage keeps.

    Attributes:
        name: The artifact's name in the backend's store.
        uri: Its permanent address, which a step never changes.
        metadata: Numbers, strings, booleans, and lists or objects of them. None is dropped.
    """

    schema_title: ClassVar[str] = "system.Artifact"
    schema_version: ClassVar[str] = "0.0.1"

    def __init__(self, uri: str, name: str = "", metadata: dict[str, Any] | None = None) -> None:
        self.uri = uri
        self.name = name
        self.metadata: dict[str, Any] = dict(metadata or {})

    @property
    def path(self) -> Path:
        """The artifact on this machine: inputs are downloaded to it, outputs uploaded from it."""
        uri = paths.local(self.uri)
        for scheme, mount in _MOUNTS.items():
            if uri.startswith(scheme):
                return Path(mount + uri[len(scheme) :].lstrip("/"))
        return Path(uri)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"


class Dataset(Artifact):
    """An external table or folder of files."""

    schema_title = "system.Dataset"


class Examples(Artifact):
    """Rows in splits: `Split-<name>/data-NNNNN-of-NNNNN.parquet`."""

    schema_title = "system.Examples"


class Statistics(Artifact):
    """TFDV's statistics of each split: `Split-<name>/FeatureStats.pb`."""

    schema_title = "system.Statistics"


class Schema(Artifact):
    """TensorFlow Metadata's schema of the raw features: `schema.pbtxt`."""

    schema_title = "system.Schema"


class Anomalies(Artifact):
    """TFDV's anomalies of each split against the schema: `Split-<name>/SchemaDiff.pb`."""

    schema_title = "system.Anomalies"


class TransformGraph(Artifact):
    """TFT's output folder, which `tft.TFTransformOutput` loads, with `problem.json` beside it."""

    schema_title = "system.TransformGraph"


class Model(Artifact):
    """A SavedModel that takes raw features, with `assets.extra/problem.json`."""

    schema_title = "system.Model"


class Evaluation(Artifact):
    """Metrics, overall and by slice: `metrics.json`."""

    schema_title = "system.Evaluation"


class Blessing(Artifact):
    """Whether a model may be pushed, and why: `blessing.json`."""

    schema_title = "system.Blessing"


class PushedModel(Artifact):
    """The pushed model, with every candidate that was measured: `push.json`."""

    schema_title = "system.PushedModel"


class Metrics(Artifact):
    """Numbers that the KFP UI shows and compares between runs; they are the artifact's metadata."""

    schema_title = "system.Metrics"


class ClassificationMetrics(Artifact):
    """A confusion matrix and a ROC curve for the KFP UI; they are the artifact's metadata."""

    schema_title = "system.ClassificationMetrics"


class HTML(Artifact):
    """One self-contained page."""

    schema_title = "system.HTML"


class Markdown(Artifact):
    """One Markdown page."""

    schema_title = "system.Markdown"


TYPES: dict[str, type[Artifact]] = {
    kind.schema_title: kind
    for kind in (
        Artifact,
        Dataset,
        Examples,
        Statistics,
        Schema,
        Anomalies,
        TransformGraph,
        Model,
        Evaluation,
        Blessing,
        PushedModel,
        Metrics,
        ClassificationMetrics,
        HTML,
        Markdown,
    )
}
