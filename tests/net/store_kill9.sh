#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A short run of the crash test: six kills (fifty in tests/nightly/store_kill9).
ROUNDS=6 exec "$(dirname "$0")/../nightly/store_kill9"
