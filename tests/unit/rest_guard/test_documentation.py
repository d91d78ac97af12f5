# SPDX-License-Identifier: Apache-2.0
"""The page of the REST guard tells of every option, with the defaults that it has."""

from __future__ import annotations

import argparse
import pathlib

import pytest

from nova_edge_bus.cli import rest_guard
from nova_edge_bus.rest_guard import settings

PAGE = (pathlib.Path(__file__).parents[3] / "doc" / "source" / "rest-guard.rst").read_text()


def options() -> list[str]:
    parser = argparse.ArgumentParser()
    rest_guard.register(parser.add_subparsers())
    (subparsers,) = (each for each in parser._actions if isinstance(each.choices, dict))
    assert subparsers.choices is not None
    command = dict(subparsers.choices)["rest-guard"]
    return [name for action in command._actions for name in action.option_strings]


@pytest.mark.parametrize("option", sorted({*options()} - {"-h", "--help"}))
def test_every_option_is_told_of(option: str) -> None:
    assert f"``{option}``" in PAGE or f"``{option} " in PAGE


def test_the_times_are_those_of_the_page() -> None:
    *first, last = (f"{value:g}" for value in vars(settings.Settings()).values())
    assert f"Seconds; {', '.join(first)} and {last}." in PAGE
