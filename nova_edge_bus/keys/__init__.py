# SPDX-License-Identifier: Apache-2.0
"""Key pairs, and who they belong to: plain files that a configuration management can lay down."""
