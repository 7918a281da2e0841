"""Python processes of our own, whatever lies in the folder that a user calls from."""

from __future__ import annotations

import sys
from pathlib import Path

import edge_ser

__all__ = ["code_command", "last_line", "module_command"]

# Python puts the working folder first on the import path of ``-c`` and ``-m``: a random.py there
# would run in place of Python's. What forbids it (-P) came with 3.11, and -I would forbid
# PYTHONPATH as well. Only ``sys`` may be imported before this, it is part of the interpreter.
# A checkout is importable only from its own folder, so the child is told where we are.
_ELSEWHERE = """
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
if {here!r} not in sys.path:
    sys.path.insert(0, {here!r})
"""
_MODULE = "import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"


def code_command(code: str, *arguments: str) -> list[str]:
    """The command that runs ``code`` in a new process that imports this very edge_ser."""
    here = str(Path(edge_ser.__file__).resolve().parent.parent)
    return [sys.executable, "-c", _ELSEWHERE.format(here=here) + code, *arguments]


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs ``module`` of edge_ser as ``python -m`` would."""
    return code_command(_MODULE.format(module=module), *arguments)


def last_line(output: str) -> str:
    """The answer of a child that says one line; before it a ``sitecustomize`` may have spoken."""
    return (output.strip().splitlines() or [""])[-1]
