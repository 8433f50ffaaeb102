#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A hot upgrade whose maps have another layout: smaller and larger limits, values that became longer, in the middle of
# traffic. No datagram is lost, no connection breaks, slots, numbers and counters are kept. What cannot be kept is refused
# before anything is touched; an upgrade that was cut off is finished by the next start.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"

for b in 1 2 3; do backend b$b || { echo "not ok 1 - b$b opens"; exit 1; }; done
PIN=/sys/fs/bpf/edge
small="-l services=16 -l addresses=64 -l backends=64 -l slots=1024 -l notes=4096 -l half_open=1024 -l fragments=64"
# shellcheck disable=SC2086
check "maps as small as the limits say" tool edge -i eth0 $small
serve
quiet() { "$@" >/dev/null 2>&1; }
set_up() { # the numbers that are given out
	local s
	s=$(ask edge service s 31 gue "$VIP:80/tcp $VIP:80/udp"); echo -n "$s "
	for b in 1 2 3; do echo -n "$(ask edge backend "$s" b$b 198.18.0.1$b up) "; done
}
entries() { bpftool -j map show pinned $PIN/"$1" | jq .max_entries; }
size() { bpftool -j map show pinned $PIN/"$1" | jq .bytes_value; }
packets() { ask edge state 0 | cut -d' ' -f4; }
restart() { # OPTIONS...: kills in the middle and starts again
	tool_kill edge
	tool edge -i eth0 "$@"
}
# A stream of 3,000 datagrams in 3 s and 60 connections, and COMMAND after a second: nothing of it may be lost.
under_traffic() { # NAME COMMAND...
	local name=$1 udp tcp before; shift
	before=$(packets)
	in_ns client $FLOWS udp $VIP 80 3000 1000 >"$scratch/udp" &
	udp=$!
	in_ns client $FLOWS tcp $VIP 80 60 4 >"$scratch/tcp" 2>/dev/null &
	tcp=$!
	read -rt 1 <> <(:)
	check "$name" "$@"
	set_up >/dev/null
	wait $udp
	check "  not one of 3,000 datagrams lost" is "$(cat "$scratch/udp")" "sent 3000 received 3000"
	wait $tcp
	check "  not one connection broken" is "$(cut -d' ' -f6 "$scratch/tcp")" 0
	counted=$(($(packets) - before))
}
first=$(set_up)
ask edge fill 0 31 5 1 2 3 >/dev/null
quiet in_ns client $FLOWS udp $VIP 80 50 1000
ask edge fill 0 31 6 2 3 1 >/dev/null
check "slots are in transition" is "$(ask edge state 0 | cut -d' ' -f2)" 31
check "limits: slots" is "$(entries slots)" 1024
check "limits: backends and their counters" is "$(entries backends) $(entries backend_counts)" "64 64"

# ---- at the limit
check "too many slots: what to do" is "$(ask edge service big 4099 gue "$VIP:82/tcp")" \
	"error -28 service big needs 4099 slots, 993 of 1024 are left: raise agent.limits.slots and restart weir-agent"
for i in $(seq 2 16); do ask edge service "n$i" 1 gue "198.18.101.$i:80/tcp" >/dev/null; done
check "too many services: what to do" is "$(ask edge service n17 1 gue 198.18.101.17:80/tcp)" \
	"error -28 service n17 is one too many: there is room for 16 services and tunnels; raise agent.limits.services and restart weir-agent"
ports=$(for i in $(seq 40); do echo -n "198.18.102.1:$i/tcp "; done)
check "too many addresses: what to do" is "$(ask edge service n16 1 gue "$ports")" \
	"error -28 no room for the addresses of service n16: all services together have 64; raise agent.limits.addresses and restart weir-agent"
for i in $(seq 44); do ask edge owner 0 "$i" "198.18.103.$i" >/dev/null; done
check "former owners leave a quarter of the room" is "$(ask edge owner 0 45 198.18.103.45)" \
	"error -28 former owners leave room for backends that are configured: raise agent.limits.backends, now 64, and restart weir-agent"
check "one that is there already is found" is "$(ask edge owner 0 44 198.18.103.44)" 47
check "a backend that is configured has it" is "$(ask edge backend 0 b9 198.18.0.19 up)" 48
ask edge sweep >/dev/null; set_up >/dev/null; ask edge sweep >/dev/null   # the others go
owners=$(ask edge get 0 31) state=$(ask edge state 0 | cut -d' ' -f1-3)

# ---- larger
link=$(bpftool -j link show pinned $PIN/link-eth0 | jq .id)
under_traffic "started with the default limits, in the middle of traffic" restart
check "  all maps are larger" is "$(entries slots) $(entries backends) $(entries notes)" "524288 16384 131072"
check "  it says so" grep -q 'slots: 1024 entries of 16 bytes become 524288 of 16, 1024 were copied' "$scratch/log-edge"
check "  the link is the same" is "$(bpftool -j link show pinned $PIN/link-eth0 | jq .id)" "$link"
check "  numbers, slots, transitions and generation too" is "$(set_up)$(ask edge get 0 31)$(ask edge state 0 | cut -d' ' -f1-3)" "$first$owners$state"
check "  counted on: 3,000 datagrams and some ($counted)" test $counted -ge 3000
check "  no new- pins are left" is "$(find $PIN -name 'new-*' | wc -l)" 0

# ---- smaller: refused when it does not fit, done when it does
tool_kill edge
ids() { for map in slots services notes backends; do bpftool -j map show pinned $PIN/$map | jq .id; done | xargs; }
before=$(ids)
check "limits below what is there are refused" test "$(in_ns edge $TOOL -p $PIN -i eth0 -l slots=16 </dev/null 2>&1 | grep -c "slots: 15 of its entries have no room in 16: raise agent.limits.slots")" = 1
check "  and nothing was touched" is "$(ids)" "$before"
check "  traffic goes on" quiet in_ns client $FLOWS tcp $VIP 80 20 1
# shellcheck disable=SC2086
check "started again" tool edge -i eth0
under_traffic "smaller limits that fit" restart -l slots=1024 -l notes=2048 -l services=16 -l backends=16
check "  they are smaller" is "$(entries slots) $(entries notes)" "1024 2048"
check "  slots are kept" is "$(ask edge get 0 31)" "$owners"

# ---- an older layout: values that were shorter, made by hand
shorter() { # MAP BYTES TYPE ENTRIES: replaces the pin by a map with shorter values and the same first entries
	local i
	bpftool map create $PIN/"$1-hand" type "$3" key 4 value "$2" entries "$4" name "$1"
	for i in $(seq 0 3); do
		bpftool -j map lookup pinned $PIN/"$1" key "$i" 0 0 0 | jq -r '.value[]' | head -n "$2" >"$scratch/value"
		# shellcheck disable=SC2046
		bpftool map update pinned $PIN/"$1-hand" key "$i" 0 0 0 value hex $(sed 's/0x//' "$scratch/value") || return
	done
	mv $PIN/"$1-hand" $PIN/"$1"
}
tool_kill edge
check "an older service_info, 76 bytes long" shorter service_info 76 array 8192
tool edge -i eth0
check "is taken over" is "$(size service_info)" 80
check "it is said" grep -q 'service_info: 8192 entries of 76 bytes become 8192 of 80' "$scratch/log-edge"
check "with its content" is "$(set_up)$(ask edge get 0 31)$(ask edge state 0 | cut -d' ' -f1-3)" "$first$owners$state"
tool_kill edge
mv $PIN/notes $PIN/kept
bpftool map create $PIN/notes type hash key 36 value 4 entries 100 name notes
check "other keys are refused" test "$(in_ns edge $TOOL -p $PIN -i eth0 </dev/null 2>&1 | grep -c "notes: its keys have 36 bytes, those of this version 40")" = 1
rm $PIN/notes
bpftool map create $PIN/notes type hash key 40 value 8 entries 100 name notes
check "longer values too" test "$(in_ns edge $TOOL -p $PIN -i eth0 </dev/null 2>&1 | grep -c "notes: its values have 8 bytes, those of this version only 4")" = 1
mv $PIN/kept $PIN/notes
check "no new- pins are left" is "$(find $PIN -name 'new-*' | wc -l)" 0

# ---- cut off between the exchange and the renaming: the program has new-slots already
mv $PIN/slots $PIN/new-slots
bpftool map create $PIN/slots type array key 4 value 16 entries 64 name slots
bpftool map create $PIN/new-notes type hash key 40 value 8 entries 100 name notes
check "an upgrade that was cut off" tool edge -i eth0
check "is finished" grep -q 'new-slots: an upgrade was cut off' "$scratch/log-edge"
check "with the slots that the program has" is "$(set_up)$(ask edge get 0 31)" "$first$owners"
check "what no program has is gone" is "$(find $PIN -name 'new-*' | wc -l)" 0
quiet in_ns client $FLOWS tcp $VIP 80 20 1
check "traffic flows" quiet in_ns client $FLOWS tcp $VIP 80 20 1
finish
