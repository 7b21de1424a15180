"""The names and tags of the steps' container images."""

from __future__ import annotations

import enum

from millrace.version import __version__

PREFIX = "millrace"
COMMAND = ("python", "-m", "millrace.entrypoint")


class Image(str, enum.Enum):
    """The images, each a target of docker/Dockerfile."""

    CORE = "core"  # no TensorFlow
    DATA = "data"  # TFDV and TFT
    TRAIN = "train"  # Keras, TFT and the TFLite tools


def name(image: Image, prefix: str = PREFIX, tag: str = __version__) -> str:
    """Returns the full name of an image, such as `millrace-core:0.1.0`."""
    return f"{prefix}-{image.value}:{tag}"
