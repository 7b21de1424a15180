"""Reports of a run for people and machines: its page, its logs, JUnit XML."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from millrace.report import run_page
from millrace.report.run_page import TaskRow
from millrace.runner import junit
from millrace.runner.result import RunResult, State, TaskResult


@pytest.fixture(scope="module")
def pipeline(kit):
    dsl = kit.dsl

    def shown(do: str = ""):
        first = kit.play(text="<b>first</b>")
        with dsl.ParallelFor(["a", "b"]) as item:
            kit.play(text=item).after(first)
        kit.play(do=do, data=first.outputs["out"]).set_display_name("The last")

    return kit.compile(shown)


def test_the_page_of_a_run(millrace, pipeline, tmp_path):
    millrace("run", pipeline, "-p", "do=fail <script>", cwd=tmp_path, check=False)
    where = millrace("run", "report", "latest", cwd=tmp_path).stdout.strip()
    text = Path(where.removeprefix("file://")).read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "The last" in text
    assert 'title="for-loop-2[1]/play-2">[1] play-2<' in text
    assert "<path d=" in text  # lines of the graph
    assert "http" not in text  # nothing is loaded
    other = millrace("run", "report", "latest", "-o", "sub/page.html", cwd=tmp_path).stdout
    assert other.strip().endswith("sub/page.html")
    links = re.findall(r'<a href="([^#"]*)">log</a>', text)
    assert len(links) == 4
    assert all((Path(where.removeprefix("file://")).parent / link).is_file() for link in links)
    wrong = millrace("run", "report", "latest", "-o", "/dev/null/x", cwd=tmp_path, check=False)
    assert wrong.stderr.startswith("error: Cannot write /dev/null/x")


def test_the_page_of_a_large_run_is_cut():
    rows = [TaskRow(f"t{n}", f"loop[{n}]/t", "COMPLETE", n * 1.0, 1.0) for n in range(1000)]
    text = run_page.page("r", "p", "COMPLETE", None, 3.0, [], rows)
    assert "600 more tasks are not shown" in text
    assert len(text) < 1 << 20


def test_the_graph_joins_what_conditions_are_between(kit, millrace, tmp_path):
    dsl = kit.dsl

    def conditional(do: str = "fail so"):
        first = kit.play(text="x").set_display_name("First")
        with dsl.If(first.outputs["said"] == "x"):
            second = kit.play(do=do).set_display_name("Second")
            kit.play().after(second).set_display_name("Third")
        with dsl.Else():
            kit.play().set_display_name("Other")

    millrace("run", kit.compile(conditional), cwd=tmp_path, check=False)
    millrace("run", "report", "latest", "-o", "page.html", cwd=tmp_path)
    text = (tmp_path / "page.html").read_text()
    graph = text[text.index("<svg") : text.index("</svg>")]
    assert graph.count("<path d=") == 3  # to Second, to Third by way of it, to Other
    words = re.findall(r"<title>(\w+) \(\S*\): ([a-z ]+)", graph)
    assert dict(words) == {
        "First": "complete",
        "Second": "failed",
        "Third": "not run",
        "Other": "not run",
    }
    for number in re.findall('href="#(task-\\d+)"', graph):
        assert f'<tr id="{number}">' in text


def test_a_long_chain_is_drawn():
    rows = [
        TaskRow(f"t{n}", f"t{n}", "COMPLETE", n, 1.0, depends=tuple(f"t{i}" for i in range(n)[-3:]))
        for n in range(1200)
    ]
    text = run_page.page("r", "p", "COMPLETE", None, None, [], rows)
    assert text.count("<path d=") == 1199


def test_a_graph_that_has_a_cycle_is_drawn():
    rows = [
        TaskRow("a", "a", "COMPLETE", 0.0, 1.0, depends=("b",)),
        TaskRow("b", "b", "COMPLETE", 0.0, 1.0, depends=("a", "gone")),
    ]
    assert "<svg" in run_page.page("r", "p", "COMPLETE", None, None, [], rows)


def test_the_log_of_a_task(millrace, pipeline, tmp_path):
    millrace("run", pipeline, cwd=tmp_path)
    assert "played <b>first</b>" in millrace("logs", "latest", "play", cwd=tmp_path).stdout
    found = millrace("logs", "latest", "for-loop-2[1]/play-2", "-f", cwd=tmp_path).stdout
    assert "played b" in found
    wrong = millrace("logs", "latest", "ply", cwd=tmp_path, check=False)
    assert 'The task "ply"' in wrong.stderr
    assert 'Did you mean "play"?' in wrong.stderr


def test_a_log_is_followed_until_the_run_ends(kit, fifo, root):
    def blocking(fifo: str):
        kit.play(do=f"block {fifo}")

    program = (
        "import sys; from millrace.runner.run import run; "
        "run(sys.argv[1], {'fifo': sys.argv[2]}, root=sys.argv[3])"
    )
    path = kit.compile(blocking)
    runner = subprocess.Popen([sys.executable, "-c", program, path, fifo.path, root])
    fifo.hear()
    command = [str(Path(sys.executable).with_name("millrace")), "logs", "latest", "play", "-f"]
    follower = subprocess.Popen([*command, "--root", root], stdout=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        follower.wait(1)
    runner.terminate()
    runner.wait(30)
    assert follower.wait(30) == 0


def test_junit_xml_has_a_case_for_each_task(millrace, pipeline, tmp_path):
    options = ("-p", "do=fail <because>", "--junit", "result.xml")
    millrace("run", pipeline, *options, cwd=tmp_path, check=False)
    suite = ElementTree.parse(tmp_path / "result.xml").getroot()[0]
    assert suite.attrib["tests"] == "4"
    assert suite.attrib["failures"] == "1"
    cases = {case.attrib["name"]: case for case in suite}
    (failure,) = [case.find("failure") for case in suite if case.find("failure") is not None]
    assert failure.attrib["message"] == "<because>"
    assert sum(name.startswith("for-loop-2[") for name in cases) == 2


def test_junit_xml_takes_any_error(tmp_path):
    task = TaskResult("t", "T", State.FAILED, error="bad \x00\x1b[31m & <x>")
    result = RunResult("r", "p", tmp_path, "s", {}, {"t": task})
    suite = ElementTree.fromstring(junit.document(result))[0]
    assert suite[0][0].attrib["message"].endswith("& <x>")
