"""The reason that a log gives for a failure, in logs of real programs."""

import subprocess
import sys
import textwrap

import pytest

from millrace.backends.log_reason import reason, reason_in


@pytest.fixture
def log_of(tmp_path):
    """Runs a Python program, and returns the log of what it said."""

    def run(program: str):
        script, log = tmp_path / "program.py", tmp_path / "log.txt"
        script.write_text(textwrap.dedent(program))
        with log.open("wb") as file:
            subprocess.run([sys.executable, script], stdout=file, stderr=file, check=False)
        return log

    return run


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("raise ValueError('the number is 3')", "ValueError: the number is 3"),
        ("raise KeyError", "KeyError"),
        ("raise ValueError('first\\nsecond\\n  third')", "ValueError: first second third"),
        ("raise ValueError('')", "ValueError"),
        ("import json; json.loads('{')", None),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("x = (", "SyntaxError: '(' was never closed"),
        (
            "print('{\\n  }'); import sys; sys.exit('there is no such table')",
            "there is no such table",
        ),
        ("import sys; print('useful'); print('}'); print(' ----- '); sys.exit(3)", "useful"),
        ("import sys; sys.exit(3)", ""),
    ],
)
def test_a_program(log_of, program, expected):
    found = reason_in(log_of(program))
    if expected is None:
        assert found.startswith("json.decoder.JSONDecodeError: Expecting property name enclosed")
    else:
        assert found == expected


@pytest.mark.parametrize("link", ["", " from error", " from None"])
def test_chained_exceptions(log_of, link):
    program = f"""
        try:
            1 / 0
        except ZeroDivisionError as error:
            raise RuntimeError("no rate"){link}
    """
    assert reason_in(log_of(program)) == "RuntimeError: no rate"


def test_a_class_inside_a_function_and_notes(log_of):
    program = """
        def f():
            class Odd(Exception):
                pass
            error = Odd("five")
            if hasattr(error, "add_note"):
                error.add_note("in row 7")
            raise error
        f()
    """
    expected = "f.<locals>.Odd: five"
    assert reason_in(log_of(program)) in (expected, f"{expected} in row 7")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no exception groups")
def test_an_exception_group(log_of):
    program = "raise ExceptionGroup('two checks', [ValueError('a'), TypeError('b')])"
    assert reason_in(log_of(program)) == "ExceptionGroup: two checks (2 sub-exceptions)"


def test_what_an_ending_interpreter_ignores_is_no_reason(log_of):
    program = """
        class Fragile:
            def __del__(self):
                raise OSError("while it was removed")
        kept = Fragile()
        raise ValueError("the reason")
    """
    log = log_of(program)
    assert "while it was removed" in log.read_text()
    assert reason_in(log) == "ValueError: the reason"


def test_an_exception_in_a_thread_is_the_reason_if_there_is_no_other(log_of):
    program = """
        import sys, threading
        def f():
            raise OSError("in a thread")
        one = threading.Thread(target=f)
        one.start()
        one.join()
        {}
    """
    assert reason_in(log_of(program.format("sys.exit(1)"))) == "OSError: in a thread"
    assert reason_in(log_of(program.format("raise ValueError('it')"))) == "ValueError: it"


def test_log_lines_after_a_traceback_are_not_of_the_message(log_of):
    program = """
        import logging, sys
        logging.basicConfig(format="[KFP Executor %(asctime)s %(levelname)s]: %(message)s")
        try:
            raise ValueError("kept")
        except ValueError:
            logging.exception("it failed")
        logging.error("going on")
        sys.exit(1)
    """
    assert reason_in(log_of(program)) == "ValueError: kept"


def test_a_notebooks_cell_is_the_reason():
    text = """
Traceback (most recent call last):
  File "component.py", line 212, in kfp_run_notebook
    raise RuntimeError(f'Notebook execution failed. Error: {e}') from e
RuntimeError: Notebook execution failed. Error: An error occurred while executing this cell:
------------------
assert count < 5, 'too many'

------------------
\x1b[31m---------------------------\x1b[39m
\x1b[31mAssertionError\x1b[39m                            Traceback (most recent call last)
\x1b[32m----> \x1b[39m\x1b[32m2\x1b[39m assert count

\x1b[31mAssertionError\x1b[39m: too many

"""
    assert reason(text) == (
        "RuntimeError: Notebook execution failed. Error: An error occurred while executing "
        "this cell: AssertionError: too many"
    )


def test_a_log_without_words_or_without_a_file(tmp_path):
    assert reason_in(tmp_path / "none") == ""
    assert reason("") == ""
    assert reason("}\n]\n") == ""


def test_a_reason_is_one_line_of_limited_length(log_of):
    found = reason_in(log_of("raise ValueError('a' * 100_000)"))
    assert len(found) == 2000
    assert found.startswith("ValueError: aaa")


def test_the_end_of_a_large_log_is_enough(tmp_path):
    log = tmp_path / "log.txt"
    log.write_bytes(b"\xff\xfe row\n" * 2_000_000 + b"OSError: none\nTraceback (most recent")
    assert reason_in(log) == "Traceback (most recent"
