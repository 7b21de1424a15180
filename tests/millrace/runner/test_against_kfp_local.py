"""The same pipelines in kfp's own local runner and in ours: every task is given the same values.

kfp.local runs Python functions, and we run containers; so one DSL function is compiled with a
component of either kind, and both say what they were given.
"""
# ruff: noqa: B006  KFP reads defaults and types from the signature

from typing import Any

import pytest


@pytest.fixture(scope="module")
def both(kit, tmp_path_factory):
    """Runs a DSL function in both, and returns the inputs of each task."""
    from kfp import dsl, local

    try:
        from kfp.local import task_dispatcher  # noqa: F401
    except (AttributeError, ImportError):
        pytest.skip("this kfp's local runner loads only with its Docker client installed")

    @dsl.component(install_kfp_package=False)
    def play(
        text: str = "",
        count: int = 0,
        ratio: float = 0.5,
        flag: bool = False,
        items: list = [],
        options: dict = {},
    ) -> dict:
        return {
            "text": text,
            "count": count,
            "ratio": ratio,
            "flag": flag,
            "items": items,
            "options": options,
        }

    def theirs(build: Any, values: dict[str, Any]) -> Any:
        local.init(
            runner=local.SubprocessRunner(use_venv=False),
            pipeline_root=str(tmp_path_factory.mktemp("kfp")),
        )
        pipeline = dsl.pipeline(name="same")(build(lambda **given: play(**given).output))
        return pipeline(**values).output

    def ours(build: Any, values: dict[str, Any]) -> Any:
        from millrace.runner.run import run

        path = kit.compile(build(lambda **given: kit.play(**given).outputs["given"]), "same")
        result = run(str(path), values, root=tmp_path_factory.mktemp("millrace"))
        assert result.state.value == "COMPLETE", result.error
        last = list(result.tasks.values())[-1]
        return last.parameters["given"]

    return lambda build, values: (ours(build, values), theirs(build, values))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"text": "a b", "count": 5, "ratio": 2.0, "flag": True},
        {"items": [1, 2.5, "x", [1], {}], "options": {"a": {"b": [1]}, "ü": "é"}},
        {"text": "", "items": [], "options": {}},
    ],
    ids=str,
)
def test_parameters(both, values):
    def build(play):
        def same(
            text: str = "x",
            count: int = 3,
            ratio: float = 0.25,
            flag: bool = False,
            items: list = [1, "a"],
            options: dict = {"k": 1},
        ) -> dict:
            return play(
                text=text, count=count, ratio=ratio, flag=flag, items=items, options=options
            )

        return same

    mine, theirs = both(build, values)
    assert mine == theirs


def test_constants_and_defaults(both):
    def build(play):
        def same() -> dict:
            return play(text="c", count=4, items=[1, [2]], options={"a": {"b": 1}})

        return same

    mine, theirs = both(build, {})
    assert mine == theirs


def test_f_strings_over_inputs_and_outputs(both):
    def build(play):
        def same(text: str = "x", count: int = 3) -> dict:
            first = play(text=text, count=count)
            return play(text=f"{text}/{count}", options=first)

        return same

    mine, theirs = both(build, {"text": "it's"})
    theirs["text"] = theirs["text"].replace("3.0", "3")  # as the backend writes it, and we do
    assert mine == theirs


def test_nested_pipelines(both):
    from kfp import dsl

    def build(play):
        @dsl.pipeline(name="inner")
        def inner(text: str, count: int = 9) -> dict:
            return play(text=f"<{text}>", count=count)

        def same(text: str = "deep") -> dict:
            return play(options=inner(text=text).output)

        return same

    mine, theirs = both(build, {})
    assert mine == theirs
