# SPDX-License-Identifier: Apache-2.0
"""Those rules of HACKING.rst that no linter holds."""

import ast
import os
import pathlib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = "# SPDX-License-Identifier: Apache-2.0"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
BUILT = {"build", "dist"}
UNSAFE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "yaml", "code"}
UNSAFE_METHODS = {"recv_pyobj", "send_pyobj", "import_module", "import_object", "import_class"}


def sources() -> Iterator[tuple[str, str]]:
    """The name and the text of every Python file of the checkout."""
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [
            name for name in subfolders if not name.startswith(".") and name not in BUILT
        ]
        for path in (pathlib.Path(folder, name) for name in names if name.endswith(".py")):
            yield str(path.relative_to(ROOT)), path.read_text()


def test_every_file_begins_with_the_licence_header() -> None:
    bare = [name for name, text in sources() if text.partition("\n")[0] != HEADER]
    assert bare == []


def test_every_file_is_short() -> None:
    lengths = {name: len(text.splitlines()) for name, text in sources()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_every_function_is_short() -> None:
    long = {}
    for name, text in sources():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long[f"{name}:{node.lineno} {node.name}"] = lines
    assert long == {}


def test_nothing_that_comes_in_is_run() -> None:
    """What a peer, a file or a database holds is data: nothing unpickles or evaluates it."""
    found = set()
    for name, text in sources():
        if name.startswith("nova_edge_bus/"):
            for node in ast.walk(ast.parse(text)):
                found.update((name, each) for each in _running(node))
    # Both name modules of this package or of Python, and nothing that came from elsewhere.
    assert found == {
        ("nova_edge_bus/concurrency.py", "__import__"),
        ("nova_edge_bus/cli/main.py", "import_module"),
    }


def _running(node: ast.AST) -> Iterator[str]:
    """What of this could turn data into code."""
    if isinstance(node, ast.Import):
        yield from (each.name for each in node.names if each.name.split(".")[0] in UNSAFE)
    elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE:
        yield str(node.module)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in ("eval", "exec", "compile", "__import__"):
            yield node.func.id
    elif isinstance(node, ast.Attribute) and node.attr in UNSAFE_METHODS:
        yield node.attr


def test_the_concurrency_seam_alone_looks_for_eventlet() -> None:
    lookers = set()
    for name, text in sources():
        if name.startswith("nova_edge_bus/"):
            for node in ast.walk(ast.parse(text)):
                value = node.value if isinstance(node, ast.Constant) else None
                if isinstance(value, str) and value.partition(".")[0] == "eventlet":
                    lookers.add(name)
    assert lookers <= {"nova_edge_bus/concurrency.py"}
