#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every route of the gateway and the endpoint, asked by everybody: see rights_matrix.py.
exec python3 "$(dirname "$0")/rights_matrix.py"
