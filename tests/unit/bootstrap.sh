#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/bootstrap against a pretended Debian (dpkg-query, apt-get, id, sudo of our own): what it would install,
# that no service may start meanwhile, and that everything is as before, also after Ctrl-C. No root; TAP.
set -u
top=${WEIR_TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
n=0 failed=0
check() { # WHAT COMMAND...
	local what=$1
	shift
	n=$((n + 1))
	if "$@"; then echo "ok $n - $what"; else failed=$((failed + 1)); echo "not ok $n - $what"; sed 's/^/# /' "$work/out"; fi
}
mkdir "$work/bin"
cat >"$work/bin/dpkg-query" <<'END'
#!/bin/sh
# the last argument is the package
for name; do :; done
grep -qx "$name" "$FAKE/installed" && printf installed || exit 1
END
cat >"$work/bin/apt-get" <<'END'
#!/bin/sh
"$POLICY_RC_D" nginx start; echo "policy says $?" >>"$FAKE/calls"
echo "apt-get $*" >>"$FAKE/calls"
[ ! -e "$FAKE/hang" ] || { touch "$FAKE/hanging"; exec sleep 30; }
[ ! -e "$FAKE/fail" ]
END
printf '#!/bin/sh\n[ ! -e "$FAKE/stale" ]\n' >"$work/bin/apt-cache"
printf '#!/bin/sh\ncat "$FAKE/uid"\n' >"$work/bin/id"
printf '#!/bin/sh\necho "systemctl $*" >>"$FAKE/calls"\n' >"$work/bin/systemctl"
chmod +x "$work"/bin/*
export FAKE=$work POLICY_RC_D=$work/policy DEBIAN_VERSION=$work/debian_version PATH=$work/bin:$PATH
touch "$DEBIAN_VERSION"
echo 0 >"$work/uid"
run() { : >"$work/calls"; rc=0; "$top/tools/bootstrap" "$@" >"$work/out" 2>&1 || rc=$?; }
is() { [ "$1" = "$2" ] || { echo "\"$1\", wanted \"$2\"" >>"$work/out"; return 1; }; }
has() { grep -qF -- "$2" "$1"; }
install_line() { grep '^apt-get.* install ' "$work/calls"; }

"$top/tools/bootstrap" --list | tr '|' '\n' >"$work/installed"
run
check "says and does nothing when nothing is missing" is "$rc$(cat "$work/out" "$work/calls")" 0
run --list
check "--list prints packages" has "$work/out" libmicrohttpd-dev
run --list --tests
check "--list --tests prints the tests' too" has "$work/out" libcmocka-dev

grep -v -x -e libldns-dev -e clang-14 -e wrk "$work/installed" >"$work/i" && mv "$work/i" "$work/installed"
run
check "installs exactly what is missing" is "$rc $(install_line)" "0 apt-get -q -y --no-install-recommends install libldns-dev"
check "no service may start meanwhile" has "$work/calls" "policy says 101"
check "the policy is gone afterwards" [ ! -e "$work/policy" ]
grep -v -x clang "$work/installed" >"$work/i" && mv "$work/i" "$work/installed"
run
check "of two that would do, the first is installed" is "$(install_line)" "apt-get -q -y --no-install-recommends install clang-14 libldns-dev"
touch "$work/stale"
run
check "package lists are fetched when they do not know a package" has "$work/calls" "apt-get -q update"
rm "$work/stale"

printf '#!/bin/sh\nexit 0\n' >"$work/policy" && chmod +x "$work/policy"
run --tests
check "another policy waits" has "$work/calls" "policy says 101"
check "and is put back" is "$(tail -n 1 "$work/policy")$(ls "$work" | grep -c before-weir)" "exit 00"
check "services that came along will not start at boot" has "$work/calls" "systemctl disable --quiet nsd.service"
printf '#!/bin/sh\n# mine\nexit 101\n' >"$work/policy"
run
check "a policy that forbids already is not touched" has "$work/policy" "# mine"
rm "$work/policy"

touch "$work/fail"
run
check "a failed installation is said" is "$rc$(grep -c 'could not install' "$work/out")" 11
check "and leaves no policy" [ ! -e "$work/policy" ]
rm "$work/fail"
touch "$work/hang"
: >"$work/calls"
setsid --fork sh -c 'echo $$ >"$FAKE/pid"; trap - INT; exec "$0" >"$FAKE/out" 2>&1' "$top/tools/bootstrap"
for _ in $(seq 200); do [ -e "$work/hanging" ] && break; sleep 0.05; done
check "it was installing when it was interrupted" [ -e "$work/policy" ]
kill -INT -- "-$(cat "$work/pid")"
for _ in $(seq 200); do kill -0 "$(cat "$work/pid")" 2>/dev/null || break; sleep 0.05; done
check "Ctrl-C leaves no policy" [ ! -e "$work/policy" ]
rm -f "$work/hang" "$work/hanging"

echo 1000 >"$work/uid"
printf '#!/bin/sh\necho "sudo $*" >>"$FAKE/calls"\n' >"$work/bin/sudo" && chmod +x "$work/bin/sudo"
run --tests
check "a user with sudo uses it" has "$work/calls" "sudo -- $top/tools/bootstrap --tests"
rm "$work/bin/sudo"
mkdir "$work/few" && for tool in sh sed tr sort grep cat; do ln -s "$(command -v $tool)" "$work/few/"; done
PATH=$work/bin:$work/few run
check "without sudo it says what root has to do" is "$rc$(grep -c 'neither root nor is there sudo' "$work/out")" 11
check "and installs nothing" is "$(cat "$work/calls")" ""
rm "$DEBIAN_VERSION"
run
check "elsewhere than on Debian it says so" is "$rc$(grep -c 'this is not Debian' "$work/out")" 11
run --nonsense
check "a wrong option is wrong use" is "$rc" 2
echo "1..$n"
[ $failed = 0 ]
