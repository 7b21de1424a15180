"""Placeholders, compared with kfp's own local runner."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.ir import placeholders

MESSAGE = {
    "inputs": {
        "parameterValues": {
            "text": "some text",
            "number": 3,
            "ratio": 0.5,
            "flag": True,
            "items": [1, "a"],
            "options": {"a": {"b": 1}},
            "empty": "",
            "it's": "quoted",
        },
        "artifacts": {
            "data": {
                "artifacts": [
                    {
                        "name": "data",
                        "uri": "/root/run/task/data",
                        "metadata": {"rows": 5, "name": "n"},
                        "type": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
                    }
                ]
            }
        },
    },
    "outputs": {
        "parameters": {"said": {"outputFile": "/root/run/task/said"}},
        "artifacts": {
            "out": {"artifacts": [{"name": "out", "uri": "/root/run/task/out", "metadata": {}}]}
        },
        "outputFile": "/root/run/task/output.json",
    },
}
CONTEXT = {
    "pipeline_job_name": "job",
    "pipeline_job_uuid": "id",
    "pipeline_task_name": "task",
    "pipeline_task_uuid": "uuid",
    "pipeline_root": "/root",
}


def ours(*parts):
    given = MESSAGE["inputs"]["parameterValues"].keys() | MESSAGE["inputs"]["artifacts"].keys()
    return placeholders.command(parts, MESSAGE, CONTEXT, given)


SAME = [
    "{{$}}",
    "plain",
    "--x={{$.inputs.parameters['text']}}",
    "{{$.inputs.parameters['number']}}",
    "{{$.inputs.parameters['ratio']}}",
    "{{$.inputs.parameters['flag']}}",
    "{{$.inputs.parameters['items']}}",
    "{{$.inputs.parameters['options']}}",
    "{{$.inputs.parameters['empty']}}",
    "{{$.inputs.parameters['text']}}-{{$.inputs.parameters['number']}}",
    "{{$.inputs.artifacts['data'].uri}}",
    "{{$.inputs.artifacts['data'].path}}",
    "{{$.inputs.artifacts['data'].name}}",
    "{{$.inputs.artifacts['data'].metadata}}",
    "{{$.inputs.artifacts['data'].metadata['rows']}}",
    "{{$.inputs.artifacts['data'].metadata['name']}}",
    "{{$.outputs.artifacts['out'].uri}}",
    "{{$.outputs.artifacts['out'].path}}",
    "{{$.outputs.parameters['said'].output_file}}",
    "{{$.outputs.output_file}}",
    "{{$.outputMetadataUri}}",
    "{{$.pipeline_job_name}}",
    "{{$.pipeline_job_uuid}}",
    "{{$.pipeline_task_name}}",
    "{{$.pipeline_root}}",
    '{"Concat": ["--x=", "{{$.inputs.parameters[\'text\']}}"]}',
    '{"Concat": ["a", {"IfPresent": {"InputName": "text", "Then": "b", "Else": "c"}}]}',
    '{"IfPresent": {"InputName": "text", "Then": ["--t", "{{$.inputs.parameters[\'text\']}}"]}}',
    '{"IfPresent": {"InputName": "gone", "Then": ["--t"], "Else": ["--none", "x"]}}',
    '{"IfPresent": {"InputName": "gone", "Then": ["--t"]}}',
    '{"IfPresent": {"InputName": "data", "Then": {"Concat": ["a", "b"]}}}',
]

JSON = {
    "{{$.inputs.parameters['items']}}",
    "{{$.inputs.parameters['options']}}",
    "{{$.inputs.artifacts['data'].metadata}}",
}


@pytest.mark.parametrize("part", SAME)
def test_as_kfps_local_runner(part):
    from kfp.local import placeholder_utils

    theirs = placeholder_utils.replace_placeholders(
        [part],
        json.loads(json.dumps(MESSAGE)),
        pipeline_resource_name="job",
        task_resource_name="task",
        pipeline_root="/root",
        unique_pipeline_id="id",
    )
    if part in JSON:  # we write it as KFP's backend does: compact, with sorted keys
        assert json.loads(ours(part)[0]) == json.loads(theirs[0])
    else:
        assert ours(part) == theirs


def test_json_in_a_command_is_compact_and_sorted():
    assert ours("{{$.inputs.artifacts['data'].metadata}}") == ['{"name":"n","rows":5}']


def test_the_message_is_json():
    (text,) = ours("{{$}}")
    assert json.loads(text) == MESSAGE


def test_what_is_no_placeholder_stays():
    for text in ("{{x}}", "${HOME}", "{{ $ }}", "$.inputs", "{{$", '{"Other": [1]}'):
        assert ours(text) == [text]


@pytest.mark.parametrize(
    "text",
    [
        "{{$.inputs.parameters['gone']}}",
        "{{$.inputs.artifacts['gone'].uri}}",
        "{{$.inputs.artifacts['data'].size}}",
        "{{$.outputs.parameters['gone'].output_file}}",
        "{{$.workspace_path}}",
        "{{$.json_escape[1]}}",
    ],
)
def test_unknown_ones_stay_as_kfps_launcher_leaves_them(text):
    assert ours(f"<{text}>") == [f"<{text}>"]


def test_a_default_of_the_component_is_not_present():
    part = '{"IfPresent": {"InputName": "text", "Then": ["given"], "Else": ["not"]}}'
    assert placeholders.command([part], MESSAGE, CONTEXT, {"number"}) == ["not"]
    assert placeholders.command([part], MESSAGE, CONTEXT, {"text"}) == ["given"]


def test_within_json():
    value = {"{{$.pipeline_job_name}}": ["{{$.inputs.parameters['text']}}!", 1, None, True]}
    assert placeholders.fill_value(value, MESSAGE, CONTEXT) == {
        "job": ["some text!", 1, None, True]
    }


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_comes_through(value):
    message = {"inputs": {"parameterValues": {"x": value}}, "outputs": {}}
    text = placeholders.fill("<{{$.inputs.parameters['x']}}>", message, {})
    assert text == f"<{value}>"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("{{$}}", True),
        ("--data={{$.inputs.artifacts['data'].path}}", True),
        ('{"Concat": ["a", "{{$.inputs.artifacts[\'data\'].path}}"]}', True),
        ("{{$.inputs.artifacts['data'].uri}}", False),
        ("{{$.inputs.artifacts['other'].path}}", False),
        ("{{$.inputs.parameters['data']}}", False),
    ],
)
def test_whether_a_path_is_given(part, expected):
    assert placeholders.gives_path(["sh", part], "data") is expected
