# SPDX-License-Identifier: Apache-2.0
"""See ns_steer.sh."""
import collections, json, signal, subprocess, sys

import ns_lib as t

A, B, C = "198.18.1.100", "198.18.2.100", "198.18.3.100"
SITES = {"a": A, "b": B, "c": C}
STEER = "  steer: [{name: files.edge.example, services: [files-a, files-b, files-c], ttl: 5s}]\n"
LISTEN = "import socket,sys,time\ns=socket.create_server((sys.argv[1],80))\nwhile True:\n c,_=s.accept()\n c.close()\n"


def sh(*argv):
    subprocess.run(argv, check=True, capture_output=True)


def network():
    """Sites b and c are namespaces behind links; a, the name server's own, has no listener at all."""
    for site in "bc":
        sh("ip", "netns", "add", site)
        sh("ip", "link", "add", f"v{site}", "type", "veth", "peer", "name", "u0", "netns", site)
        sh("ip", "address", "add", f"{SITES[site][:-3]}1/24", "dev", f"v{site}")
        sh("ip", "link", "set", f"v{site}", "up")
        sh("ip", "-n", site, "address", "add", f"{SITES[site]}/24", "dev", "u0")
        sh("ip", "-n", site, "link", "set", "u0", "up")
        t.spawn(["ip", "netns", "exec", site, sys.executable, "-c", LISTEN, SITES[site]], f"site-{site}.log")


def publish(site, capacity, healthy=2):
    t.put(f"capacity/files-{site}", {"site": site, "capacity": capacity, "healthy": healthy, "total": 2, "generation": 1})


def lease(site):
    t.put(f"members/agent/edge-{site}", {"node": f"edge-{site}", "site": site, "services": [f"files-{site}"]})


def split(n=400):
    got = collections.Counter()
    for _ in range(n):
        got[t.addresses(t.ask("files.edge.example"))[0]] += 1
    return got


def answered():
    return set(split(60))


def why(service):
    for site in t.control("status")["steer"][0]["sites"]:
        if site["service"] == service:
            return site["up"], site["why"]


def chi_square(got, capacity):
    total, n = sum(capacity.values()), sum(got.values())
    return sum((got[SITES[s]] - n * c / total) ** 2 / (n * c / total) for s, c in capacity.items())


network()
reg = t.start_registry()
t.config(extra=STEER)
daemon = t.start_ns()
t.check(t.addresses(t.ask("files.edge.example")) == ["198.18.1.99"], "before anything is published the zone's own record answers")

capacity = {"a": 4.0, "b": 12.0, "c": 4.0}
for site, c in capacity.items():
    t.put(f"services/files-{site}", {"site": site, "slots": 4099, "addresses": [f"{SITES[site]}:80/tcp"], "backends": []})
    publish(site, c)
    lease(site)
t.check(t.within(5, lambda: answered() == {A, B, C}), "services and capacities of the registry are taken over")
got = split()
t.check(chi_square(got, capacity) < 2, f"400 answers follow the capacities 4:12:4 (chi-square {chi_square(got, capacity):.2f})", got)
t.check(all(abs(got[SITES[s]] - 20 * c) <= 8 for s, c in capacity.items()), f"within two per cent: {dict(got)}")
ttl = t.ask("files.edge.example")
t.check(ttl[-10:-6] == b"\0\0\0\5", "with the steered name's own TTL", ttl)

publish("b", 1.0)
t.check(t.within(5, lambda: split(100)[B] < 20), "a fallen capacity is followed")
publish("b", 12.0, healthy=0)
t.check(t.within(5, lambda: B not in answered()), "a site that publishes healthy 0 is withdrawn at once")
publish("b", 12.0)
t.check(t.within(5, lambda: B in answered()), "and comes back when it is healthy")

# One witness after the other, in both orders.
t.check(t.within(6, lambda: why("files-b") == (True, "healthy")), "the probe of site b succeeds", why("files-b"))
t.delete("members/agent/edge-b")
t.check(t.within(5, lambda: "leases" in why("files-b")[1] or "lease" in why("files-b")[1]) and B in answered(),
        "the lease gone alone withdraws nothing", why("files-b"))
lease("b")
sh("ip", "link", "set", "vb", "down")
t.check(t.within(10, lambda: "its agent is alive" in why("files-b")[1]) and B in answered(),
        "an unreachable address alone withdraws nothing", why("files-b"))
t.delete("members/agent/edge-b")
t.check(t.within(5, lambda: not why("files-b")[0]) and answered() == {A, C}, "both together withdraw the site", why("files-b"))
t.delete("members/agent/edge-a")
t.check(t.within(5, lambda: why("files-a") == (True, "own site")) and A in answered(), "the own site is not judged by its probe")
sh("ip", "link", "set", "vb", "up")
t.check(t.within(10, lambda: why("files-b")[0]) and B in answered(), "it comes back when it can be reached again", why("files-b"))
lease("a")
lease("b")
t.check(t.within(5, lambda: why("files-b") == (True, "healthy")), "and its agent's lease makes it healthy")

for site in "abc":
    publish(site, 5.0, healthy=0)
t.check(t.within(5, lambda: answered() == {A, B, C}), "when no site is well all are answered", why("files-a"))
for site, c in capacity.items():
    publish(site, c)
t.check(t.within(5, lambda: why("files-a")[1] == "own site"), "and back")

# The registry dies: leases cannot end, nothing changes, not even over a restart.
def kept(site):
    """The capacity in the state file, which is written at most every two seconds."""
    try:
        with open(f"{t.work}/state/ns/known.json") as f:
            known = json.load(f)["registry"][f"/weir/v1/capacity/files-{site}"]
            return known["capacity"] if known["healthy"] else None
    except (OSError, KeyError):
        return None


t.check(t.within(6, lambda: {s: kept(s) for s in "abc"} == capacity), "the capacities are kept in the state folder")
reg.kill()
reg.wait()
sh("ip", "link", "set", "vb", "down")
t.check(t.within(10, lambda: "its agent is alive" in why("files-b")[1]) and B in answered(), "a silent registry withdraws nothing")
daemon.send_signal(signal.SIGKILL)
daemon.wait()
daemon = t.start_ns()
got = split()
t.check(chi_square(got, capacity) < 2, "killed and started with the registry silent it knows the capacities", got)
t.check(t.control("status")["registry"] == "silent", "and says that the registry is silent")
t.check(t.within(10, lambda: "does not answer from here" in why("files-b")[1]) and B in answered(), "an unknown registry is no witness", why("files-b"))
t.check(t.stop(daemon) == 0, "it ends cleanly")
t.finish()
