#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The simulator says the same for the same seed, refuses what makes no sense, and with 1,000 viewers of a film what is
# promised of an outage holds, which client and server alone do not.
cd "${WEIR_TOP:-$(dirname "$0")/../..}" || exit 1
gateway=${BUILD:-build}/bin/weir-gateway
[ -x "$gateway" ] || { echo "1..0 # SKIP $gateway is not built"; exit 77; }
exec /usr/bin/python3 tests/net/peers_sim.py "$gateway"
