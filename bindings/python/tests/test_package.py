"""The package: type stubs, and the examples of the documentation."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import LIMIT

import tablecast

README = Path(__file__).parents[1] / "README.md"


def test_stubs_agree_with_the_package():
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy.stubtest", "tablecast", "--ignore-disjoint-bases"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=5 * LIMIT)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_everything_has_a_docstring():
    for name, value in vars(tablecast).items():
        if name.startswith("_") or type(value) is type(sys):
            continue
        assert value.__doc__, name
        for member, function in vars(value).items() if isinstance(value, type) else ():
            if not member.startswith("_"):
                assert function.__doc__, f"{name}.{member}"


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", README.read_text(), re.S))
def test_example_of_the_readme_runs(example, name):
    # Each test has its own table.
    exec(compile(example.replace('"prices"', f'"{name}"'), str(README), "exec"), {})
