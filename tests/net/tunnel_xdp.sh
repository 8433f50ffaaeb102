#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Three nodes with weir-agent, a registry and edges: a client that reaches the wrong node is led to the edge that
# holds the attachment, by XDP and sk_lookup, and answered straight from there; ports that nobody opened, strangers and
# forged packets are refused; drained edges keep their connections. Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/tunnel_xdp_lib"

make_net
start_registry || { echo "not ok 1 - a registry"; exit 1; }
tunnel app 1 "80 443"
export MSS     # b's listeners leave TCP's own: its clients are told "too big"
for node in a b c; do MSS=$([ $node = b ] && echo 0 || echo 1336); start_agent $node && start_edge $node || { echo "not ok 1 - $node starts"; tail -n 20 $work/*$node.log; exit 1; }; done

# ---- the way ----
edge a attach app 1 5000
until_ok 5 owned c app a
check $? "c leads the tunnel to a, which holds the attachment"
until_ok 5 owned a app a
is "$(ask a status | jq -c '.tunnels[0] | [.local, .why, .ports, .attached]')" '[true,"attached here",[80,443],["a"]]' "a answers itself"
for node in a b c; do until_ok 5 acked $node "$(revision_of tunnels/app)"; done
check $? "all three acknowledged the tunnel's revision: $(get routed/agent/c)"
is "$(get members/agent/c | jq -c '[.tunnels, .address]')" '[true,"198.18.0.3"]' "and say that they route tunnels, and from where"

tcpdump -i p-a -w $work/p-a.pcap -U 2>$work/tcpdump.out & dump_a=$!
tcpdump -i p-c -w $work/p-c.pcap -U 2>>$work/tcpdump.out & dump_c=$!
until_ok 5 sh -c "[ \$(grep -c 'listening on' $work/tcpdump.out) = 2 ]"
is "$(once 198.19.0.1 80)" "a 198.19.0.1:80" "IPv4 through the wrong node"
is "$(once 2001:db8:7::1 443)" "a [2001:db8:7::1]:443" "IPv6 through the wrong node"
[ "$(reason c FORWARDED)" -gt 0 ] && [ "$(reason a DECAPSULATED)" -gt 0 ]
check $? "encapsulated by c: $(reason c FORWARDED), opened by a: $(reason a DECAPSULATED)"
[ "$(ask c status | jq '.tunnels[0].packets')" -gt 5 ]
check $? "counted for the tunnel: $(ask c status | jq -c '.tunnels[0] | [.packets, .bytes]')"
is "$(upload 198.19.0.1 80 2000000)" "a 198.19.0.1:80" "2 MB arrive through the wrong node, 1500 bytes everywhere"
is "$(reason c TOO_BIG)" 0 "none of its packets was too big: the edge's MSS"
kill $dump_a $dump_c; wait $dump_a $dump_c
if command -v tshark >/dev/null; then
	read -r from to payload < <(tshark -r $work/p-a.pcap -Y "udp.dstport == 6080" -T fields -E separator=' ' -e ip.src -e ip.dst -e udp.payload 2>/dev/null | head -n 1)
	is "$from $to" "198.18.0.3 198.18.0.1" "tshark: the capture at a has GUE from c to a"
	# GUE, private data, then IPv4 to 198.19.0.1
	is "${payload:0:4} ${payload:72:8}" "0404 c6130001" "and the client's packet inside"
	is "$(tshark -r $work/p-a.pcap -Y "ip.src == 198.19.0.1 && tcp.srcport == 80 && eth.dst == 02:00:00:00:00:09" 2>/dev/null | grep -c SYN)" 2 "a answers straight to the client's link address"
	is "$(tshark -r $work/p-c.pcap -Y "ip.src == 198.19.0.1" 2>/dev/null | wc -l)" 0 "nothing of the answer passes c"
fi
by a
is "$(once 198.19.0.1 443)" "a 198.19.0.1:443" "through the right node"
[ "$(reason a LOCAL)" -gt 0 ]
check $? "left to the host by a: $(reason a LOCAL)"

# ---- what is refused ----
in_net a python3 -m http.server -b 0.0.0.0 9000 >/dev/null 2>&1 &
in_net a python3 -m http.server -b :: 9001 >/dev/null 2>&1 &
until_ok 10 in_net client curl -so /dev/null http://198.18.0.1:9000/ && until_ok 10 in_net client curl -so /dev/null "http://[2001:db8::1]:9001/"
check $? "a server on every address of a"
for by in a c; do
	by $by
	is "$(once 198.19.0.1 9000) $(once 2001:db8:7::1 9001) $(once 198.19.0.77 80)" "refused refused refused" \
		"by $by: neither it, nor a port that the tunnel did not open, nor an address without a tunnel"
done
gue() { # NODE DESTINATION INNER: encapsulated by that node's host, source address its own
	in_net "$1" python3 - "$2" "$3" <<-'END'
		import socket, struct, sys
		inner = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, socket.inet_aton("192.0.2.1"), socket.inet_aton(sys.argv[2]))
		inner += struct.pack("!HHIIBBHHH", 4000, 80, 1, 0, 0x50, 2, 1000, 0, 0)
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		s.sendto(b"\x04\x04\0\0" + b"\x57" + b"\0" * 15 + inner, (sys.argv[1], 6080))
	END
}
gue client 198.18.0.1 198.19.0.1
grown() { [ "$(reason a "$1")" -ge "$2" ]; }
until_ok 3 grown DECAP_SOURCE 1
check $? "a stranger's encapsulated packet is dropped: DECAP_SOURCE $(reason a DECAP_SOURCE)"
gue b 198.18.0.1 198.18.0.1
until_ok 3 grown DECAP_INNER 1
check $? "an edge's packet for what is no tunnel is dropped: DECAP_INNER $(reason a DECAP_INNER)"
opened=$(reason a DECAPSULATED)
gue b 198.18.0.1 198.19.0.1
until_ok 3 grown DECAPSULATED $((opened + 1))
check $? "one for a tunnel is opened"

# ---- who may hand over a listener ----
give() { # UID WHAT: the answer
	setpriv --reuid "$1" --clear-groups python3 - "$2" $work/run-a/agent-listener.sock <<-'END' 2>&1 | tail -n 1
		import array, socket, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
		s.settimeout(3)
		s.connect(sys.argv[2])
		what = {"udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM), "unconnected": socket.socket(), "file": open("/dev/null")}.get(sys.argv[1])
		text = b"x" * 600 if sys.argv[1] == "long" else b'{"do":"listen"}' if sys.argv[1] != "word" else b'{"do":7}'
		s.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [what.fileno()]))] if what else [])
		print(s.recv(500).decode())
	END
}
for what in nothing udp unconnected file word long; do
	give 0 $what | grep -q '"ok":false'
	check $? "not a listener ($what): $(give 0 $what)"
done
chmod 755 $work/run-a
give 12345 nothing | grep -q 'Permission denied'
check $? "another user may not even ask"
is "$(once 198.19.0.1 80)" "a 198.19.0.1:80" "the edge's own is still there"

# ---- another generation, another port ----
by c
tunnel app 1 "80 8080" 2
until_ok 5 acked c "$(revision_of tunnels/app)"
is "$(once 198.19.0.1 443) $(once 198.19.0.1 8080)" "refused a 198.19.0.1:8080" "443 closed, 8080 opened; a answers although its attachment is old"
is "$(ask c status | jq -c '.tunnels[0] | [.generation, .attached]')" '[2,[]]' "an attachment of generation 1 does not count any more"
edge b attach app 2 5000
until_ok 5 owned c app b
is "$(once 198.19.0.1 80)" "b 198.19.0.1:80" "b attached to generation 2: it answers, nearer or not"

is "$(upload 198.19.0.1 80 2000000) $(upload 2001:db8:7::1 80 2000000)" "b 198.19.0.1:80 b [2001:db8:7::1]:80" "2 MB in segments of TCP's own size arrive, too"
[ "$(reason c TOO_BIG)" -ge 2 ]
check $? "because the client was told: TOO_BIG $(reason c TOO_BIG)"

# ---- draining ----
edge a attach app 2 5200
both() { [ "$(ask c status | jq -c '.tunnels[0].attached | sort')" = '["a","b"]' ]; }
until_ok 5 both
is "$(owner c app)" b "a is back and about as near: b stays"
hold one 198.19.0.1 80
hold two 2001:db8:7::1 80
is "$(say one) $(say two)" "b 198.19.0.1:80 b [2001:db8:7::1]:80" "two connections to b"
edge b drain app 2
until_ok 5 owned c app a
check $? "b drains: new connections go to a"
is "$(once 198.19.0.1 80)" "a 198.19.0.1:80" "one of them"
is "$(say one) $(say two)" "b 198.19.0.1:80 b [2001:db8:7::1]:80" "the two go on with b"
edge b detach app
edge b quiet
settled() { [ "$(bpftool -j map lookup pinned /sys/fs/bpf/$1/slots key 0 0 0 0 2>/dev/null | jq .formatted.value.previous)" = 0 ]; }
until_ok 10 settled c
check $? "b withdrew the attachment and closed its attach port; the transition ends while the two are idle"
is "$(say one) $(say two)" "b 198.19.0.1:80 b [2001:db8:7::1]:80" "they still live: a passes their packets on to b"
[ $(($(reason a RELAYED) + $(reason a NO_NEIGHBOUR))) -gt 0 ]
check $? "counted: RELAYED $(reason a RELAYED)"
edge c attach app 2 5000
until_ok 5 owned c app c
is "$(once 198.19.0.1 80)" "c 198.19.0.1:80" "c holds one itself"
until_ok 10 settled c
is "$(say one) $(say two)" "b 198.19.0.1:80 b [2001:db8:7::1]:80" "and knows that those two are not its own"
[ "$(reason c RELAYED)" -gt 0 ]
check $? "counted: RELAYED $(reason c RELAYED)"

# ---- it goes ----
delete tunnels/app
gone() { [ "$(ask c status | jq '.tunnels | length')" = 0 ]; }
until_ok 5 gone
is "$(once 198.19.0.1 80)" refused "the tunnel was removed: refused at once"
is "$(bpftool -j map dump pinned /sys/fs/bpf/c/services 2>/dev/null | jq length) $(bpftool -j map dump pinned /sys/fs/bpf/c/tunnel_ports 2>/dev/null | jq length)" "0 0" "and nothing of it is left in the maps"
finish
