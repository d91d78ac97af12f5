# SPDX-License-Identifier: Apache-2.0
"""What is generated and kept in the repository is what would be generated now."""

import pathlib

from oslo_config import generator

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_sample_configuration_is_current(tmp_path: pathlib.Path) -> None:
    fresh = tmp_path / "sample"
    configuration = ROOT / "etc" / "config-generator.conf"
    generator.main(["--config-file", str(configuration), "--output-file", str(fresh)])
    kept = ROOT / "etc" / "edge-bus.conf.sample"
    assert kept.read_text() == fresh.read_text(), "run 'make sample'"
