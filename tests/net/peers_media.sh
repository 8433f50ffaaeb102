#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A film becomes an asset, is served as players want it, and its playlists outlive its endpoints: see peers_media.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/peers_media.py"
