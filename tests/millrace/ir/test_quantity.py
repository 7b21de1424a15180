"""Kubernetes' quantities, protobuf's durations, KFP's selectors, and the machine's resources."""

import pytest

from millrace.errors import ParameterError, PipelineError
from millrace.ir.quantity import cpus, duration, memory
from millrace.ir.selector import Selector
from millrace.ir.spec import Resources
from millrace.runner.resources import ResourcePool, machine_cores, machine_memory


@pytest.mark.parametrize(("text", "cores"), [("500m", 0.5), ("2", 2), (2.0, 2), ("1.5", 1.5)])
def test_cores(text, cores):
    assert cpus(text) == cores


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2Gi", 2 * 2**30),
        ("500M", 500_000_000),
        ("64Ki", 65536),
        ("1000", 1000),
        ("1e9", 10**9),
        (1.5, 1_500_000_000),
        (0, 0),
    ],
)
def test_bytes(text, size):
    assert memory(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("10s", 10), ("1.5s", 1.5), ("0s", 0)])
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2 Gi", "-1", "Gi", "1GB", "1,5"])
def test_no_quantity(text):
    with pytest.raises(PipelineError, match="is not a quantity"):
        cpus(text)


@pytest.mark.parametrize("text", ["", "10", "10m", "-1s"])
def test_no_duration(text):
    with pytest.raises(PipelineError, match="is not a duration"):
        duration(text)


class TestSelectors:
    @pytest.mark.parametrize(
        ("text", "value", "part"),
        [
            ("parseJson(string_value)", '{"a": 1}', {"a": 1}),
            ('parseJson(string_value)["a"]', '{"a": 1}', 1),
            ('parseJson(string_value)["a"]["b"]', {"a": {"b": [1]}}, [1]),
            ("parseJson(string_value)['a'][1]", {"a": [1, "x"]}, "x"),
        ],
    )
    def test_select(self, text, value, part):
        assert Selector.parse(text).select(value) == part

    @pytest.mark.parametrize("text", ["", "string_value.a", 'parseJson(string_value)["a', "1"])
    def test_refused(self, text):
        with pytest.raises(PipelineError, match=r"the selector .* is not supported"):
            Selector.parse(text)

    @pytest.mark.parametrize("value", ["not json", "{}", '{"a": 1}', "[1]", 5, None])
    def test_no_such_part(self, value):
        with pytest.raises(ParameterError, match="has no part parseJson"):
            Selector.parse('parseJson(string_value)["b"]').select(value)


class TestResourcePool:
    def test_cores_are_shared(self):
        pool = ResourcePool(cores=2, memory=10)
        assert pool.take(Resources(cpu_request=1))
        assert pool.take(Resources(cpu_request=0.5))
        assert not pool.take(Resources(cpu_request=1))
        pool.give_back(Resources(cpu_request=0.5))
        assert pool.take(Resources())  # which asks for one

    def test_memory_is_shared(self):
        pool = ResourcePool(cores=8, memory=10)
        assert pool.take(Resources(cpu_request=1, memory_request=6))
        assert not pool.take(Resources(cpu_request=1, memory_request=6))
        assert pool.take(Resources(cpu_request=1, memory_limit=4))

    def test_what_asks_for_too_much_runs_alone(self):
        pool = ResourcePool(cores=2, memory=10)
        giant = Resources(cpu_request=64, memory_request=1000)
        assert pool.take(giant)
        assert not pool.take(Resources(cpu_request=0.1))
        pool.give_back(giant)
        assert pool.take(Resources(cpu_request=0.1))

    def test_of_this_machine(self):
        assert machine_cores() > 0
        assert machine_memory() > 1e8

    def test_within_a_container(self, tmp_path, monkeypatch):
        monkeypatch.setattr("millrace.runner.resources._CGROUP", tmp_path)
        (tmp_path / "cpu.max").write_text("50000 100000\n")
        (tmp_path / "memory.max").write_text("1000000\n")
        assert (machine_cores(), machine_memory()) == (0.5, 1_000_000)
        (tmp_path / "cpu.max").write_text("max 100000\n")
        (tmp_path / "memory.max").write_text("max\n")
        assert machine_cores() >= 1
        assert machine_memory() > 1e8
