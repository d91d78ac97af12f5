# SPDX-License-Identifier: Apache-2.0
"""How sphinx builds the documentation."""

import pathlib
import sys

import nova_edge_bus

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "_ext"))
# Release notes are read out of the history, which a source archive does not have.
HAS_HISTORY = (ROOT / ".git").exists()

project = "nova-edge-bus"
author = "the nova-edge-bus developers"
project_copyright = author
version = release = nova_edge_bus.__version__
html_title = f"{project} {version}"

extensions = [
    "oslo_config.sphinxext",
    "command_reference",
    "contracts_table",
    *(["reno.sphinxext"] if HAS_HISTORY else []),
]
exclude_patterns = [] if HAS_HISTORY else ["release-notes.rst"]
html_theme = "furo"
man_pages = [("commands", "nova-edge-bus", "serve, inspect and mend the bus", [author], 8)]
# A reference that leads nowhere is a warning, hence an error.
nitpicky = True
