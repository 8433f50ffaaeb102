#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sessions of viewers, the tracker's socket, instructions and reports at a real gateway: see peers_session.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/peers_session.py"
