#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `weir trace` against a real agent: lines, captures that tshark reads, filters, who is told no, and that a
# trace ends with its time, its count, its client and its agent.
# Needs root and tshark. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/agent_lib"
command -v tshark >/dev/null || { echo "skip: tshark is not installed"; exit 77; }
weir=$PWD/$build/bin/weir
make -s "$weir" 2>/dev/null || [ -x "$weir" ] || exit 1

make_net
for b in 1 2 3; do start_backend $b; done
edge_config
sed -i 's/slots: 1021/slots: 1021\n      encap: ipip/' $work/edge.yaml
run_edge
until_ok 10 healthy 3
check $? "three backends are up"
until_ok 5 more b1 300
check $? "and have their slots"

trace() { "$weir" trace -c $work/edge.yaml "$@"; }
# In the background, its output in $work/NAME.out and .err; returns when the packet path is asked.
begin() { # NAME OPTIONS...
	local name=$1
	shift
	"$weir" trace -c $work/edge.yaml "$@" >"$work/$name.out" 2>"$work/$name.err" &
	pid[$name]=$!
	until_ok 5 grep -q '^tracing' "$work/$name.err"
}
declare -A pid
switch() { bpftool -j map dump pinned /sys/fs/bpf/edge/settings | jq '.[0].formatted.value.on'; }
is_off() { [ $(($(switch) & 8)) = 0 ]; }
is_on() { [ $(($(switch) & 8)) = 8 ]; }
filters() { bpftool -j map dump pinned /sys/fs/bpf/edge/sample_filters | jq '[.[].formatted.value | select(.reasons != 0)] | length'; }

is_off
check $? "nobody traces: the switch is off"

# Lines.
begin lines --service files --count 10 --seconds 20
check $? "a trace begins: $(cat $work/lines.err)"
is_on
check $? "the switch is on"
client load $vip:80 20 1 >$work/load
wait "${pid[lines]}"
check $? "it ends with its count: $(tail -n 1 $work/lines.err)"
[ "$(wc -l <$work/lines.out)" = 10 ]
check $? "ten lines"
line='^[0-9:]{8}\.[0-9]{6} eth0 FORWARDED  198\.18\.1\.9:[0-9]+ > 198\.18\.1\.100:80 tcp SYN  files → b[123] slot [0-9]+ [0-9]+B$'
head -n 1 $work/lines.out | grep -qE "$line"
check $? "the first is the first SYN: $(head -n 1 $work/lines.out)"
until_ok 5 is_off
check $? "the switch is off again"

# A capture.
begin capture --port 80 --address 198.18.1.9 --count 30 --write $work/all.pcapng
client load $vip:80 20 1 >$work/load
wait "${pid[capture]}"
check $? "a capture: $(tail -n 1 $work/capture.err)"
tshark -r $work/all.pcapng -T fields -e frame.comment -e frame.interface_name -e ip.src -e ip.dst -e tcp.dstport \
	-e frame.time_epoch -e frame.len -e frame.cap_len >$work/fields 2>$work/tshark.log
[ "$(wc -l <$work/fields)" = 30 ]
check $? "tshark reads 30 packets of it"
awk -F'\t' '{ if ($1 !~ /^FORWARDED \(redirected\): encapsulated and sent to a backend; files → b[123] slot [0-9]+; cpu/ ||
	$2 != "eth0" || $3 !~ /^198\.18\.1\.1,198\.18\.1\.9$/ || $4 !~ /^198\.18\.1\.1[123],198\.18\.1\.100$/ || $5 != 80) exit 1 }' $work/fields
check $? "each with its comment, interface, outer and inner header: $(head -n 1 $work/fields)"
awk -F'\t' -v now="$(date +%s)" '{ if ($6 < now - 60 || $6 > now + 1 || $6 < last) exit 1; last = $6 }' $work/fields
check $? "in the order of time, which is now"
tshark -r $work/all.pcapng -o ip.check_checksum:TRUE -Y 'ip.checksum.status == 0 || _ws.malformed' 2>/dev/null | grep -q .
[ $? = 1 ]
check $? "no header of it is wrong"
capinfos -M $work/all.pcapng 2>&1 | grep -q 'Number of packets: *30'
check $? "capinfos agrees"

# Without the outer header.
begin inner --service files --inner --snap 60 --count 5 --write $work/inner.pcapng
client load $vip:80 20 1 >$work/load
wait "${pid[inner]}"
[ "$(tshark -r $work/inner.pcapng -T fields -e ip.src -e ip.dst -e tcp.dstport 2>/dev/null | sort -u)" = \
	"$(printf '198.18.1.9\t198.18.1.100\t80')" ]
check $? "--inner: the client's packet alone"
[ "$(tshark -r $work/inner.pcapng -T fields -e frame.cap_len 2>/dev/null | sort -nu | tail -n 1)" -le 60 ]
check $? "--snap 60: no more than that"

# Drops, by reason, with JSON; nothing else passes that filter.
begin drops --reason TRUNCATED,NO_BACKEND --reason MALFORMED --count 3 --json --seconds 20
check $? "a trace of drops"
client load $vip:80 20 1 >$work/load
in_net router python3 - <<-'END'
	import socket
	s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
	s.bind(("r-edge", 0))
	head = bytes.fromhex("ffffffffffff0200000000010800")
	for i in range(3):
	    s.send(head + bytes.fromhex("450001f4000000004006000ac0000201c6120164") + bytes(20))
END
until_ok 10 sh -c "[ \"\$(jq -r 'select(.reason).reason' $work/drops.out | sort | uniq -c | xargs)\" = '3 TRUNCATED' ]"
check $? "three packets that lie about their length, as JSON, and nothing else: $(jq -c '[.reason, .source, .action]' $work/drops.out | head -n 1)"
until_ok 5 grep -q ended $work/drops.out
[ "$(tail -n 1 $work/drops.out | jq -r '"\(.ended) \(.packets) \(.lost)"')" = "count 3 0" ]
check $? "JSON ends with a summary"

# The wrong questions.
no() { # TEXT OPTIONS...: refused with that text
	local text=$1
	shift
	out=$(trace "$@" 2>&1)
	[ $? != 0 ] && grep -qF -- "$text" <<<"$out"
	check $? "$*: $(head -c 120 <<<"$out")"
}
no 'no address or prefix' --address 1.2.3
no 'one of FORWARDED, LOCAL' --reason NOBACKEND
no 'there is no service nothing here' --service nothing
no 'there is no backend b9 here' --backend b9
no 'there is no backend b9 in service files here' --backend b9 --service files
no '--port wants a whole number' --port http
no 'a whole number from 1 to 65535' --port 99999
no 'a whole number from 1 to 256' --snap 300
no 'is not known: tcp' --proto sctpp
no 'a whole number from 1 to 86400' --seconds 100000
is_off
check $? "none of them left a filter"

# Strangers' words, by the socket's right owner: refused or dropped, and the agent lives.
python3 - $work/run-edge/agent-trace.sock <<-'END' >$work/garbage
	import json, socket, sys, time
	def say(data, timeout=8):
	    s = socket.socket(socket.AF_UNIX)
	    s.settimeout(timeout)
	    s.connect(sys.argv[1])
	    try:
	        s.sendall(data)
	        return s.recv(2000)
	    except ConnectionError:
	        return b""
	bad = [b"\n", b"[]\n", b"null\n", b"{\n", b'{"do":1}\n', b'{"do":"stop"}\n', b"x" * 5000, b"\0" * 4096 + b"\n",
	       b'{"do":"trace","reason":[1]}\n', b'{"do":"trace","count":1.5}\n', b'{"do":"trace","count":-1}\n',
	       b'{"do":"trace","port":"80"}\n', b'{"do":"trace","address":"' + b"1" * 3000 + b'"}\n',
	       b'{"do":"trace","service":"' + b"s" * 3000 + b'"}\n', b'{"do":"trace","do":"trace"}\n',
	       b'{"do":"trace","reason":["' + b"r" * 3000 + b'"]}\n']
	fine = 0
	for b in bad:
	    answer = say(b)
	    fine += answer == b"" or json.loads(answer)["ok"] is False
	begun = time.monotonic()
	silent = say(b'{"do":')
	took = time.monotonic() - begun
	print(fine, len(bad), silent, 4 < took < 7)
END
[ "$(cat $work/garbage)" = "16 16 b'' True" ]
check $? "nonsense is refused, silence is dropped after 5 s: $(cat $work/garbage)"
is_off && kill -0 "$edge_pid"
check $? "the agent lives, the switch is off"

# Several at a time, bounded.
for n in 1 2 3 4; do begin many$n --port 90$n --seconds 60; done
[ "$(filters)" = 4 ]
check $? "four at a time"
out=$(trace --port 80 2>&1)
grep -q "4 traces run already, end one: process ${pid[many1]} (--port 901) process ${pid[many2]}" <<<"$out"
check $? "a fifth is told who: $out"
kill -9 "${pid[many1]}"
wait "${pid[many1]}" 2>/dev/null
fewer_filters() { [ "$(filters)" = "$1" ]; }
until_ok 5 fewer_filters 3
check $? "one is killed: its filter is gone"
begin again --port 80 --count 1
check $? "another takes its place"
client load $vip:80 20 1 >$work/load
wait "${pid[again]}"
check $? "and gets packets"
kill -INT "${pid[many2]}" && wait "${pid[many2]}"
check $? "^C is a good end: $(tail -n 1 $work/many2.err)"
kill "${pid[many3]}" "${pid[many4]}"
until_ok 5 is_off
check $? "all gone: the switch is off"

# Time.
begun=$(date +%s%N)
begin short --port 9 --seconds 1
wait "${pid[short]}"
took=$((($(date +%s%N) - begun) / 1000000))
[ $took -ge 1000 ] && [ $took -lt 4000 ]
check $? "--seconds 1 took $took ms: $(tail -n 1 $work/short.err)"
is_off
check $? "and left nothing"

# Who may not.
in_user() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
chmod 755 $work $work/run-edge 2>/dev/null
cp "$weir" $work/weir
out=$(in_user $work/weir trace -c $work/edge.yaml --count 1 2>&1)
grep -q 'only root and the agent' <<<"$out"
check $? "another user sees nothing: $out"

# Names of what is traced, in the agent's log.
grep -q "traces --port 901: at most 1000 packets, 60 s" $work/edge.log
check $? "the log says who traced what"

# A stopped reader loses packets, and is told so; others do not.
begin slow --service files --count 1000000 --seconds 30 --json
kill -STOP "${pid[slow]}"
begin quick --service files --count 200 --seconds 30
client load $vip:80 60 2 >$work/load
wait "${pid[quick]}"
check $? "beside one that stands still another gets its packets: $(tail -n 1 $work/quick.err)"
kill -CONT "${pid[slow]}"
kill -KILL "${pid[slow]}"
until_ok 5 is_off
check $? "the one that stood still is ended"

# What finds no room in the ring is counted, and said: the agent stands still meanwhile.
begin lost --port 9999 --count 100000 --seconds 4 --json
kill -STOP "$edge_pid"
in_net router python3 - <<-'END'
	import socket
	s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
	s.bind(("r-edge", 0))
	head = bytes.fromhex("ffffffffffff0200000000010800" "4500002400004000" "40110000" "c0000201c6120164" "270f270f00100000")
	for i in range(5000):
	    s.send(head + bytes(8))
END
kill -CONT "$edge_pid"
wait "${pid[lost]}"
sum=$(tail -n 1 $work/lost.out | jq -r '"\(.packets + .lost) \(.lost > 1900 and .lost < 2000) \(.slow)"')
[ "$sum" = "5000 true 0" ]
check $? "5,000 packets while nobody reads: $(tail -n 1 $work/lost.out), $(tail -n 1 $work/lost.err)"

# The agent dies, then its loader follows: nothing is copied for nobody.
begin orphan --service files --seconds 60
kill -9 "$edge_pid"
wait "$edge_pid" 2>/dev/null
wait "${pid[orphan]}"
[ $? = 1 ] && grep -q 'the agent ended the connection' $work/orphan.err
check $? "the agent is killed: $(tail -n 1 $work/orphan.err)"
until_ok 5 is_off
check $? "its loader switched the samples off"
out=$(trace --count 1 2>&1)
grep -q 'the agent does not run' <<<"$out"
check $? "no agent: $out"
run_edge
until_ok 10 healthy 3
check $? "started again"
# Both killed: the next start clears, and until then the filter's own time ends it.
begin both --service files --seconds 60
loader=$(cat "/proc/$edge_pid/task/$edge_pid/children")
# The loader first stands still, or it would clear the filter when it notices.
# shellcheck disable=SC2086
kill -STOP $loader && kill -9 "$edge_pid" && kill -9 $loader
wait "$edge_pid" 2>/dev/null
[ "$(filters)" = 1 ]
check $? "agent and loader are killed: the filter stays in its map"
run_edge
until_ok 10 healthy 3 && is_off && [ "$(filters)" = 0 ]
check $? "the next start clears it"

finish
