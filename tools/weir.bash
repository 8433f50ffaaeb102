# SPDX-License-Identifier: Apache-2.0
# bash completion for weir(1); install as PREFIX/share/bash-completion/completions/weir
_weir() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} cmd=${COMP_WORDS[1]} words=
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		words="up check status top weights drain put get ls rm user token ca lab help --help --version"
		COMPREPLY=($(compgen -W "$words" -- "$cur"))
		return
	fi
	case $prev in
	-c | --config | --token-file | --ready) COMPREPLY=($(compgen -f -- "$cur")); return ;;
	--rights) COMPREPLY=($(compgen -W "r rl rw rwl rwdl rwdla" -- "$cur")); return ;;
	esac
	case $cmd in
	up) words="-c -v --ready --help" ;;
	check) words="-c --keys --json --help" ;;
	status | weights) words="-c --json --help" ;;
	top) words="-c --interval --rounds --json --help" ;;
	drain) words="-c --stop --json --help" ;;
	put | get | ls | rm) words="-c --gateway --token-file --json --help" ;;
	user) words="add key disable enable rm list -c --rights --bucket --prefix --json --help" ;;
	token) words="-c --rights --bucket --prefix --ttl --json --help" ;;
	ca) words="init issue host --name --help" ;;
	lab) words="up down nodes exec kill start --help"
	     case $prev in exec | kill | start) words="client router reg edge-a gw-a1 gw-a2 ep-a1 ep-a2 edge-b gw-b1 gw-b2 ep-b1 ep-b2" ;; esac ;;
	esac
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
	case $cmd in check | put) [[ $cur != -* ]] && COMPREPLY+=($(compgen -f -- "$cur")) ;; esac
}
complete -o filenames -F _weir weir
