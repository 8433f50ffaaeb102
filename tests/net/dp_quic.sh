#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A service with udp: quic: datagrams with connection IDs of QUIC-LB reach the backend that the ID names, from
# any port and address of a client, while slots move, after another start, and not when it is down; and so do those whose
# IDs are encrypted, where the kernel can (6.10).
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"

for b in 1 2 3; do backend b$b || { echo "not ok 1 - b$b's data plane opens"; exit 1; }; done
in_ns client ip addr add 198.18.0.19/16 dev eth0
in_ns client ip addr add 198.18.0.29/16 dev eth0
check "the edge's data plane opens" tool edge -i eth0
serve
service() { ask edge service q 31 gue "${@:-quic=3:2:5}" "$VIP:80/udp" "[$VIP6]:80/udp"; }
number=$(service)
for b in 1 2 3; do ask edge backend "$number" b$b 198.18.0.1$b up; done >"$scratch/index"
mapfile -t index <"$scratch/index"
check "slots are filled" is "$(ask edge fill "$number" 31 1 "${index[@]}")" 31
ids() { for b in 1 2 3; do ask edge quic "$number" "${index[$((b - 1))]}" c${b}c$b || return; done; }
check "server IDs are set" is "$(ids | tr '\n' ' ')" "0 0 0 "
in_ns client $FLOWS udp $VIP 80 50 1000 >/dev/null || :         # neighbours
in_ns client $FLOWS udp $VIP6 80 50 1000 >/dev/null || :

# say ADDRESS HEX: the datagram, from a new port, and its echo, as hexadecimal digits
say() {
	in_ns client timeout 3 bash -c "exec 3<>/dev/udp/$1/80; printf '$(sed 's/../\\x&/g' <<<"$2")' >&3; head -c $((${#2} / 2)) <&3" | od -An -v -tx1 | tr -d ' \n'
}
packets() { ask edge counts "${index[$(($1 - 1))]}" | tr -d ' '; }
# reaches BACKEND ADDRESS HEX: four datagrams come back, and that backend alone had them
reaches() {
	local before now
	before=$(packets "$1")
	for _ in 1 2 3 4; do
		is "$(say "$2" "$3")" "$3" || return 1
	done
	now=$(packets "$1")
	is "$((now - before))" 4
}
short() { echo "40${2:-67}c$1c$1aabbccddee0000000000"; }        # short SERVER [FIRST]
long() { echo "e00000000108${2:-67}c$1c$1aabbccddee00000000"; } # a handshake's: type 2

for b in 1 2 3; do
	check "short headers reach backend $b" reaches $b $VIP "$(short $b)"
	check "long headers reach backend $b" reaches $b $VIP "$(long $b)"
	check "by IPv6 as well" reaches $b $VIP6 "$(short $b)"
done
in_ns client ip route replace $VIP via 198.18.0.1 src 198.18.0.19
check "from another address" reaches 2 $VIP "$(short 2)"
in_ns client ip route replace $VIP via 198.18.0.1 src 198.18.0.29
check "and a third" reaches 2 $VIP "$(short 2)"
sum() { local n=0; for b in 1 2 3; do n=$((n + $(packets $b))); done; echo $n; }
before=$(sum)
unknown() { for _ in 1 2 3 4 5 6 7 8; do is "$(say $VIP "$1")" "$1" || return 1; done; }
check "an unknown server goes by slots" unknown "$(short 7)"
check "and configuration 7" unknown "$(short 1 e7)"
check "and four bytes" unknown 40676768
check "each once" is $(($(sum) - before)) 24

check "all slots move to backend 1" is "$(ask edge fill "$number" 31 2 "${index[0]}")" 20
check "connections of backend 3 stay" reaches 3 $VIP "$(short 3)"
check "what has no ID goes to backend 1" reaches 1 $VIP "$(short 7)"
ask edge backend "$number" b3 198.18.0.13 down >/dev/null
check "those of one that is down go by the slot" reaches 1 $VIP "$(short 3)"
ask edge backend "$number" b3 198.18.0.13 up >/dev/null
check "until it is up" reaches 3 $VIP "$(short 3)"

tool_kill edge
check "the packet path lives without its processes" is "$(say $VIP "$(short 3)")" "$(short 3)"
check "another start" tool edge -i eth0
check "adopts the server IDs" reaches 3 $VIP "$(short 3)"
check "the same number" is "$(service)" "$number"
ask edge backend "$number" b3 198.18.0.13 up >/dev/null
check "a backend gets another server ID" is "$(ask edge quic "$number" "${index[2]}" c9c9)" 0
check "by which it is reached" reaches 3 $VIP "$(short 9)"
check "no longer by the old one" reaches 1 $VIP "$(short 3)"

# ---- encrypted: server ID and nonce of 16 bytes together are one block ----
KEY=8f95f09245765f80256934e50c66207f OTHER=00112233445566778899aabbccddeeff
echo $KEY >"$scratch/key"
encrypted() { service quic=3:2:14 key="$scratch/key"; }
say_encrypted() {       # SERVER KEY: a connection ID's 17 bytes, with a nonce of its own; no line's end, where say would send
	local id=0a
	while grep -qE '^(..)*0a' <<<"$id"; do
		id=$(printf "$(sed 's/../\\x&/g' <<<"c$1c$1$(openssl rand -hex 14)")" |
			openssl enc -aes-128-ecb -nopad -K "$2" | od -An -v -tx1 | tr -d ' \n')
	done
	echo "67$id"
}
sealed() { echo "40$(say_encrypted "$1" "${2:-$KEY}")0000000000"; }
sealed_long() { echo "e00000000111$(say_encrypted "$1" $KEY)00000000"; }
got=$(encrypted)
if grep -q "this kernel cannot decrypt" <<<"$got" && ! kernel_decrypts; then
	skip "encrypted connection IDs" "$got"
	finish
	exit
fi
check "the service gets a key" is "$got" "$number"
for b in 2 9; do        # 9: backend 3
	at=$((b == 9 ? 3 : b))
	check "encrypted IDs in short headers reach backend $at" reaches $at $VIP "$(sealed $b)"
	check "by IPv6, with another nonce" reaches $at $VIP6 "$(sealed $b)"
	check "in long headers" reaches $at $VIP "$(sealed_long $b)"
done
check "an ID in the clear goes by the slot" reaches 1 $VIP "4067c9c9${KEY:0:28}0000000000"
check "one by another key as well" reaches 1 $VIP "$(sealed 9 $OTHER)"
tool_kill edge
id=$(sealed 9)
check "the packet path lives without its processes" is "$(say $VIP "$id")" "$id"
check "another start adopts it" tool edge -i eth0
check "which works before it is set anew" reaches 3 $VIP "$(sealed 9)"
check "the same service" is "$(encrypted)" "$number"
check "and after" reaches 3 $VIP "$(sealed 9)"
echo $OTHER >"$scratch/key"
check "a new key" is "$(encrypted)" "$number"
check "is used" reaches 3 $VIP "$(sealed 9 $OTHER)"
check "and the old one is not" reaches 1 $VIP "$(sealed 9)"
echo "${OTHER}0" >"$scratch/key"
refused=$(encrypted)
check "what is no key is refused" grep -q "quic.key: $scratch/key: it does not hold a key; write 16 bytes" <<<"$refused"
check "without telling it" is "$(grep -c "$OTHER" <<<"$refused")" 0
check "the one before stays" reaches 3 $VIP "$(sealed 9 $OTHER)"
check "the key is taken away" is "$(service quic=3:2:14)" "$number"
check "an encrypted ID goes by the slot" reaches 1 $VIP "$(sealed 9 $OTHER)"
check "one in the clear names its server" reaches 3 $VIP "4067c9c9${KEY:0:28}0000000000"
finish
