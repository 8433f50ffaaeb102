/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir.c -- the command line: a table of commands.
 */
#include <stdio.h>
#include <string.h>

#include "lib/daemon.h"
#include "lib/log.h"
#include "tools/cmd.h"

#define CONFIG_HELP                                                                                \
	"  -c FILE         configuration (default $WEIR_CONFIG, then " CONF_DEFAULT_PATH ")\n"
#define JSON_HELP "  --json          one JSON text instead of a table\n"
#define WHERE_HELP                                                                                 \
	"  --url URL       where (default $WEIR_URL, the login, the gateway that -c FILE names)\n"    \
	"  --token-file F  who (default $WEIR_TOKEN, the login, AWS_ACCESS_KEY_ID, ~/.aws)\n"        \
	"  --profile P     by the access key of this profile of ~/.aws/credentials\n"                \
	"  --ca FILE       certificates that the gateway's is checked by (the system's)\n" JSON_HELP
#define OBJECT_HELP                                                                                \
	"  --gateway URL   where (default $WEIR_URL, $WEIR_GATEWAY, the gateway that -c FILE names,\n" \
	"                  the login)\n"                                                             \
	"  --token-file F  who (default $WEIR_TOKEN, the login, AWS_ACCESS_KEY_ID,\n"                \
	"                  ~/.config/weir/token, ~/.aws/credentials)\n"                              \
	"  --profile P     by the access key of this profile of ~/.aws/credentials\n"                \
	"  --ca FILE       certificates that the gateway's is checked by (the system's)\n" JSON_HELP

static const struct cmd commands[] = {
	{ "up", "[-c FILE] [-v]",
	  "Run the roles that a file names, each as a child with its own privileges",
	  CONFIG_HELP
	  "  -v              more messages\n  --ready FILE    append a line to FILE (or a FIFO) "
	  "when everything runs\n\nexample: weir up -c examples/one-box.yaml\n",
	  cmd_up },
	{ "check", "[-c FILE] [FILE…]",
	  "Say whether configurations are right, and where they are not",
	  CONFIG_HELP "  --keys          print every key with type, default and meaning\n" JSON_HELP
		      "\nexample: weir check examples/*.yaml\n",
	  cmd_check },
	{ "status", "[-c FILE]", "Show what runs on this node, and who else is there",
	  CONFIG_HELP JSON_HELP "\nexit code 0 when every role answers\nexample: weir status "
				"--json | jq '.roles.agent.services'\n",
	  cmd_status },
	{ "top", "[-c FILE] [--interval 1s] [--sort packets]",
	  "Show what goes through the packet path each second, by reason, service and backend",
	  CONFIG_HELP "  --interval T    pause between two looks (1s)\n"
		      "  --sort W        by name, packets, bits or syn (packets); keys n p b s while it runs, q ends\n"
		      "  --rounds N      end after so many (1 when not on a terminal)\n"
		      "  --once          one look\n" JSON_HELP
		      "\na node without an agent shows its status again and again\n"
		      "example: weir top --sort bits; weir top --once --json | jq .rates\n",
	  cmd_top },
	{ "trace", "[--address PREFIX] [--port N] [--reason NAME] [--write FILE] …",
	  "Show packets as the packet path sees them, and what becomes of each",
	  "  --address P     from or to this address or prefix, as it came or as it leaves\n"
	  "  --port N        from or to this port\n"
	  "  --proto P       tcp, udp, icmp, icmpv6, ipip, ipv6 or a number\n"
	  "  --reason R      a name that weir status counts (NO_BACKEND), or sent, passed, dropped;\n"
	  "                  several times, or A,B\n"
	  "  --service NAME  for this service or tunnel\n"
	  "  --backend NAME  that goes to this backend\n"
	  "  --one-of N      one of N such packets, by chance\n"
	  "  --count N       end after so many packets (1000)\n"
	  "  --seconds N     end after so long (60)\n"
	  "  --snap N        so many bytes of each packet (256, the most)\n"
	  "  --inner         without the outer header that was put on\n"
	  "  --write FILE    a capture that Wireshark opens (pcapng), with what became of each packet\n"
	  "                  as its comment\n" CONFIG_HELP
	  "  --json          one JSON text a line\n"
	  "\nexample: weir trace --reason dropped --count 20; weir trace --service files --write files.pcapng\n",
	  cmd_trace },
	{ "weights", "[show [SERVICE] | freeze SERVICE | thaw SERVICE | rollback SERVICE GENERATION]",
	  "Show what was learned: coefficients, model error, wanted and applied weights, and why "
	  "they differ; hold weights, go back to earlier ones",
	  "  show            generations that are kept, when and by whom they were published\n"
	  "  freeze          weights stay as they are; what dies or drains still leaves\n"
	  "  thaw            they follow what is learned again\n"
	  "  rollback        those of an earlier generation, at once, and frozen\n"
	  CONFIG_HELP JSON_HELP
	  "\nexample: weir weights; weir weights freeze files-a; weir weights rollback files-a 17\n",
	  cmd_weights },
	{ "rescue", "[--dry-run] [FOLDER…]",
	  "Take everything of weir out of the way of packets on this host: programs, listener, routes, pins",
	  "  --dry-run       say what would be removed, change nothing\n"
	  "  FOLDER          pins there too, besides those under /sys/fs/bpf\n"
	  "No configuration and no running agent is needed; root only. Exit code 0: nothing is left\n"
	  "\nexample: sudo weir rescue --dry-run && sudo weir rescue\n",
	  cmd_rescue },
	{ "drain", "[NODE] [--stop]", "Give a node no new work (or show who is draining)",
	  CONFIG_HELP "  --stop          let it take part again\n" JSON_HELP
		      "\nexample: weir drain gw-a1; weir drain --stop gw-a1\n",
	  cmd_drain },
	{ "filter", "[list | add block|allow NETWORK | remove NETWORK | reload | top | test ADDRESS]",
	  "Whose packets this node drops, and how many it takes of whom",
	  "  list            lists, what was added by hand, limits, what was dropped (without a word, too)\n"
	  "  add             block or allow a network now; kept over restarts of the agent\n"
	  "    --for T       so long, such as 90s, 1h, 7d (until it is removed)\n"
	  "  remove          what was added\n"
	  "  reload          read the files of lists again; with a wrong line in one the old ones stay\n"
	  "  top             the networks of which most was dropped by limits\n"
	  "    --max N       so many (20)\n"
	  "  test            what the lists say of an address, and where\n" CONFIG_HELP JSON_HELP
	  "\nexample: weir filter add block 203.0.113.0/24 --for 1h; weir filter test 203.0.113.7\n",
	  cmd_filter },
	{ "put", "FILE BUCKET/KEY", "Upload a file",
	  CONFIG_HELP OBJECT_HELP
	  "\na key that ends in / gets the file's name\nexample: weir put report.csv data/2026/\n",
	  cmd_put },
	{ "get", "BUCKET/KEY|sha256:HEX [FILE|-]",
	  "Download an object, by name or by hash; the digest is checked",
	  CONFIG_HELP OBJECT_HELP "\nexample: weir get data/2026/report.csv\n", cmd_get },
	{ "ls", "BUCKET[/PREFIX]", "List objects in key order",
	  CONFIG_HELP OBJECT_HELP "\nexample: weir ls data/2026/\n", cmd_ls },
	{ "du", "[BUCKET[/PREFIX]] [--versions]", "Say how much buckets hold, or what stands below a prefix",
	  CONFIG_HELP OBJECT_HELP "  --versions      count older versions, too\n"
				  "\nexample: weir du; weir du data/2026/ --json | jq .bytes\n",
	  cmd_du },
	{ "scrub", "[--status] [--wait] [--orphans]",
	  "Have the endpoint of this node read everything that it has stored, and mend what is damaged",
	  CONFIG_HELP "  --status        only say how far it is\n"
		      "  --wait          until it is done (on a terminal it always waits, and shows how far it is)\n"
		      "  --orphans       first say that the names which the endpoint has are the right ones, also for data from before a\n"
		      "                  backup of them was put in place: what has no name may go (weir.yaml, endpoint: orphans)\n" JSON_HELP
		      "\nexample: weir scrub --wait --json | jq .damaged\n",
	  cmd_scrub },
	{ "fsck", "[--repair] [--json]",
	  "Check what the endpoint of this node has stored, while it does not run: data, names, index",
	  CONFIG_HELP "  --repair        remove unfinished uploads, have a wrong index made anew; never removes data\n" JSON_HELP
		      "\nexit code 0 when all is well (or a start puts it right: unfinished uploads), 1 when something was found\n"
		      "example: systemctl stop weir-endpoint && weir fsck\n",
	  cmd_fsck },
	{ "rm", "BUCKET/KEY…", "Delete objects, at every endpoint",
	  CONFIG_HELP OBJECT_HELP "\nexample: weir rm data/2026/report.csv\n", cmd_rm },
	{ "media", "add FILE [BUCKET/]NAME | ls [BUCKET] | show NAME | rm NAME | watch NAME",
	  "Films for viewers: make renditions in segments (by ffmpeg), list, remove, watch",
	  "  add FILE NAME   make an HLS asset of a film; it appears complete, or not at all.\n"
	  "                  The same name again: another version; viewers of the last one go on\n"
	  "  ls, show, rm    assets of a bucket (media); one asset's renditions; remove one\n"
	  "  watch NAME      a viewer without a screen (weir media watch --help)\n"
	  "  --rendition L   renditions such as 1080p,720p,360p@700k (three, not larger than the film)\n"
	  "  --segment S     seconds of a segment (4)\n"
	  "  --preset P      of libx264: ultrafast to veryslow (veryfast)\n"
	  "  --dash          a DASH manifest too for a film with sound: its pieces with sound and pictures apart\n"
	  "                  are sent beside, since DASH players take no others (without sound it is always there)\n"
	  "  --public        everybody may read the bucket (by the registry: on a node, -c FILE)\n" CONFIG_HELP WHERE_HELP
	  "\nexample: weir media add talk.mkv talk --rendition 720p,360p; weir media ls\n",
	  cmd_media },
	{ "login", "[URL] [--device | --user NAME]", "Sign in at a gateway, and keep the token",
	  CONFIG_HELP
	  "  --device        by the OpenID provider: a URL and a code are shown (what is done when the "
	  "gateway has one)\n"
	  "  --user NAME     a local user; the password is asked for\n"
	  "  --stdin         the password is the first line of standard input\n"
	  "  --token-file F  keep this token\n"
	  "  --ca FILE       certificates that the gateway's is checked by (the system's)\n" JSON_HELP
	  "\nexample: weir login https://files.edge.example\n",
	  cmd_login },
	{ "logout", "", "End the login: its token is refused from now on",
	  "\nexample: weir logout\n", cmd_logout },
	{ "whoami", "", "Show who is signed in, groups and role", CONFIG_HELP WHERE_HELP
	  "\nexample: weir whoami --json\n",
	  cmd_whoami },
	{ "dataset", "list | create | show | rules | set | files | remove | check …",
	  "Datasets: their rules, who may read and write, their files",
	  "  list                        what you may read or write\n"
	  "  create NAME [RULES]         make one (role steward); RULES: YAML, weir-dataset(5); - for "
	  "standard input\n"
	  "    --title T --owner USER --reader GROUP… --writer GROUP…   when there are no rules yet\n"
	  "  show NAME, rules NAME       who may, and columns; the rules as they were written\n"
	  "  set NAME RULES              other rules (its owner)\n"
	  "    --generation N            only if it still has this one; --force: whichever it has\n"
	  "  files NAME [FILE]           its files; what is known of one\n"
	  "  remove NAME [--force]       --force: with its files\n"
	  "  check RULES FILE            check a file here, nothing is sent; - as RULES: no rules\n" CONFIG_HELP WHERE_HELP
	  "\nexample: weir dataset create sales sales.yaml; weir dataset check sales.yaml may.csv\n",
	  cmd_dataset },
	{ "upload", "FILE… DATASET[/NAME] | --mend UPLOAD --rows A-B FILE",
	  "Send files to a dataset; what is wrong in them is said while they are sent",
	  "  FILE            - is standard input; it needs a name\n"
	  "  --name NAME     the file's name in the dataset (its own); may have folders\n"
	  "  --stop-at-first  stop and drop it at the first finding that is more than a warning\n"
	  "  --no-wait       end when all bytes are there; without (or with --wait) when it is accepted or not\n"
	  "  --retry T       so long the gateway may be away (60s); then the same command goes on with it\n"
	  "  --rate R        at most so many bytes a second, such as 10MiB\n"
	  "  --mend UPLOAD   FILE replaces a part of this rejected upload, or of the file DATASET/NAME\n"
	  "    --rows A-B      data rows from 1, or --bytes A-B from 0; both ends among them\n" CONFIG_HELP WHERE_HELP
	  "\n--json prints a line for each event. Exit code 0: accepted, 1: not\n"
	  "example: weir upload may.csv sales; weir upload --mend UPLOAD --rows 17-17 row17.csv\n",
	  cmd_upload },
	{ "sync", "FOLDER DATASET | DATASET FOLDER",
	  "Keep a dataset equal to a folder (or the folder to the dataset), as files come",
	  "  --once          bring equal and end; without it files are watched\n"
	  "  --delete        remove what is gone; only what this command put there, and as it put it\n"
	  "  --rate R        at most so many bytes a second, such as 10MiB\n"
	  "  --parallel N    files at once (4)\n"
	  "  --reverse       from the dataset to the folder, whatever their order\n"
	  "  --interval T    how often the dataset is asked for what is new (10s; reverse)\n"
	  "  --retry T       with --once: so long the gateway may be away (600s); without it, always\n"
	  "  --quiet         says only what went wrong\n"
	  "A .weirignore in the folder has patterns as gitignore(5); editors' temporary names are left out anyway.\n"
	  "A rejected file is not sent again until it changes. State: $XDG_STATE_HOME/weir/sync\n" CONFIG_HELP WHERE_HELP
	  "\nexample: weir sync ./measurements sales; weir sync --once --delete sales ./copy\n",
	  cmd_sync },
	{ "catalogue", "", "Show all files that you may read, with rows and times", CONFIG_HELP WHERE_HELP
	  "\nexample: weir catalogue --json | jq '.datasets[].files[].url'\n",
	  cmd_catalogue },
	{ "audit", "", "Show who did what, newest first (all of it: role auditor)",
	  "  --who USER      what this user did\n  --what W        login, upload, download, delete, "
	  "dataset.change, …\n"
	  "  --on TEXT       DATASET/FILE or its beginning\n  --result R      ok, denied or failed\n"
	  "  --text TEXT     anywhere in the line\n"
	  "  --since, --until T  2026-05-31, \"2026-05-31 12:30\", or how long ago: 90m, 7d\n"
	  "  --max N         so many lines (100)\n" CONFIG_HELP WHERE_HELP
	  "\nexample: weir audit --on sales/ --result denied --since 7d\n",
	  cmd_audit },
	{ "bucket", "list, or show|set|add NAME", "Show and change what buckets are told to be",
	  "  set NAME          --public yes|no     anybody may read its objects\n"
	  "                    --quota SIZE|none   at most so much data; --objects N: so many objects\n"
	  "                                        (what is not given stays; --quota none alone ends both)\n"
	  "                    --owner USER        who may change what it is\n"
	  "                    --policy FILE|none  a bucket policy (JSON; - is standard input)\n"
	  "                    --acl ACL           a canned ACL\n"
	  "                    --versioning enabled|suspended, --encrypt yes|no, --browse yes|no\n"
	  "                    --block all|none|acls,ignore,policy,restrict  what is not given to the public:\n"
	  "                                        no ACL is taken, none counts, no policy is taken, none counts\n"
	  "                    --ownership BucketOwnerEnforced (no ACL counts)|BucketOwnerPreferred|\n"
	  "                                        ObjectWriter|none\n"
	  "  add NAME          --owner USER [--acl ACL]\n" CONFIG_HELP JSON_HELP
	  "\nexample: weir bucket set photos --quota 50GiB --policy policy.json\n",
	  cmd_bucket },
	{ "sealing", "list, count, reseal or remove KEY", "Sealing keys: what needs which, and removing old ones",
	  "  list              the keys, and what was told last of who needs them\n"
	  "  count             all endpoints look which objects need which key\n"
	  "  reseal            and seal what needs older ones by the newest; no data are touched.\n"
	  "                    On a terminal, or with --wait, it shows how far they are, to the end\n"
	  "  remove KEY        when nothing needs it any more; else it says what does\n" CONFIG_HELP JSON_HELP
	  "\n`weir user key reseal` makes a new key, which seals what comes from then on\n"
	  "example: weir sealing reseal --wait && weir sealing remove first\n",
	  cmd_sealing },
	{ "group", "add|set|remove NAME, or list", "Manage groups: roles, rights, and who of a provider's",
	  "  --role R        member, auditor (reads the audit log), steward (makes datasets) or admin\n"
	  "  --from NAME     this group of the OpenID provider is in it; several times (default: of its "
	  "own name)\n"
	  "  --own-name      again by its own name\n"
	  "  --grant L:B/P   rights L in bucket B below P; several times; B may be *\n"
	  "  --no-grants     none any more\n" CONFIG_HELP JSON_HELP
	  "\nexample: weir group add analysts --from /company/analytics --role steward\n",
	  cmd_group },
	{ "user", "add|key|disable|enable|rm|groups|password|quota NAME, or list", "Manage who may",
	  CONFIG_HELP
	  "  --rights LETTERS  r read, w write, d delete, l list, a see the console (rwdl);\n"
	  "                    none: only what groups and datasets give\n"
	  "  --bucket B        in this bucket (all)\n  --prefix P        below this key prefix "
	  "(all)\n"
	  "  groups NAME G…    these are the user's groups; --none: none\n"
	  "  password NAME     asked for, or --stdin; --none: no password any more\n"
	  "  quota NAME SIZE|none   for all buckets that the user owns; --objects N\n"
	  "  key add NAME      another key; --scope L:B/P (several times), --bucket, --prefix,\n"
	  "                    --rights: at most this; --expires T; --note TEXT; --profile P: as\n"
	  "                    a section of ~/.aws/credentials\n"
	  "  key list [NAME]   what there is\n"
	  "  key rotate NAME KEY   a new one like it; the old one is good for --keep T (1d; 0)\n"
	  "  key revoke|disable|enable NAME KEY\n"
	  "  key reseal        a new sealing key for the installation, and all secrets under it\n" JSON_HELP
	  "\nadd and key print a new key once: its id and secret are user and password for HTTP,\n"
	  "access key and secret for S3\n"
	  "example: weir user key add ada --scope rl:data/2026/ --expires 90d\n"
	  "         weir user key reseal\n",
	  cmd_user },
	{ "token", "NAME", "Sign a token for a user; it is printed on standard output",
	  CONFIG_HELP "  --rights LETTERS  at most so much (all that the user has)\n  --bucket B   "
		      "     in this bucket (all)\n"
		      "  --prefix P        below this key prefix (all)\n  --ttl T           so "
		      "long (12h; at most 90d)\n" JSON_HELP
		      "\nexample: WEIR_TOKEN=$(weir token ada --ttl 1h) weir ls data\n",
	  cmd_token },
	{ "tunnel", "create|enroll|run|list|info|top|logs|set|token|revoke|delete …",
	  "Publish a server behind a firewall under a hostname",
	  "  create NAME --hostname H…     make a tunnel: its names, an address, a token\n"
	  "  enroll TOKEN --edge HOST:PORT  where the server runs: a key, and a certificate for it\n"
	  "  run NAME --to URL             where the server runs: connect it, in the foreground\n"
	  "  list, info NAME               show tunnels, their edges, origins and certificates\n"
	  "  top, logs [NAME]              what goes through this node's edge\n"
	  "  set NAME …                    change hostnames, ports, access\n"
	  "  token NAME                    a token for one more origin\n"
	  "  revoke NAME, delete NAME      its origins' certificates; all of it\n"
	  "\n`weir tunnel create --help` and so on say more\n"
	  "example: weir tunnel create app --hostname app.edge.example\n",
	  cmd_tunnel },
	{ "peers", "list|groups|top|switch|simulate …", "Viewers who carry each other through an outage",
	  "  list                        what is watched: state, viewers, roles, what peers carry, stalls\n"
	  "  groups [ASSET]              who is grouped with whom, who feeds whom, who holds what\n"
	  "  top [--by up|down|stalls]   the viewers who carry, take or stall most\n"
	  "  switch ASSET|--all auto|on|off   when they carry each other\n"
	  "  simulate …                  many viewers and an outage, without a network\n"
	  "\n`weir peers list --help` and so on say more\nexample: weir peers list --watch\n",
	  cmd_peers },
	{ "ca", "init DIR | issue DIR NODE [ADDRESS…] | host DIR HOSTNAME…",
	  "Make certificates by which daemons on different machines know each other",
	  "  --name TEXT     name of the authority\n  host            for an edge's public "
	  "hostnames, where no public authority is at hand\n\nexample: weir ca init /root/weir-ca; weir ca "
	  "issue /root/weir-ca gw-a1 198.18.1.11\n",
	  cmd_ca },
	{ "lab", "up | down | nodes | exec NODE COMMAND… | kill NODE | start NODE",
	  "Two sites on this machine, in namespaces of their own (root)",
	  "  up, down        build it and start everything; end it and leave nothing\n"
	  "  exec            run a command on a node: client, router, reg, edge-a gw-a1 gw-a2 "
	  "ep-a1 ep-a2, the same for b\n"
	  "  kill, start     end every process of a node at once; start it again\n"
	  "\nexample: weir lab up; weir lab exec client dig files.edge.example; weir lab down\n",
	  cmd_lab },
};

#define COMMANDS (sizeof(commands) / sizeof(*commands))

static void print_help(FILE *out)
{
	fputs("usage: weir COMMAND …\n\nAn edge that you run yourself: balancing, names, "
	      "storage.\n\n",
	      out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-9s  %s\n", commands[i].name, commands[i].summary);
	fputs("\nweir COMMAND --help says more, with an example.\n", out);
}

/* A command that differs in one letter, or starts with what was typed. */
static const char *nearest(const char *typed)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		size_t same = 0, len = strlen(commands[i].name);

		while (typed[same] && typed[same] == commands[i].name[same])
			same++;
		if (same >= 2 || !strcmp(typed + same, commands[i].name + same) || same + 1 >= len)
			return commands[i].name;
	}
	return NULL;
}

static int say_unknown(const char *typed)
{
	fprintf(stderr, "weir: there is no command %s", typed);
	if (nearest(typed))
		fprintf(stderr, "; did you mean %s?", nearest(typed));
	fputs("\n\n", stderr);
	print_help(stderr);
	return CMD_USAGE;
}

int main(int argc, char **argv)
{
	log_open("weir", LOG_LEVEL_WARN);
	if (argc < 2) {
		print_help(stderr);
		return CMD_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		for (size_t i = 0; argc > 2 && i < COMMANDS; i++)
			if (!strcmp(argv[2], commands[i].name))
				return cmd_help(&commands[i]), CMD_OK;
		if (argc > 2)
			return say_unknown(argv[2]);
		print_help(stdout);
		return CMD_OK;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("weir %s\n", WEIR_VERSION);
		return CMD_OK;
	}
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(&commands[i], argc - 2, argv + 2);
	if (argv[1][0] == '-') {
		fprintf(stderr, "weir: the command comes first, %s behind it: weir COMMAND %s … (weir help)\n", argv[1], argv[1]);
		return CMD_USAGE;
	}
	return say_unknown(argv[1]);
}
