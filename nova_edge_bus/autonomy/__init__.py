# SPDX-License-Identifier: Apache-2.0
"""What lets a process go on while its centre cannot be reached."""
