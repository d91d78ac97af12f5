# SPDX-License-Identifier: Apache-2.0
"""Entry for tools that still look for setup.py; pyproject.toml says everything."""

import setuptools

setuptools.setup()
