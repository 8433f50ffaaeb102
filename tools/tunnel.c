/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel.c -- `weir tunnel`: the table of its sub-commands, and those that make, change and remove
 * tunnels.
 *
 * What is made is in the registry when the command returns; the edges act by themselves, and
 * creation waits to see them do it.
 */
#include "tools/tunnel.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "lib/hash.h"

#define TOKEN_TTL_MAX (90 * 86400)
#define WAIT_STEP_MS  100

/* ---- what this node's configuration knows -----------------------------------------------------
 */

/* The authority by which origins know edges: hex SHA-256 of its certificate. */
static int fingerprint(const struct conf *conf, char out[65])
{
	char path[PATH_MAX] = "";
	unsigned char digest[32];
	unsigned int n = 0;
	X509 *cert;
	FILE *in;

	if (conf->tls.ca)
		snprintf(path, sizeof(path), "%s", conf->tls.ca);
	else if (conf->authority.enabled)
		snprintf(path, sizeof(path), "%s/ca.pem", conf->authority.folder);
	else
		return cmd_fail(
			"%s: tls.ca is missing; origins know the edges by that authority (weir ca "
			"init)",
			conf->path);
	in = fopen(path, "re");
	if (!in)
		return cmd_fail("%s: %s", path, strerror(errno));
	cert = PEM_read_X509(in, NULL, NULL, NULL);
	fclose(in);
	if (!cert || X509_digest(cert, EVP_sha256(), digest, &n) != 1 || n != sizeof(digest)) {
		X509_free(cert);
		return cmd_fail("%s holds no certificate", path);
	}
	X509_free(cert);
	hex_encode(digest, sizeof(digest), out);
	return CMD_OK;
}

static bool in_zone(const char *hostname, const char *zone)
{
	size_t n = strlen(hostname), z = strlen(zone);

	return n > z + 1 && !strcasecmp(hostname + n - z, zone) && hostname[n - z - 1] == '.';
}

/* Names that something else of this node answers for. */
static int check_hostnames(const struct conf *conf, const struct tunnel *t)
{
	for (size_t i = 0; i < t->nhostnames; i++) {
		const char *h = t->hostnames[i];

		for (size_t k = 0; k < conf->edge.ngateway_hostnames; k++)
			if (!strcasecmp(h, conf->edge.gateway_hostnames[k]))
				return cmd_fail(
					"hostname %s is the gateway's (edge.gateway_hostnames of "
					"%s)",
					h, conf->path);
		for (size_t k = 0; k < conf->ns.nsteer; k++)
			if (!strcasecmp(h, conf->ns.steer[k].name))
				return cmd_fail("hostname %s is steered already (ns.steer of %s)",
						h, conf->path);
	}
	return CMD_OK;
}

static struct tunnel_pool pool_of(const struct conf *conf)
{
	return (struct tunnel_pool){ conf->tunnels.prefix, conf->tunnels.nprefix,
				     (int64_t)(conf->tunnels.quarantine_us / 1000000) };
}

/* ---- waiting for the edges ---------------------------------------------------------------------
 */

/* HOST:PORT of an edge where origins may dial in, into out; how many edges there are. */
static size_t find_edges(struct registry *reg, char *out, size_t len)
{
	struct reg_kv *kvs = NULL;
	size_t n = 0;

	if (registry_list(reg, REG_MEMBERS "edge/", &kvs, &n, NULL))
		return 0;
	for (size_t i = 0; i < n && !*out; i++) {
		json_t *member = json_loads(kvs[i].value, 0, NULL);
		const char *at =
			json_string_value(json_array_get(json_object_get(member, "attach"), 0));

		if (at)
			snprintf(out, len, "%s", at);
		json_decref(member);
	}
	reg_kv_list_free(kvs, n);
	return n;
}

static int64_t revision_of(struct registry *reg, const char *name)
{
	char key[sizeof(REG_TUNNELS) + TUNNEL_NAME_MAX];
	struct reg_kv kv;
	int64_t revision = INT64_MAX;

	snprintf(key, sizeof(key), REG_TUNNELS "%s", name);
	if (!registry_get(reg, key, &kv)) {
		revision = kv.mod_revision;
		reg_kv_free(&kv);
	}
	return revision;
}

/* Until the publisher says that the edges route it, or nobody said so for longer than it may wait.
 */
static json_t *wait_published(struct registry *reg, const struct conf *conf, const char *name)
{
	int64_t revision = revision_of(reg, name);
	uint64_t left = conf->tunnels.ack_timeout_us / 1000 + 3000;
	bool terminal = isatty(STDERR_FILENO);
	json_t *published;

	if (terminal)
		fprintf(stderr, "waiting until every edge routes %s …", name);
	fflush(stderr);
	for (;;) {
		struct timespec step = { .tv_nsec = WAIT_STEP_MS * 1000000L };

		published = tunnel_published(reg, name, revision);
		if (published || left < WAIT_STEP_MS)
			break;
		left -= WAIT_STEP_MS;
		nanosleep(&step, NULL);
	}
	if (terminal)
		fputs(published ? " done\n" : " no word\n", stderr);
	return published;
}

/* ---- create ------------------------------------------------------------------------------------
 */

struct made {
	struct tunnel t;
	char token[256], edge[80];
	int64_t until;
	size_t nedges;
	json_t *published;
};

static int open_token(struct registry *reg, const struct conf *conf, const char *name, int64_t ttl,
		      char *out, size_t len)
{
	struct tunnel_token token = { .name = "" };
	char why[TUNNEL_WHY_MAX];
	int rc = fingerprint(conf, token.fingerprint);

	if (rc)
		return rc;
	if (tunnel_open_enrolment(reg, name, ttl, token.secret, why))
		return cmd_fail("%s", why);
	snprintf(token.name, sizeof(token.name), "%s", name);
	tunnel_token_format(&token, out, len);
	OPENSSL_cleanse(&token, sizeof(token));
	return CMD_OK;
}

/* `weir tunnel run` with a target for each kind of port, as an example to change. */
static char *run_command(const struct tunnel *t, char *buf, size_t len)
{
	size_t at = (size_t)snprintf(buf, len, "weir tunnel run %s", t->name);
	bool http = false;

	for (size_t i = 0; i < t->nports && at < len; i++) {
		const struct tunnel_port *p = &t->ports[i];

		if (p->mode == TUNNEL_HTTP || p->mode == TUNNEL_HTTPS)
			http = true;
		else
			at += (size_t)snprintf(buf + at, len - at,
					       " --port %u --to tcp://127.0.0.1:%u", p->port,
					       p->port);
	}
	if (http && at < len)
		snprintf(buf + at, len - at, " --to http://127.0.0.1:8080");
	return buf;
}

static void print_next(const struct made *m)
{
	char when[40], command[2048];
	time_t until = (time_t)m->until;

	strftime(when, sizeof(when), "%Y-%m-%d %H:%M", localtime(&until));
	printf("\ntoken, shown this once, good for one origin until %s:\n  %s\n", when, m->token);
	printf("\nnext, on the machine where the server runs (the first asks for the token):\n"
	       "  weir tunnel enroll - --edge %s\n"
	       "  %s\n",
	       *m->edge ? m->edge : "EDGE:PORT", run_command(&m->t, command, sizeof(command)));
	if (!m->nedges)
		puts("\nno edge runs yet: `weir status` shows members; a section edge in weir.yaml "
		     "makes "
		     "one");
}

static void print_made(const struct conf *conf, const struct made *m)
{
	const json_t *silent = json_object_get(m->published, "silent"), *node;
	const json_t *taken = json_object_get(m->published, "taken");
	char a[ADDR_STRLEN], a6[ADDR_STRLEN], ports[512];
	size_t i;

	printf("tunnel %s: ports %s", m->t.name, tunnel_ports_text(&m->t, ports, sizeof(ports)));
	if (m->t.address.family)
		printf(", address %s", addr_format(&m->t.address, a, sizeof(a)));
	if (m->t.address6.family)
		printf("%s%s", m->t.address.family ? " and " : ", address ",
		       addr_format(&m->t.address6, a6, sizeof(a6)));
	putchar('\n');
	for (i = 0; i < m->t.nhostnames; i++) {
		const char *h = m->t.hostnames[i];

		if (!conf->tunnels.zone)
			printf("  %s: tunnels.zone is not set; you publish it yourself\n", h);
		else if (!in_zone(h, conf->tunnels.zone))
			printf("  %s: is not in %s; you publish it yourself\n", h,
			       conf->tunnels.zone);
		else
			printf("  %s: %s\n", h,
			       m->published ? "published"
			       : m->nedges  ? "not published yet; `weir tunnel info` shows when"
					    : "is published when an edge runs");
	}
	json_array_foreach (silent, i, node)
		fprintf(stderr,
			"edge %s did not say that it routes the tunnel: look whether it runs\n",
			json_string_value(node));
	json_array_foreach (taken, i, node)
		fprintf(stderr,
			"the zone has a record %s that no tunnel made: it stays; remove it, and "
			"the tunnel's comes\n",
			json_string_value(node));
	print_next(m);
}

static int print_made_json(const struct made *m)
{
	json_t *o = tunnel_json(&m->t), *next = json_array();
	char command[2048];

	json_object_set_new(o, "token", json_string(m->token));
	json_object_set_new(o, "token_until", json_integer((json_int_t)m->until));
	json_object_set(o, "published",
			m->published ? json_object_get(m->published, "at") : json_null());
	json_object_set_new(o, "silent",
			    m->published ? json_incref(json_object_get(m->published, "silent"))
					 : json_array());
	json_array_append_new(next, json_sprintf("weir tunnel enroll - --edge %s",
						 *m->edge ? m->edge : "EDGE:PORT"));
	json_array_append_new(next, json_string(run_command(&m->t, command, sizeof(command))));
	json_object_set_new(o, "next", next);
	return cmd_print_json(o);
}

static int create(const struct conf *conf, struct registry *reg, const struct tunnel_wishes *w,
		  struct made *m, int64_t ttl)
{
	struct tunnel_pool pool = pool_of(conf);
	char why[TUNNEL_WHY_MAX], print[65];
	int rc = tunnel_wishes_set(w, &m->t);

	if (!rc)
		rc = check_hostnames(conf, &m->t);
	if (!rc)
		rc = fingerprint(conf, print); /* before anything is made */
	if (rc)
		return rc;
	if (tunnel_create(reg, &m->t, &pool, why))
		return cmd_fail("%s", why);
	rc = open_token(reg, conf, m->t.name, ttl, m->token, sizeof(m->token));
	if (rc)
		return rc;
	m->until = time(NULL) + ttl;
	m->nedges = find_edges(reg, m->edge, sizeof(m->edge));
	if (m->nedges && !w->no_wait)
		m->published = wait_published(reg, conf, m->t.name);
	if (w->opt.json)
		return print_made_json(m);
	print_made(conf, m);
	return CMD_OK;
}

static int run_create(const struct cmd *cmd, int argc, char **argv)
{
	struct tunnel_wishes w = { .owner = NULL };
	int n = tunnel_wishes_take(cmd, argc, argv, &w), rc = CMD_FAILED;
	uint64_t ttl = n < 0 ? 0 : cmd_parse_duration(w.ttl);
	struct registry *reg;
	struct conf *conf;
	struct made *m;

	if (n < 0)
		return cmd_exit_of(n);
	if (n != 1 || !w.nhostnames)
		return cmd_usage(cmd,
				 "wants a name and --hostname, such as `weir tunnel create app "
				 "--hostname app.edge.example`");
	if (!tunnel_name_valid(argv[0]))
		return cmd_usage(cmd, "%s is no name: 1 to 40 of a-z, 0-9 and inner -", argv[0]);
	if (!ttl || ttl > TOKEN_TTL_MAX)
		return cmd_usage(cmd, "--token-ttl %s: a time such as 30m or 24h, at most 90d",
				 w.ttl);
	conf = cmd_conf(&w.opt);
	if (!conf)
		return CMD_USAGE;
	if (!conf->tunnels.enabled) {
		cmd_fail(
			"%s has no section tunnels; add one, such as tunnels: {zone: edge.example}",
			conf->path);
		conf_free(conf);
		return CMD_FAILED;
	}
	m = calloc(1, sizeof(*m));
	reg = m ? cmd_registry(conf) : NULL;
	if (reg) {
		snprintf(m->t.name, sizeof(m->t.name), "%s", argv[0]);
		rc = create(conf, reg, &w, m, (int64_t)ttl);
		tunnel_clear(&m->t);
		json_decref(m->published);
		OPENSSL_cleanse(m->token, sizeof(m->token));
	}
	free(m);
	registry_close(reg);
	conf_free(conf);
	return rc;
}

/* ---- those that take a name -------------------------------------------------------------------
 */

/* What one of them does, with its registry open. */
struct named {
	const struct conf *conf;
	struct registry *reg;
	const char *name;
	const struct tunnel_wishes *w;
	const char *serial;
	int64_t ttl;
};

static int set_named(const struct named *n)
{
	struct tunnel *t = calloc(1, sizeof(*t));
	char why[TUNNEL_WHY_MAX];
	int rc = t ? tunnel_get(n->reg, n->name, t) : -ENOMEM;

	if (rc) {
		free(t);
		return rc == -ENOENT
			       ? cmd_fail("there is no tunnel %s (weir tunnel list)", n->name)
			       : cmd_fail("cannot read tunnel %s: %s", n->name, registry_error());
	}
	rc = tunnel_wishes_set(n->w, t);
	if (!rc)
		rc = check_hostnames(n->conf, t);
	if (!rc && tunnel_change(n->reg, t, why))
		rc = cmd_fail("%s", why);
	if (!rc && n->w->opt.json)
		rc = cmd_print_json(tunnel_json(t));
	else if (!rc)
		printf("%s: changed; hostnames that are new need a new certificate (`weir tunnel "
		       "token "
		       "%s`, then enroll again)\n",
		       n->name, n->name);
	tunnel_clear(t);
	free(t);
	return rc;
}

static int token_named(const struct named *n)
{
	char token[256], edge[80] = "";
	int rc = open_token(n->reg, n->conf, n->name, n->ttl, token, sizeof(token));

	if (rc)
		return rc;
	find_edges(n->reg, edge, sizeof(edge));
	if (n->w->opt.json)
		cmd_print_json(json_pack("{s:s, s:s, s:I}", "name", n->name, "token", token,
					 "token_until", (json_int_t)(time(NULL) + n->ttl)));
	else
		printf("%s\nit is shown this once and good for one origin; the one before is not "
		       "any "
		       "more\nnext, there: weir tunnel enroll - --edge %s (it asks for the "
		       "token)\n",
		       token, *edge ? edge : "EDGE:PORT");
	OPENSSL_cleanse(token, sizeof(token));
	return CMD_OK;
}

static int revoke_named(const struct named *n)
{
	char why[TUNNEL_WHY_MAX];
	size_t count = 0;

	if (tunnel_revoke(n->reg, n->name, n->serial, &count, why))
		return cmd_fail("%s", why);
	if (n->w->opt.json)
		return cmd_print_json(
			json_pack("{s:s, s:I}", "name", n->name, "revoked", (json_int_t)count));
	if (count)
		printf("%s: %zu certificate%s revoked; edges drop those origins now (`weir tunnel "
		       "token "
		       "%s` lets them in again)\n",
		       n->name, count, count == 1 ? "" : "s", n->name);
	else
		printf("%s: the authority has signed no certificate that is still good\n", n->name);
	return CMD_OK;
}

static int delete_named(const struct named *n)
{
	int64_t rest = (int64_t)(n->conf->tunnels.quarantine_us / 1000000);
	char why[TUNNEL_WHY_MAX], for_how_long[16];

	if (tunnel_remove(n->reg, n->name, rest, why))
		return cmd_fail("%s", why);
	if (n->w->opt.json)
		return cmd_print_json(json_pack("{s:s, s:s}", "name", n->name, "done", "delete"));
	printf("%s: removed; its certificates are revoked, its names go, its address rests for "
	       "%s\n",
	       n->name, cmd_duration((uint64_t)rest, for_how_long));
	return CMD_OK;
}

static int run_named(const struct cmd *cmd, int argc, char **argv, int (*fn)(const struct named *n))
{
	struct tunnel_wishes w = { .owner = NULL };
	const char *serial = NULL;
	bool one = cmd_take_all(&argc, argv, "--serial", &serial, 1) > 0;
	int n = tunnel_wishes_take(cmd, argc, argv, &w), rc = CMD_FAILED;
	uint64_t ttl = n < 0 ? 0 : cmd_parse_duration(w.ttl);
	struct named named = { .w = &w, .serial = serial, .ttl = (int64_t)ttl };
	struct registry *reg;
	struct conf *conf;

	if (n < 0)
		return cmd_exit_of(n);
	if (n != 1 || (one && fn != revoke_named))
		return cmd_usage(cmd, "wants the name of one tunnel");
	if (!ttl || ttl > TOKEN_TTL_MAX)
		return cmd_usage(cmd, "--token-ttl %s: a time such as 30m or 24h, at most 90d",
				 w.ttl);
	conf = cmd_conf(&w.opt);
	if (!conf)
		return CMD_USAGE;
	reg = cmd_registry(conf);
	named.conf = conf;
	named.reg = reg;
	named.name = argv[0];
	if (reg)
		rc = fn(&named);
	registry_close(reg);
	conf_free(conf);
	return rc;
}

static int run_set(const struct cmd *cmd, int argc, char **argv)
{
	return run_named(cmd, argc, argv, set_named);
}

static int run_token(const struct cmd *cmd, int argc, char **argv)
{
	return run_named(cmd, argc, argv, token_named);
}

static int run_revoke(const struct cmd *cmd, int argc, char **argv)
{
	return run_named(cmd, argc, argv, revoke_named);
}

static int run_delete(const struct cmd *cmd, int argc, char **argv)
{
	return run_named(cmd, argc, argv, delete_named);
}

static int run_enroll(const struct cmd *cmd, int argc, char **argv)
{
	(void)cmd;
	return tunnel_enroll(argc, argv);
}

static int run_run(const struct cmd *cmd, int argc, char **argv)
{
	(void)cmd;
	return tunnel_run(argc, argv);
}

/* ---- the table ---------------------------------------------------------------------------------
 */

#define COMMON_HELP                                                                                \
	"  -c FILE           configuration (default $WEIR_CONFIG, then " CONF_DEFAULT_PATH ")\n"   \
	"  --json            one JSON text\n"
#define TUNNEL_HELP                                                                                \
	"  --hostname H      a name that it serves; several times for several\n"                   \
	"  --port P/MODE     http, https (TLS ends at the edge), tls (passed through by SNI) or "  \
	"tcp;\n                    without: 80/http and 443/https\n"                               \
	"  --tls-pass        https ports pass TLS through to the origin\n"                         \
	"  --allow NETWORK   only clients of these; --deny NETWORK: not of these\n"                \
	"  --client-ca FILE  clients must show a certificate of it (https)\n"                      \
	"  --owner USER      whose it is\n"

static const struct cmd subs[] = {
	{ "tunnel create", "NAME --hostname H…", "Make a tunnel: its names, an address, a token",
	  TUNNEL_HELP "  --token-ttl T     how long the token is good (24h; at most 90d)\n"
		      "  --no-wait         do not wait until every edge routes it\n" COMMON_HELP
		      "\nexample: weir tunnel create app --hostname app.edge.example\n",
	  run_create },
	{ "tunnel enroll", "TOKEN|- --edge HOST:PORT", NULL, NULL, run_enroll },
	{ "tunnel run", "[NAME] --to URL", NULL, NULL, run_run },
	{ "tunnel list", "", "Show all tunnels",
	  COMMON_HELP "\nexample: weir tunnel list --json | jq -r '.[].name'\n", tunnel_list },
	{ "tunnel info", "NAME", "Show one: names, edges, origins, certificates",
	  COMMON_HELP "\nexample: weir tunnel info app\n", tunnel_info },
	{ "tunnel top", "[--interval 1s]",
	  "Show again and again what goes through this node's edge",
	  "  --interval T      pause between two looks (1s)\n  --rounds N        end after so many "
	  "(2 when not on a terminal)\n" COMMON_HELP "\nexample: weir tunnel top\n",
	  tunnel_top },
	{ "tunnel logs", "[NAME] [--follow]", "Show requests at this node's edge",
	  "  --follow          go on with what comes\n  --lines N         so many at first (20)\n"
	  "  -c FILE           configuration\n  --json            a JSON text a line\n\nexample: "
	  "weir "
	  "tunnel logs app --follow\n",
	  tunnel_logs },
	{ "tunnel set", "NAME …",
	  "Change hostnames, ports or access; a list that is given replaces",
	  TUNNEL_HELP
	  "  none              as the value of --allow, --deny, --client-ca, --owner takes it "
	  "away\n" COMMON_HELP
	  "\nexample: weir tunnel set app --allow 198.18.0.0/16 --deny 198.18.4.0/24\n",
	  run_set },
	{ "tunnel token", "NAME", "Make another token, for one more origin",
	  "  --token-ttl T     how long it is good (24h; at most 90d)\n" COMMON_HELP
	  "\nthe token that was made before is not good any more\nexample: weir tunnel token app\n",
	  run_token },
	{ "tunnel revoke", "NAME [--serial S]", "Revoke certificates of its origins",
	  "  --serial S        this one (weir tunnel info shows them); without: all\n" COMMON_HELP
	  "\nexample: weir tunnel revoke app\n",
	  run_revoke },
	{ "tunnel delete", "NAME", "Remove it: its names, its certificates; its address rests",
	  COMMON_HELP "\nexample: weir tunnel delete app\n", run_delete },
};

#define SUBS (sizeof(subs) / sizeof(*subs))

int cmd_tunnel(const struct cmd *cmd, int argc, char **argv)
{
	if (!argc)
		return cmd_usage(cmd, "wants one of create, enroll, run, list, info, top, logs, "
				      "set, token, revoke, delete");
	if (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"))
		return cmd_help(cmd), CMD_OK;
	for (size_t i = 0; i < SUBS; i++)
		if (!strcmp(argv[0], strchr(subs[i].name, ' ') + 1))
			return subs[i].run(&subs[i], argc - 1, argv + 1);
	return cmd_usage(cmd, "there is no `weir tunnel %s`", argv[0]);
}
