#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A real QUIC connection (quiche, by npm) through the edge: when the client's address and port change while it is
# open, and its slot as well, it stays at its backend by the server ID in its connection ID; without `udp: quic`
# it breaks. Needs root, npm. Exit: 0 pass, 1 fail, 77 skip.
NODE_MODULES=${NODE_MODULES:-$("$(dirname "$0")/../npm/install")} || exit 77
export NODE_MODULES
. "$(dirname "$0")/dp_lib"
command -v nft >/dev/null || { echo "skip: no nft"; exit 77; }

PEER=tests/net/quic_peer.mjs
IDS=8f95f09245765f80256934e50c66207f       # key of connection IDs
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$scratch/key" -out "$scratch/cert" \
	-subj /CN=quic.example -days 2 2>/dev/null
for b in 1 2 3; do
	backend b$b || { echo "not ok 1 - b$b's data plane opens"; exit 1; }
	nsenter --net=/run/netns/b$b node $PEER serve $VIP 443 3 "c${b}0$b" b$b "$scratch/key" "$scratch/cert" >"$scratch/quic-$b" 2>&1 &
	nsenter --net=/run/netns/b$b node $PEER serve $VIP 444 3 "c${b}0$b" b$b "$scratch/key" "$scratch/cert" $IDS >"$scratch/sealed-$b" 2>&1 &
done
in_ns client ip addr add 198.18.0.19/16 dev eth0
check "the edge's data plane opens" tool edge -i eth0
service() { ask edge service q 31 gue "$@" "$VIP:443/udp" "$VIP:444/udp"; }
number=$(service quic=3:2:17)
for b in 1 2 3; do ask edge backend "$number" b$b 198.18.0.1$b up; done >"$scratch/index"
mapfile -t index <"$scratch/index"
for b in 1 2 3; do ask edge quic "$number" "${index[$((b - 1))]}" "c${b}0$b"; done >/dev/null
check "slots are filled" is "$(ask edge fill "$number" 31 1 "${index[@]}")" 31
for b in 1 2 3; do
	check "server $b listens" until_true 20 grep -q ready "$scratch/quic-$b"
	check "its like with encrypted IDs too" until_true 20 grep -q ready "$scratch/sealed-$b"
	in_ns b$b busybox ping -c1 -W2 -q 198.18.0.9 >/dev/null
	in_ns b$b busybox ping -c1 -W2 -q 198.18.0.19 >/dev/null
done

AT=443
client() {      # opens a connection in the background; ask_quic asks over it
	rm -f "$scratch/q-in"; mkfifo "$scratch/q-in"
	: >"$scratch/q-out"
	nsenter --net=/run/netns/client node $PEER ask $VIP $AT <"$scratch/q-in" >"$scratch/q-out" 2>"$scratch/q-err" &
	CLIENT=$!
	exec {QUIC}>"$scratch/q-in"
}
lines() { [ "$(wc -l <"$scratch/q-out")" -gt "$1" ]; }
ask_quic() {    # one stream; prints the server's name
	local n
	n=$(wc -l <"$scratch/q-out")
	echo "hello" >&"$QUIC"
	until_true "${1:-10}" lines "$n" || { sed 's/^/# /' "$scratch/q-err" | head -5 >&2; return 1; }
	tail -n 1 "$scratch/q-out"
}
client_end() { kill "$CLIENT" 2>/dev/null; wait "$CLIENT" 2>/dev/null; exec {QUIC}>&-; in_ns client nft flush ruleset; }
# From now on the client's packets come from another address and port: a NAT on the way was restarted.
rebind() {
	in_ns client nft -f - <<-END
		table ip rebind {
			chain out { type filter hook postrouting priority raw; ip daddr $VIP udp dport $AT ip saddr set 198.18.0.19 udp sport set $1; }
			chain in { type filter hook prerouting priority raw; ip daddr 198.18.0.19 udp dport $1 counter ip daddr set 198.18.0.9 udp dport set $PORT; }
		}
	END
}
port_of() { in_ns client ss -Hunap | awk -v pid="pid=$CLIENT," 'index($0, pid) { n = split($4, a, ":"); print a[n]; exit }'; }

GENERATION=1
# moves PORT: a connection whose slot, address and port change (to this port)
moves() {
	client
	local first at other before
	first=$(ask_quic)
	check "a connection is answered" test -n "$first"
	check "again by the same server" is "$(ask_quic)" "$first"
	at=${first#b}
	other=$((at % 3))       # index of the next backend
	ask edge fill "$number" 31 $((GENERATION += 1)) "${index[$other]}" >/dev/null
	check "its slot moves to another: it stays" is "$(ask_quic)" "$first"
	PORT=$(port_of)
	rebind $1
	before=$(ask edge counts "${index[$other]}" | tr -d ' ')
	check "the client's address and port change: it stays" is "$(ask_quic)" "$first"
	check "and goes on" is "$(ask_quic)" "$first"
	check "no packet went elsewhere" is "$(ask edge counts "${index[$other]}" | tr -d ' ')" "$before"
	check "its packets came to the new address" test "$(in_ns client nft list chain ip rebind in | grep -o 'packets [0-9]*' | tr -dc 0-9)" -gt 1
	client_end
}
moves 61234

AT=444
echo $IDS >"$scratch/ids"
got=$(service quic=3:2:17 key="$scratch/ids")
if grep -q "this kernel cannot decrypt" <<<"$got" && ! kernel_decrypts; then
	skip "encrypted connection IDs" "$got"
else
	check "the service gets a key" is "$got" "$number"
	ask edge fill "$number" 31 $((GENERATION += 1)) "${index[@]}" >/dev/null
	moves 61236
fi
AT=443

service >/dev/null
ask edge fill "$number" 31 $((GENERATION += 1)) "${index[@]}" >/dev/null
client
first=$(ask_quic)
check "without udp: quic a connection is answered, too" test -n "$first"
at=${first#b}
PORT=$(port_of)
ask edge fill "$number" 31 $((GENERATION += 1)) "${index[$((at % 3))]}" >/dev/null
rebind 61235
check "but it breaks when address, port and slot change" is "$(ask_quic 4 2>/dev/null)" ""
client_end
finish
