# SPDX-License-Identifier: Apache-2.0
# bash completion for weir(1); install as PREFIX/share/bash-completion/completions/weir
_weir() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} cmd=${COMP_WORDS[1]} words=
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		words="up check status top trace weights filter drain rescue put get ls du scrub fsck rm media login logout whoami dataset upload sync catalogue audit bucket sealing group user token tunnel peers ca lab help --help --version"
		COMPREPLY=($(compgen -W "$words" -- "$cur"))
		return
	fi
	case $prev in
	--reason)
		COMPREPLY=($(compgen -W "sent passed dropped $(weir status --json 2>/dev/null | sed -n '/"counters": {/,/}/s/^ *"\([A-Z_0-9]*\)": .*/\1/p')" -- "$cur")); return ;;
	--sort) COMPREPLY=($(compgen -W "name packets bits syn" -- "$cur")); return ;;
	--proto) COMPREPLY=($(compgen -W "tcp udp icmp icmpv6 ipip ipv6" -- "$cur")); return ;;
	--write) COMPREPLY=($(compgen -f -- "$cur")); return ;;
	--role) COMPREPLY=($(compgen -W "member auditor steward admin" -- "$cur")); return ;;
	--what) COMPREPLY=($(compgen -W "login logout device upload download delete replace list dataset.create dataset.change token.create" -- "$cur")); return ;;
	--consent) COMPREPLY=($(compgen -W "yes receive no" -- "$cur")); return ;;
	--by) COMPREPLY=($(compgen -W "up down stalls" -- "$cur")); return ;;
	--result) COMPREPLY=($(compgen -W "ok denied failed" -- "$cur")); return ;;
	-c | --config | --token-file | --ready | --client-ca | --dir | --ca | --trace) COMPREPLY=($(compgen -f -- "$cur")); return ;;
	--preset) COMPREPLY=($(compgen -W "ultrafast superfast veryfast faster fast medium slow slower veryslow" -- "$cur")); return ;;
	--acl) COMPREPLY=($(compgen -W "private public-read public-read-write authenticated-read" -- "$cur")); return ;;
	--versioning) COMPREPLY=($(compgen -W "enabled suspended" -- "$cur")); return ;;
	--encrypt | --browse) COMPREPLY=($(compgen -W "yes no" -- "$cur")); return ;;
	--block) COMPREPLY=($(compgen -W "all none acls ignore policy restrict acls,ignore policy,restrict" -- "$cur")); return ;;
	--ownership) COMPREPLY=($(compgen -W "BucketOwnerEnforced BucketOwnerPreferred ObjectWriter none" -- "$cur")); return ;;
	--policy) COMPREPLY=($(compgen -W "none" -- "$cur") $(compgen -f -- "$cur")); return ;;
	--rights) COMPREPLY=($(compgen -W "r rl rw rwl rwdl rwdla" -- "$cur")); return ;;
	esac
	case $cmd in
	up) words="-c -v --ready --help" ;;
	check) words="-c --keys --json --help" ;;
	status) words="-c --json --help" ;;
	weights) words="show freeze thaw rollback -c --json --help" ;;
	top) words="-c --interval --sort --rounds --once --json --help" ;;
	trace) words="-c --address --port --proto --reason --service --backend --one-of --count --seconds --snap --inner --write --json --help" ;;
	rescue) words="--dry-run --help" ;;
	drain) words="-c --stop --json --help" ;;
	filter)
		case ${COMP_WORDS[2]} in
		add) words="block allow --for" ;;
		remove) words=$(weir filter list --json 2>/dev/null | sed -n 's/^ *"network": "\(.*\)",*$/\1/p') ;;
		top) words="--max" ;;
		list | reload | test) words="" ;;
		*) words="list add remove reload top test" ;;
		esac
		words+=" -c --json --help" ;;
	scrub) words="-c --status --wait --orphans --json --help" ;;
	fsck) words="-c --repair --json --help" ;;
	du) words="-c --gateway --token-file --profile --ca --json --versions --help" ;;
	put | get | ls | rm) words="-c --gateway --token-file --profile --ca --json --help" ;;
	media)
		case ${COMP_WORDS[2]} in
		add) words="--rendition --segment --preset --dash --public" ;;
		ls | show | rm) words="" ;;
		watch) words="--seconds --consent --uplink --bind --rendition --buffer --start --max-stall --trace --quiet --gateway" ;;
		*) words="add ls show rm watch" ;;
		esac
		words+=" -c --url --token-file --profile --ca --json --help"
		[[ $prev = show || $prev = rm || $prev = watch ]] && [[ $cur != -* ]] &&
			words+=" $(weir media ls --json 2>/dev/null | sed -n 's/^ *"asset": "\(.*\)",$/\1/p')" ;;
	upload) words="--name --stop-at-first --no-wait --retry --rate --mend --rows --bytes -c --url --token-file --profile --ca --json --help" ;;
	sync) words="--once --delete --rate --parallel --reverse --interval --retry --quiet -c --url --token-file --profile --ca --json --help" ;;
	login) words="--device --user --stdin --token-file --ca -c --json --help" ;;
	logout) words="--help" ;;
	whoami | catalogue) words="-c --url --token-file --profile --ca --json --help" ;;
	audit) words="--who --what --on --result --text --since --until --max -c --url --token-file --profile --ca --json --help" ;;
	dataset)
		case ${COMP_WORDS[2]} in
		create) words="--title --owner --reader --writer" ;;
		set) words="--generation --force" ;;
		remove) words="--force" ;;
		list | show | rules | files | check) words="" ;;
		*) words="list create show rules set files remove check" ;;
		esac
		words+=" -c --url --token-file --profile --ca --json --help"
		case $prev in show | rules | set | remove | files)
			[[ $cur != -* ]] && words+=" $(weir dataset list --json 2>/dev/null | sed -n 's/^ *"name": "\(.*\)",$/\1/p')" ;;
		esac ;;
	sealing)
		case $prev in
		remove) words=$(weir sealing list --json 2>/dev/null | sed -n 's/^ *"kid": "\(.*\)",*$/\1/p') ;;
		*) words="list count reseal remove --wait -c --json --help" ;;
		esac ;;
	group) words="add set remove list --role --from --own-name --grant --no-grants -c --json --help" ;;
	bucket)
		case ${COMP_WORDS[2]} in
		add) words="--owner --acl" ;;
		set) words="--public --quota --objects --owner --policy --acl --versioning --encrypt --browse --block --ownership" ;;
		list | show) words="" ;;
		*) words="list show set add" ;;
		esac
		words+=" -c --json --help"
		case $prev in show | set)
			[[ $cur != -* ]] && words+=" $(weir bucket list --json 2>/dev/null | sed -n 's/^ *"name": "\(.*\)",*$/\1/p')" ;;
		esac ;;
	user)
		case ${COMP_WORDS[2]} in
		key) words="add list rotate revoke disable enable reseal --rights --bucket --prefix --scope --expires --keep --note --profile" ;;
		add) words="--rights --bucket --prefix" ;;
		quota) words="--objects none" ;;
		password) words="--stdin --none" ;;
		groups) words="--none" ;;
		list | disable | enable | rm) words="" ;;
		*) words="add key disable enable rm groups password quota list" ;;
		esac
		words+=" -c --json --help" ;;
	token) words="-c --rights --bucket --prefix --ttl --json --help" ;;
	tunnel)
		case ${COMP_WORDS[2]} in
		create) words="--hostname --port --tls-pass --allow --deny --client-ca --owner --token-ttl --no-wait -c --json --help" ;;
		set) words="--hostname --port --tls-pass --allow --deny --client-ca --owner -c --json --help" ;;
		enroll) words="--edge --dir --help" ;;
		run) words="--hostname --port --to --ca --host --proxy --edge --connections --dir --help" ;;
		top) words="-c --interval --rounds --json --help" ;;
		logs) words="-c --follow --lines --json --help" ;;
		token) words="-c --token-ttl --json --help" ;;
		revoke) words="-c --serial --json --help" ;;
		list | info | delete) words="-c --json --help" ;;
		*) words="create enroll run list info top logs set token revoke delete --help" ;;
		esac
		case $prev in info | set | token | revoke | delete | logs)
			[[ $cur != -* ]] && words+=" $(weir tunnel list --json 2>/dev/null | sed -n 's/^    "name": "\(.*\)",$/\1/p')" ;;
		esac ;;
	peers)
		case ${COMP_WORDS[2]} in
		list | groups) words="--watch --interval --rounds" ;;
		top) words="--by --watch --interval --rounds" ;;
		switch) words="--all auto on off" ;;
		simulate) words="--help" ;;
		*) words="list groups top switch simulate" ;;
		esac
		[ "${COMP_WORDS[2]}" = simulate ] || words+=" -c --url --token-file --profile --ca --json --help"
		case $prev in groups | switch)
			[[ $cur != -* ]] && words+=" $(weir peers list --json 2>/dev/null | sed -n 's/^ *"asset": "\(.*\)",$/\1/p')" ;;
		esac ;;
	ca) words="init issue host --name --help" ;;
	lab) words="up down nodes exec kill start --help"
	     case $prev in exec | kill | start) words="client router reg edge-a gw-a1 gw-a2 ep-a1 ep-a2 edge-b gw-b1 gw-b2 ep-b1 ep-b2" ;; esac ;;
	esac
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
	case $cmd in check | put | dataset | upload | sync | media) [[ $cur != -* ]] && COMPREPLY+=($(compgen -f -- "$cur")) ;; esac
}
complete -o filenames -F _weir weir
