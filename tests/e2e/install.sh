#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make install` into an empty DESTDIR: what a package would hold, nothing elsewhere, and it works from there.
# Needs no root; builds what is not built. TAP.
set -u
cd "${WEIR_TOP:-$(dirname "$0")/../..}" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
n=0 failed=0
check() { # WHAT COMMAND...
	local what=$1 out
	shift
	n=$((n + 1))
	if out=$("$@" 2>&1); then echo "ok $n - $what"; else failed=$((failed + 1)); echo "not ok $n - $what"; echo "$out" | sed 's/^/# /'; fi
}
dest=$work/dest prefix=/opt/weir root=$work/dest/opt/weir
if ! make -s -j2 install DESTDIR="$dest" PREFIX=$prefix >"$work/out" 2>&1; then
	tail -n 20 "$work/out" | sed 's/^/# /'
	echo "not ok 1 - make install"
	echo "1..1"
	exit 1
fi
check "everything is below the prefix" [ "$(find "$dest" -type f | grep -vc "^$root/")" = 0 ]
for program in weir weir-agent weir-ns weir-gateway weir-endpoint weir-registry weir-tunnel; do
	check "$program runs from there" "$root/bin/$program" --version
done
check "the BPF object is an object" sh -c "head -c 4 '$root/lib/weir/edge.bpf.o' | grep -q ELF"
check "no page has errors" sh -c "command -v mandoc >/dev/null || exit 0; find '$root/share/man' -type f | xargs mandoc -Tlint -Werror"
check "weir.yaml(5) is there" [ -s "$root/share/man/man5/weir.yaml.5" ]
check "each daemon has a page and a unit" sh -c "for p in '$root'/bin/weir-*; do
	b=\$(basename \$p); [ -s '$root/share/man/man8/'\$b.8 ] || { echo \$b; exit 1; }
	case \$b in weir-tunnel) b='weir-edge weir-origin weir-authority' ;; esac # one program, three modes
	for u in \$b; do [ -s '$root/lib/systemd/system/'\$u.service ] || { echo \$u; exit 1; }; done; done"
check "units name the programs that were installed" sh -c "! grep -rn '@PREFIX@' '$root/lib/systemd' &&
	grep -rhoE '^ExecStart=[^ ]+' '$root/lib/systemd' | cut -d= -f2 | sort -u | while read -r p; do [ -x '$dest'\$p ] || { echo \$p; exit 1; }; done"
check "files are for everybody to read, programs to run" [ -z "$(find "$root" \( -type f ! -perm -444 \) -o \( -path '*/bin/*' ! -perm -555 \))" ]
examples=$root/share/doc/weir/examples
check "the example is fine where it was installed" sh -c "'$root/bin/weir' check -c '$examples/one-box.yaml'"
etc=$dest/etc-weir # the files that edge.yaml and origin.yaml name, made as they say
mkdir -p "$etc/certs/app" && "$root/bin/weir" ca init "$etc/ca" >/dev/null && "$root/bin/weir" ca issue "$etc/ca" edge-a 203.0.113.1 >/dev/null &&
	"$root/bin/weir" ca host "$etc/ca" app.edge.example >/dev/null && cp "$etc/ca/"*.pem "$etc/ca/edge-a.key" "$etc/" && cp "$examples/one-box.zone" "$etc/edge.example.zone" &&
	cp "$etc/ca/app.edge.example.pem" "$etc/certs/app/fullchain.pem" && cp "$etc/ca/app.edge.example.key" "$etc/certs/app/privkey.pem"
for example in edge origin; do
	sed "s|/etc/weir/|$etc/|g; s|^  # \(gateway[a-z_]*:\)|  \1|; s|^    # - {|    - {|" "$examples/$example.yaml" >"$etc/$example.yaml"
	touch "$etc/old.pem" && sed -i "s|/etc/ssl/old.pem|$etc/old.pem|" "$etc/$example.yaml"
	check "$example.yaml is fine, also with all that it has as comments" "$root/bin/weir" check -c "$etc/$example.yaml"
done
check "the lab finds its nodes' files" sh -c "cd '$root/share/weir/examples/lab' && '$root/bin/weir' lab nodes | grep -vx -e client -e router -e origin |
	while read -r node; do [ -s \$node.yaml ] || { echo \$node; exit 1; }; done"
echo "1..$n"
[ $failed = 0 ]
