#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is kept of an upload is right: see upload_correct.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
here=$(cd "$(dirname "$0")" && pwd)
UPLOAD_NPM=$("$here/../npm/install") || exit 77
export UPLOAD_NPM
exec python3 "$here/upload_correct.py" "$@"
