#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The CSV reader gives the rows that Python's csv module gives, on 10,000 generated odd files.
cd "${WEIR_TOP:-$(dirname "$0")/../..}" || exit 1
[ -x build/net/upload_rows ] || { echo "1..0 # SKIP build/net/upload_rows is not built"; exit 77; }
exec python3 tests/net/upload_csv.py build/net/upload_rows
