"""The README's first example runs and prints what stands there."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_first_example_prints_its_output() -> None:
    code, output = re.findall(
        r"^```(?:python|text)\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )[:2]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(README), "exec"), {})
    assert printed.getvalue() == output
