# SPDX-License-Identifier: Apache-2.0
"""The REST guard: a local reverse proxy that says at once when a service is out of reach.

nova-compute's ``endpoint_override`` points to it, one guard for each service. While the service
answers, everything passes through. While it does not, version discovery is answered from what the
service once said, and all else with 503.

The package stands alone: nothing but the command line imports it, so that no HTTP server is ever
loaded into nova-compute.
"""
