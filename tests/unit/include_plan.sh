#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The rules that a machine can check of ARCHITECTURE.md ("who includes whom") and CONTRIBUTING.md: which
# folder's headers a file may include, the SPDX line, nothing built in the repository, functions of at most
# 90 lines. Prints TAP.
set -u
cd "${WEIR_TOP:-$(dirname "$0")/../..}" || exit 1
n=0 failed=0

# result WHAT FAULTS: one TAP line, the faults as its diagnostics
result() {
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		failed=$((failed + 1))
		echo "not ok $n - $1"
		printf '%s\n' "$2" | sed 's/^/# /'
	fi
}

# The files of the repository; without git (an unpacked archive) what is there.
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
	files() { git ls-files -- "$@"; }
else
	files() { find "$@" -type f ! -path './build/*' 2>/dev/null | sed 's|^\./||'; }
fi
sources() { files "$@" | grep -E '\.[ch]$' | while read -r f; do [ -f "$f" ] && echo "$f"; done; }

# plan FOLDER ALLOWED...: every #include "x" of FOLDER's files begins with one of ALLOWED
plan() {
	local folder=$1 allowed faults
	shift
	allowed=$(printf '|%s' "$@") allowed=${allowed#|}
	faults=$(sources "$folder" | xargs -r grep -HnoE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"[^"]+"' |
		sed -E 's/^([^:]+:[0-9]+):.*"([^"]+)"/\1 \2/' | awk -v allowed="^($allowed)" '$2 !~ allowed { print $1 ": includes " $2 }')
	result "$folder includes only: $*" "$faults"
}

plan vmlinux 'vmlinux/'
plan bpf vmlinux.h 'vmlinux/' 'bpf/'
plan lib 'lib/'
plan user 'lib/' 'bpf/abi/' 'skel/' 'build/skel/' 'user/'
plan dns 'lib/' 'dns/'
for folder in s3 registry upload identity peers; do
	plan "http/$folder" 'lib/' "http/$folder/"
done
plan http/store 'lib/' 'http/store/' 'http/s3/'
plan http/gateway 'lib/' 'http/gateway/' 'http/s3/' 'http/upload/uploads.h' 'http/identity/identity.h' 'http/peers/peers.h'
plan tools 'lib/' 'bpf/abi/' 'tools/'

# bpf/abi is shared with user space: it includes nothing else of ours.
result "bpf/abi includes only itself" "$(sources bpf/abi | xargs -r grep -Hn '#include "' | grep -v '"bpf/abi/')"
result "nobody outside tests includes tests" "$(sources lib bpf user dns http tools |
	xargs -r grep -HnE '#include "tests/')"
result "nothing built is in the repository" "$(files build; files . | grep -E '\.(o|a|so|skel\.h|d)$')"

# The first three lines say the licence: Apache-2.0, or the kernel's for what runs in it.
spdx=$(files . | grep -E '(\.[ch]|\.sh|\.py|\.5|\.1|\.8)$|^tools/bootstrap$|^tests/run$' | while read -r f; do
	[ -f "$f" ] || continue
	case $f in
	bpf/* | vmlinux/*) want='GPL-2.0 OR BSD-2-Clause' ;;
	tests/*) want='(Apache-2.0|GPL-2.0 OR BSD-2-Clause)' ;;
	*) want='Apache-2.0' ;;
	esac
	head -n 3 "$f" | grep -qE "SPDX-License-Identifier: $want" || echo "$f: no line \"SPDX-License-Identifier: $want\""
done)
result "every source says its licence" "$spdx"

# Kernel style: a function's body is between a "{" and a "}" in the first column.
long=$(sources lib bpf user dns http tools tests | xargs -r awk '
	FNR == 1 { start = 0 }
	/^[a-zA-Z_].*\(/ { name = $0 }
	/^\{/ { start = FNR; what = name }
	/^\}[ \t]*$/ { if (start && FNR - start - 1 > 90) print FILENAME ":" start ": " FNR - start - 1 " lines: " what; start = 0 }')
result "no function is longer than 90 lines" "$long"

echo "1..$n"
[ $failed = 0 ]
