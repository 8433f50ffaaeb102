#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is seen without a trace: SYN, FIN and RST by service, rates in `status`, metrics with HELP, the dashboard's
# data-plane panels against a real page of metrics, `weir top` with and without a terminal.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/agent_lib"
weir=$PWD/$build/bin/weir
make -s "$weir" 2>/dev/null || [ -x "$weir" ] || exit 1

make_net
for b in 1 2 3; do start_backend $b; done
in_net $edge ip addr add 198.18.1.101/32 dev eth0
MORE="  nat: {addresses: [198.18.1.101]}"       # for its metrics
start_edge
until_ok 10 healthy 3 && until_ok 5 more b1 300 && until_ok 5 more b3 300
check $? "three backends are up and have their slots"

status() { ask $edge status; }
service() { status | jq -r ".services[0].$1"; }
before=$(service syn)
[ "$before" = 0 ]
check $? "no SYN yet: $before"
[ "$(client load $vip:80 50 2)" = "ok 100 failed 0" ]
check $? "100 connections"
is_syn() { [ "$(service syn)" = "$1" ]; }
is_syn 100
check $? "100 SYN are counted: $(service syn)"
[ "$(service fin)" -ge 100 ] && [ "$(service rst)" = 0 ]
check $? "and their FIN: $(service fin); RST: $(service rst)"
[ "$(service packets)" -ge 400 ] && [ "$(service bytes)" -ge 26400 ]
check $? "packets $(service packets), bytes $(service bytes)"
sum=$(status | jq '[.services[0].backends[].packets] | add')
[ "$sum" = "$(service packets)" ]
check $? "the backends' add up to it: $sum"
cpus=$(status | jq '[.cpus[] | .sent + .passed + .dropped] | add') all=$(status | jq '[.counters[]] | add')
[ "$cpus" -le "$all" ] && [ "$cpus" -gt 400 ]
check $? "the CPUs' add up to the reasons': $cpus, then $all"

# Rates, while 50 connections a second begin.
client load $vip:80 50 6 >$work/load &
load=$!
rate_near() { status | jq -e ".services[0].rates | .syn > 40 and .syn < 60 and .packets > 160 and .bits > 80000" >/dev/null; }
until_ok 5 rate_near
check $? "rates: $(status | jq -c '.services[0].rates')"
"$weir" top --once -c $work/edge.yaml >$work/top
check $? "weir top, once"
grep -qE '^files +3/3 up +[0-9.k]+ +[0-9.k]+ +[45][0-9] ' $work/top
check $? "says the service's packets, bits and SYN a second: $(grep ^files $work/top)"
[ "$(grep -cE '^ +b[123] +up .*3[0-9]\.[0-9]%' $work/top)" = 3 ]
check $? "and its backends with their share: $(grep b1 $work/top)"
grep -q '^packets/s: .*FORWARDED [0-9]' $work/top
check $? "and what became of packets: $(grep ^packets/s $work/top)"
near=$(status | jq '.rates.FORWARDED.packets / .services[0].rates.packets | . > 0.7 and . < 1.4')
[ "$near" = true ]
check $? "the reasons' rates agree with the service's"
"$weir" top --json -c $work/edge.yaml | jq -e '.services[0].rates.syn > 0 and .rates.FORWARDED.packets > 0' >/dev/null
check $? "--json"
# On a terminal: it goes on, keys change the order, q ends it and leaves the terminal as it was.
python3 - "$weir" $work/edge.yaml >$work/keys <<'END'
import fcntl, os, pty, select, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], [sys.argv[1], "top", "-c", sys.argv[2], "--interval", "60s"])
said = b""
def until(text):
    global said
    end = time.monotonic() + 8
    while text not in said:
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            print("never said", text, said)
            sys.exit(1)
        try:
            said += os.read(fd, 65536)
        except OSError:
            break
until(b"by packets;")
for key, order in ((b"n", b"by name;"), (b"s", b"by syn;"), (b"b", b"by bits;"), (b"p", b"by packets;")):
    said = b""
    os.write(fd, key)
    until(order)
said = b""
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 11, 120, 0, 0))
os.write(fd, b"n")
until(b"and 1 lines more")
until(b"by name;")
raw = termios.tcgetattr(fd)[3] & termios.ICANON
os.write(fd, b"q")
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print("raw" if not raw else "cooked", code, "cooked" if termios.tcgetattr(fd)[3] & termios.ICANON else "raw")
END
check $? "on a terminal keys change the order at once"
[ "$(cat $work/keys)" = "raw 0 cooked" ]
check $? "q ends it, the terminal is as it was: $(cat $work/keys)"
wait $load
until_ok 5 sh -c "$weir top --once -c $work/edge.yaml | grep -qE '^files +3/3 up +[0-9.]+ +[0-9.k]+ +0 '"
check $? "afterwards the rate is 0 again"

# Metrics.
in_net edge curl -s http://127.0.0.1:7001/_/metrics >$work/metrics
grep -qx 'weir_service_tcp_flags_total{service="files",flag="syn"} 400' $work/metrics
check $? "$(grep 'flag="syn"' $work/metrics)"
[ "$(grep -c '^weir_edge_cpu_packets_total{cpu="[0-9]*",fate="\(sent\|passed\|dropped\)"}' $work/metrics)" = $((3 * $(getconf _NPROCESSORS_CONF))) ]
check $? "packets by CPU: $(grep -m 1 ^weir_edge_cpu $work/metrics)"
python3 - $work/metrics <<'END' >$work/said
import json, re, sys
page = open(sys.argv[1]).read()
helps = set(re.findall(r"^# HELP (\S+) \S", page, re.M))
board = json.load(open("examples/grafana.json"))
at = [i for i, p in enumerate(board["panels"]) if p["title"] == "The packet path"][0]
seen = 0
for p in board["panels"][at + 1:]:
    if p["type"] == "row":
        break
    for t in p["targets"]:
        for name in re.findall(r"weir_[a-z0-9_]+", t["expr"]):
            seen += 1
            if name not in helps or not re.search(r"^%s[ {]" % name, page, re.M):
                print(p["title"], "asks for", name, "which is not there")
print(seen, "names")
END
grep -qE '^[0-9]+ names$' $work/said && [ "$(wc -l <$work/said)" = 1 ] && [ "$(cut -d' ' -f1 <$work/said)" -ge 10 ]
check $? "the dashboard's panels of the packet path find their metrics: $(cat $work/said)"
fewer_series=$(grep -c '^weir_' $work/metrics)
[ "$fewer_series" -lt 1000 ]
check $? "$fewer_series series in all"
finish
