# SPDX-License-Identifier: Apache-2.0
"""Random input for everything that reads what a peer or an endpoint sends.

``python -m tests.fuzz --inputs N --seed S`` runs it for long; ``make test`` runs a little of it.
"""
