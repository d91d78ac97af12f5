# SPDX-License-Identifier: Apache-2.0
"""Addresses among the arguments of commands."""

import argparse

from nova_edge_bus import listening


def listen(text: str) -> listening.Address:
    """Take an address to listen on, see :func:`nova_edge_bus.listening.parse`.

    :raises argparse.ArgumentTypeError: when *text* is something else; it says what is wrong
    """
    try:
        return listening.parse(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
