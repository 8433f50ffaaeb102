/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show.c -- `weir check`, `weir status`, `weir weights`, `weir drain`: what the daemons
 * say.
 */
#include "tools/tunnel.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int cmd_check(const struct cmd *cmd, int argc, char **argv)
{
	bool keys = false;
	const struct cmd_flag own[] = { { "--keys", NULL, &keys }, { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	json_t *files = json_array();
	int n = cmd_parse(cmd, argc, argv, &opt, own), bad = 0;

	if (n < 0)
		return cmd_exit_of(n);
	if (keys) {
		conf_describe(stdout);
		return CMD_OK;
	}
	for (int i = 0; i < (n ? n : 1); i++) {
		const char *path = n ? argv[i] : opt.conf;
		struct conf *conf = NULL;
		char *faults = NULL;
		size_t len = 0;
		FILE *out = open_memstream(&faults, &len);
		int rc = conf_load(&conf, path, out);

		fclose(out);
		bad += rc != 0;
		if (opt.json)
			json_array_append_new(files, json_pack("{s:s, s:b, s:s}", "file", path,
							       "fine", rc == 0, "faults", faults));
		else if (rc)
			fputs(faults, stderr);
		else
			printf("%s: fine\n", path);
		conf_free(conf);
		free(faults);
	}
	if (opt.json)
		cmd_print_json(json_incref(files));
	json_decref(files);
	return bad ? CMD_FAILED : CMD_OK;
}

/* ---- status ---------------------------------------------------------------------------------- */

static void print_services(const json_t *agent)
{
	const json_t *services = json_object_get(agent, "services"), *service, *b;
	size_t i, k;

	if (!json_array_size(services))
		return;
	struct table *t = table_new(
		"SERVICE|BACKEND|ADDRESS|STATE|WANTED>|APPLIED>|SLOTS>|LOAD>|PACKETS>|WHY");

	json_array_foreach (services, i, service)
		json_array_foreach (json_object_get(service, "backends"), k, b)
			table_row(t, js_text(service, "name", "?"), js_text(b, "name", "?"),
				  js_text(b, "address", "-"),
				  json_is_true(json_object_get(b, "draining")) ? "draining"
				  : json_is_true(json_object_get(b, "up"))     ? "up"
									       : "down",
				  js_show(b, "wanted", 3), js_show(b, "applied", 3),
				  js_show(b, "slots", 0), js_show(b, "load", 3),
				  js_show(b, "packets", 0), js_text(b, "why", ""), NULL);
	putchar('\n');
	table_print(t);
}

#define TUNNELS_SHOWN 20

static void print_tunnels(const json_t *agent)
{
	const json_t *tunnels = json_object_get(agent, "tunnels"), *tunnel, *port;
	size_t i, k, n = json_array_size(tunnels);

	if (!n)
		return;
	struct table *t = table_new("TUNNEL|ADDRESS|PORTS|EDGE|PACKETS>|WHY");

	json_array_foreach (tunnels, i, tunnel) {
		char ports[64] = "";
		size_t len = 0;

		if (i == TUNNELS_SHOWN)
			break;
		json_array_foreach (json_object_get(tunnel, "ports"), k, port)
			if (len < sizeof(ports) - 1)
				len += (size_t)snprintf(ports + len, sizeof(ports) - len, "%s%d",
							k ? "," : "",
							(int)json_integer_value(port));
		table_row(t, js_text(tunnel, "name", "?"),
			  js_text(tunnel, "address", js_text(tunnel, "address6", "-")), ports,
			  js_text(tunnel, "owner", "-"), js_show(tunnel, "packets", 0),
			  js_text(tunnel, "why", ""), NULL);
	}
	putchar('\n');
	table_print(t);
	if (n > TUNNELS_SHOWN)
		printf("and %zu more (--json has all)\n", n - TUNNELS_SHOWN);
}

static void print_nat(const json_t *agent)
{
	const json_t *nat = json_object_get(agent, "nat");

	if (!json_is_object(nat))
		return;
	printf("NAT: %lld of %lld ports in use, %lld established, %lld evicted, %lld refused\n",
	       (long long)json_integer_value(json_object_get(nat, "used")),
	       (long long)json_integer_value(json_object_get(nat, "ports")),
	       (long long)json_integer_value(json_object_get(nat, "open")),
	       (long long)json_integer_value(json_object_get(nat, "EVICTED")),
	       (long long)json_integer_value(json_object_get(nat, "FULL")));
}

static void print_agent(const json_t *agent)
{
	print_services(agent);
	print_nat(agent);
	print_tunnels(agent);
}

static void print_steering(const json_t *ns)
{
	const json_t *steer = json_object_get(ns, "steer"), *name, *site;
	size_t i, k;

	if (!json_array_size(steer))
		return;
	struct table *t = table_new("NAME|SITE|SERVICE|STATE|WEIGHT>|WHY");

	json_array_foreach (steer, i, name)
		json_array_foreach (json_object_get(name, "sites"), k, site)
			table_row(t, js_text(name, "name", "?"), js_text(site, "site", "?"),
				  js_text(site, "service", "?"),
				  json_is_true(json_object_get(site, "up")) ? "up" : "down",
				  js_show(site, "weight", 3), js_text(site, "why", ""), NULL);
	putchar('\n');
	table_print(t);
}

static void print_storage(const json_t *endpoint)
{
	const json_t *buckets = json_object_get(endpoint, "buckets"), *b;
	const char *note = js_text(endpoint, "note", "");
	char bytes[16], space[16];
	size_t i;

	printf("\nstorage: %s object%s, %s, %s free, %s %s%s%s\n",
	       js_show(endpoint, "objects", 0), js_num(endpoint, "objects") == 1 ? "" : "s",
	       cmd_bytes((uint64_t)fmax(0, js_num(endpoint, "bytes")), bytes),
	       cmd_bytes((uint64_t)fmax(0, js_num(endpoint, "free")), space),
	       js_show(endpoint, "copies", 0), js_num(endpoint, "copies") == 1 ? "copy" : "copies", *note ? "; " : "", note);
	if (!json_array_size(buckets))
		return;
	struct table *t = table_new("BUCKET|ROLE|EPOCH>|OBJECTS>");

	json_array_foreach (buckets, i, b)
		table_row(t, js_text(b, "name", "?"), js_text(b, "role", "?"),
			  js_show(b, "epoch", 0), js_show(b, "objects", 0), NULL);
	table_print(t);
}

static void print_gateway(const json_t *gateway)
{
	const json_t *endpoints = json_object_get(gateway, "endpoints"), *e;
	size_t i;

	if (!json_array_size(endpoints))
		return;
	struct table *t = table_new("ENDPOINT|SITE|URL|STATE|WEIGHT>|WHY");

	json_array_foreach (endpoints, i, e)
		table_row(t, js_text(e, "node", "?"), js_text(e, "site", "?"),
			  js_text(e, "url", "?"),
			  json_is_true(json_object_get(e, "up")) ? "up" : "down",
			  js_show(e, "weight", 3), js_text(e, "why", ""), NULL);
	putchar('\n');
	table_print(t);
}

/* Who is there, as the registry knows: a table of members, or a sentence why not. */
static json_t *members(const struct conf *conf, char *why, size_t why_len)
{
	struct registry *reg = NULL;
	struct reg_kv *kvs = NULL;
	json_t *list = NULL;
	size_t n = 0;
	int rc = registry_open(&reg, &conf->registry);

	if (!rc)
		rc = registry_list(reg, REG_MEMBERS, &kvs, &n, NULL);
	if (rc)
		snprintf(why, why_len, "%s", registry_error());
	else
		list = json_array();
	for (size_t i = 0; !rc && i < n; i++) {
		json_t *member = json_loads(kvs[i].value, 0, NULL);

		if (member)
			json_array_append_new(list, member);
	}
	reg_kv_list_free(kvs, n);
	registry_close(reg);
	return list;
}

static void print_members(const json_t *list)
{
	struct table *t = table_new("MEMBER|SITE|ROLE|REACHED AT");
	const json_t *m;
	size_t i;

	json_array_foreach (list, i, m)
		table_row(t, js_text(m, "node", "?"), js_text(m, "site", "?"),
			  js_text(m, "role", "?"), js_text(m, "url", js_text(m, "inside", "-")),
			  NULL);
	putchar('\n');
	table_print(t);
}

static void print_status(const struct conf *conf, const json_t *all)
{
	static const struct {
		const char *role;
		void (*print)(const json_t *);
	} parts[] = { { "agent", print_agent },
		      { "ns", print_steering },
		      { "gateway", print_gateway },
		      { "endpoint", print_storage },
		      { "edge", tunnel_print_edge },
		      { "origin", tunnel_print_origin },
		      { "authority", tunnel_print_authority } };
	const json_t *roles = json_object_get(all, "roles"),
		     *list = json_object_get(all, "members"), *role;
	const char *name;
	struct table *t = table_new("ROLE|STATE|PID>|UP FOR|REGISTRY|NOTE");

	printf("%s%s%s, site %s\n\n", cmd_color("\033[1m"), conf->node, cmd_color("\033[0m"),
	       conf->site);
	json_object_foreach ((json_t *)roles, name, role) {
		bool up = json_is_true(json_object_get(role, "ok"));
		char since[16];

		table_row(t, name, up ? "up" : "down", js_show(role, "pid", 0),
			  up ? cmd_duration((uint64_t)fmax(0, js_num(role, "uptime_s")), since)
			     : "-",
			  js_text(role, "registry", "-"),
			  js_text(role, "error", js_text(role, "note", "")), NULL);
	}
	table_print(t);
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		role = json_object_get(roles, parts[i].role);
		if (json_is_true(json_object_get(role, "ok")))
			parts[i].print(role);
	}
	if (json_array_size(list))
		print_members(list);
	else if (list)
		printf("\nmembers: the registry says nothing (%s)\n",
		       js_text(all, "members_error", "none"));
}

static json_t *gather_status(const struct conf *conf, bool *all_up)
{
	json_t *roles = json_object(), *all = json_pack("{s:s, s:s, s:o}", "node", conf->node,
							"site", conf->site, "roles", roles);
	struct cmd_role list[CMD_ROLES];
	char why[256] = "";
	json_t *who;

	*all_up = true;
	cmd_roles(conf, list);
	for (size_t i = 0; list[i].role; i++) {
		json_t *answer;

		if (!list[i].enabled)
			continue;
		answer = cmd_ask(conf, list[i].role, "status", why, sizeof(why));
		if (!answer) {
			answer = json_pack("{s:b, s:s}", "ok", 0, "error", why);
			*all_up = false;
		}
		json_object_set_new(roles, list[i].role, answer);
	}
	if (json_object_size(roles) == 1 && json_object_get(roles, "origin"))
		return all; /* it is no member: origins reach no registry */
	who = members(conf, why, sizeof(why));
	json_object_set_new(all, "members", who ? who : json_array());
	if (!who)
		json_object_set_new(all, "members_error", json_string(why));
	return all;
}

bool show_status(const struct conf *conf, bool json)
{
	bool all_up;
	json_t *all = gather_status(conf, &all_up);

	if (json)
		cmd_print_json(json_incref(all));
	else
		print_status(conf, all);
	json_decref(all);
	return all_up;
}

int cmd_status(const struct cmd *cmd, int argc, char **argv)
{
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, NULL);
	struct conf *conf;
	bool all_up;

	if (n < 0)
		return cmd_exit_of(n);
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	all_up = show_status(conf, opt.json);
	conf_free(conf);
	return all_up ? CMD_OK : CMD_FAILED;
}

/* ---- weights --------------------------------------------------------------------------------- */

static void print_model(const json_t *service)
{
	const json_t *m;
	size_t i;

	printf("%s%s%s (site %s): error %s, by cpu alone %s, after %s samples%s\n",
	       cmd_color("\033[1m"), js_text(service, "name", "?"), cmd_color("\033[0m"),
	       js_text(service, "site", "?"), js_show(service, "error", 3),
	       js_show(service, "prior_error", 3), js_show(service, "samples", 0),
	       json_is_true(json_object_get(service, "fallback"))
		       ? "; it predicted worse than cpu alone: back to the prior"
		       : "");
	fputs("  load =", stdout);
	json_array_foreach (json_object_get(service, "metrics"), i, m)
		printf("%s %s × %s", i ? " +" : "", js_show(m, "coefficient", 3),
		       js_text(m, "name", "?"));
	puts("\n");
}

static void print_weights(const json_t *answer)
{
	const json_t *service, *b;
	size_t i, k;

	json_array_foreach (json_object_get(answer, "services"), i, service) {
		struct table *t = table_new(
			"BACKEND|STATE|LOAD>|CAPACITY>|WANTED>|APPLIED>|SLOTS>|WHY THEY DIFFER");

		print_model(service);
		json_array_foreach (json_object_get(service, "backends"), k, b)
			table_row(t, js_text(b, "name", "?"),
				  json_is_true(json_object_get(b, "up")) ? "up" : "down",
				  js_show(b, "load", 3), js_show(b, "capacity", 3),
				  js_show(b, "wanted", 3), js_show(b, "applied", 3),
				  js_show(b, "slots", 0), js_text(b, "why", ""), NULL);
		table_print(t);
		putchar('\n');
	}
}

int cmd_weights(const struct cmd *cmd, int argc, char **argv)
{
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, NULL);
	struct conf *conf;
	json_t *answer;
	char why[256];

	if (n < 0)
		return cmd_exit_of(n);
	if (n > 0)
		return weights_edit(cmd, &opt, n, argv);
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	answer = cmd_ask(conf, "agent", "weights", why, sizeof(why));
	if (!answer)
		cmd_fail("the agent of %s: %s", conf->path, why);
	else if (opt.json)
		cmd_print_json(json_incref(answer));
	else
		print_weights(answer);
	n = answer ? CMD_OK : CMD_FAILED;
	json_decref(answer);
	conf_free(conf);
	return n;
}

/* ---- drain ----------------------------------------------------------------------------------- */

static int list_drains(struct registry *reg, bool as_json)
{
	struct reg_kv *kvs = NULL;
	size_t n = 0;
	json_t *nodes = json_array();
	int rc = registry_list(reg, REG_DRAIN, &kvs, &n, NULL);

	for (size_t i = 0; i < n; i++)
		json_array_append_new(nodes, json_string(kvs[i].key + strlen(REG_DRAIN)));
	if (rc)
		cmd_fail("cannot read who is drained: %s", registry_error());
	else if (as_json)
		cmd_print_json(json_incref(nodes));
	else
		for (size_t i = 0; i < n; i++)
			printf("%s is draining\n", kvs[i].key + strlen(REG_DRAIN));
	json_decref(nodes);
	reg_kv_list_free(kvs, n);
	return rc ? CMD_FAILED : CMD_OK;
}

static int set_drain(struct registry *reg, const char *node, bool stop)
{
	char key[256], *value;
	const char *who = getenv("SUDO_USER") ? getenv("SUDO_USER") : getenv("USER");
	json_t *o = json_pack("{s:s, s:I}", "by", who ? who : "?", "since", (json_int_t)time(NULL));
	int rc;

	snprintf(key, sizeof(key), REG_DRAIN "%s", node);
	value = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	rc = stop ? registry_delete(reg, key) : registry_put(reg, key, value, 0);
	free(value);
	if (rc == -ENOENT)
		return cmd_fail("%s was not draining", node);
	if (rc)
		return cmd_fail("cannot %s %s: %s", stop ? "end the drain of" : "drain", node,
				registry_error());
	printf(stop ? "%s takes part again\n"
		    : "%s gets no new work; what is open there goes on (weir weights shows its "
		      "slots leave; weir drain --stop %s)\n",
	       node, node);
	return CMD_OK;
}

int cmd_drain(const struct cmd *cmd, int argc, char **argv)
{
	bool stop = false;
	const struct cmd_flag own[] = { { "--stop", NULL, &stop }, { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc = CMD_FAILED;
	struct registry *reg;
	struct conf *conf;

	if (n < 0)
		return cmd_exit_of(n);
	if (n > 1 || (stop && n != 1))
		return cmd_usage(cmd, "name one node");
	if (n == 1 && strchr(argv[0], '/'))
		return cmd_usage(cmd, "%s is no name of a node", argv[0]);
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	reg = cmd_registry(conf);
	if (reg)
		rc = n ? set_drain(reg, argv[0], stop) : list_drains(reg, opt.json);
	registry_close(reg);
	conf_free(conf);
	return rc;
}
