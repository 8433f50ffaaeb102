# SPDX-License-Identifier: Apache-2.0
"""What peers_sim.sh says."""
import json
import subprocess
import sys

from tap import check, finish

GATEWAY = sys.argv[1]


def run(*words):
    return subprocess.run([GATEWAY, "--peers-simulate", *map(str, words)], capture_output=True, text=True, timeout=300)


def mean(field, *words, seeds=(1, 2)):
    got = [json.loads(run("--json", "--seed", s, *words).stdout)[field] for s in seeds]
    return sum(got) / len(got)


one, again, other = (run("--json", "--viewers", 300, "--seed", s).stdout for s in (1, 1, 2))
check(one and one == again, "the same seed gives the same result, byte for byte", one)
check(one != other, "another seed gives another")
for words, said in ((("--viewers", "1"), "--viewers 1"), (("--capacity", "2"), "--capacity 2"), (("--policy", "luck"), "--policy luck"),
                    (("--outage", "x"), "--outage x"), (("rain",), "rain")):
    got = run(*words)
    check(got.returncode == 2 and said in got.stderr and ("must be" in got.stderr or "--help" in got.stderr),
          f"refused, with what would be right: {' '.join(words)}", got)

for p in ("weir", "client-server", "swarm", "swarm-bounded", "omniscient"):
    got = run("--viewers", 300, "--policy", p, "--check", "--storm", 0.2, "--json")
    check(got.returncode == 0 and json.loads(got.stdout)["broken"] == [0, 0, 0], f"{p}: no byte from nowhere, no cap exceeded", got)

free, rebuffer, offload, steady = (mean(f) for f in ("stallfree", "rebuffer", "offload", "steady_rebuffer"))
check(free >= 0.99, "film, 60 s without a server: 99 % play on", free)
check(rebuffer <= 0.002, "… and less than 0.2 % of the time is waited", rebuffer)
check(offload >= 0.92, "before it, peers bring 92 %", offload)
check(steady < 0.001, "… and nobody waits", steady)
brownout = mean("stallfree", "--capacity", 0.05)
check(brownout >= 0.95, "with 5 % of the server left, 95 % play on", brownout)
alone = mean("stallfree", "--policy", "client-server")
check(alone < 0.1, "client and server alone: nearly all stall", alone)
bounded = mean("stallfree", "--policy", "swarm-bounded")
check(bounded < free - 0.1, "a swarm that nobody instructs does worse", (bounded, free))
live = mean("stallfree", "--live", "--policy", "omniscient")
check(live < 0.1, "live, nothing new can be shared that nobody holds: all stall, even with all known", live)
storm = max(json.loads(run("--json", "--seed", s, "--storm", 0.2).stdout)["regroup_ms"][0] for s in (1, 2, 3))
check(0 <= storm <= 2000, "a fifth leaves at once: 99 % of who and what lost helpers have others within 2 s", storm)
finish()
