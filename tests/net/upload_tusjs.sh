#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tus as tus-js-client speaks it: see upload_tusjs.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
command -v node >/dev/null || { echo "skip: node is not installed"; exit 77; }
here=$(cd "$(dirname "$0")" && pwd)
UPLOAD_NPM=$("$here/../npm/install") || exit 77
export UPLOAD_NPM
exec python3 "$here/upload_tusjs.py"
