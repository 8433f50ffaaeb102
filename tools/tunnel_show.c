/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel_show.c -- `weir tunnel list`, `info`, `top` and `logs`: what the registry knows of
 * tunnels, and what this node's edge counts.
 */
#include "tools/tunnel.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- as JSON ------------------------------------------------------------------------------------
 */

char *tunnel_ports_text(const struct tunnel *t, char *buf, size_t len)
{
	size_t at = 0;

	*buf = '\0';
	for (size_t i = 0; i < t->nports && at < len; i++)
		at += (size_t)snprintf(buf + at, len - at, "%s%u/%s", i ? " " : "",
				       t->ports[i].port, tunnel_mode_word(t->ports[i].mode));
	return buf;
}

static json_t *address(const struct addr *a)
{
	char text[ADDR_STRLEN];

	return a->family ? json_string(addr_format(a, text, sizeof(text))) : json_null();
}

json_t *tunnel_json(const struct tunnel *t)
{
	json_t *o = tunnel_pack(t);
	bool open = *t->enroll_hash && t->enroll_until > time(NULL);

	json_object_del(o, "enroll");
	json_object_del(o, "client_ca");
	json_object_update_missing_new(
		o, json_pack("{s:n, s:n, s:[], s:[]}", "address", "address6", "allow", "deny"));
	json_object_set_new(o, "client_certificates", json_boolean(t->client_ca != NULL));
	json_object_set_new(o, "enrolment_until",
			    open ? json_integer((json_int_t)t->enroll_until) : json_null());
	return o;
}

json_t *tunnel_published(struct registry *reg, const char *name, int64_t revision)
{
	char key[sizeof(REG_PUBLISHED) + TUNNEL_NAME_MAX];
	struct reg_kv kv;
	json_t *o;

	snprintf(key, sizeof(key), REG_PUBLISHED "%s", name);
	if (registry_get(reg, key, &kv))
		return NULL;
	o = json_loadb(kv.value, kv.value_len, 0, NULL);
	reg_kv_free(&kv);
	if (json_is_integer(json_object_get(o, "revision")) &&
	    json_integer_value(json_object_get(o, "revision")) >= revision)
		return o;
	json_decref(o);
	return NULL;
}

/* ---- what the registry knows -------------------------------------------------------------------
 */

/* {TUNNEL: {revision, at, silent}} */
static json_t *all_published(struct registry *reg)
{
	json_t *all = json_object();
	struct reg_kv *kvs = NULL;
	size_t n = 0;

	registry_list(reg, REG_PUBLISHED, &kvs, &n, NULL);
	for (size_t i = 0; i < n; i++) {
		json_t *o = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);

		if (json_is_object(o))
			json_object_set(all, kvs[i].key + strlen(REG_PUBLISHED), o);
		json_decref(o);
	}
	reg_kv_list_free(kvs, n);
	return all;
}

/* {TUNNEL: [{edge, address, connections, origins, rtt_ms, draining, generation}]} */
static json_t *all_attachments(struct registry *reg)
{
	json_t *all = json_object();
	struct reg_kv *kvs = NULL;
	struct attachment a;
	size_t n = 0;

	registry_list(reg, REG_ATTACHMENTS, &kvs, &n, NULL);
	for (size_t i = 0; i < n; i++) {
		if (attachment_parse(&a, kvs[i].key + strlen(REG_ATTACHMENTS), kvs[i].value))
			continue;
		if (!json_object_get(all, a.tunnel))
			json_object_set_new(all, a.tunnel, json_array());
		json_array_append_new(
			json_object_get(all, a.tunnel),
			json_pack("{s:s, s:o, s:I, s:I, s:f, s:b, s:I}", "edge", a.edge, "address",
				  address(a.address.family ? &a.address : &a.address6),
				  "connections", (json_int_t)a.connections, "origins",
				  (json_int_t)a.origins, "rtt_ms", a.rtt_us / 1000.0, "draining",
				  (int)a.draining, "generation", (json_int_t)a.generation));
	}
	reg_kv_list_free(kvs, n);
	return all;
}

/* Says of each attachment whether it counts, and adds up those that do. */
static void judge_attachments(json_t *o, json_t *attachments, const struct tunnel *t)
{
	json_int_t edges = 0, origins = 0;
	json_t *a;
	size_t i;

	json_array_foreach (attachments, i, a) {
		bool same = js_num(a, "generation") == (double)t->generation;
		bool draining = json_is_true(json_object_get(a, "draining"));

		json_object_set_new(a, "state",
				    json_string(!same	   ? "of an older generation"
						: draining ? "draining"
							   : "up"));
		if (!same || draining)
			continue;
		edges++;
		/* each origin is at several edges */
		if (js_num(a, "origins") > (double)origins)
			origins = (json_int_t)js_num(a, "origins");
	}
	json_object_set_new(o, "state", json_string(edges ? "up" : "no origin"));
	json_object_set_new(o, "edges", json_integer(edges));
	json_object_set_new(o, "origins", json_integer(origins));
	json_object_set_new(o, "attachments",
			    attachments ? json_incref(attachments) : json_array());
}

static json_t *describe(const struct tunnel *t, int64_t revision, const json_t *published,
			json_t *attachments)
{
	json_t *o = tunnel_json(t), *silent;

	if (json_integer_value(json_object_get(published, "revision")) < revision)
		published = NULL; /* what is published is older than the tunnel is now */
	silent = json_object_get(published, "silent");
	json_object_set(o, "published", published ? json_object_get(published, "at") : json_null());
	json_object_set_new(o, "silent", silent ? json_incref(silent) : json_array());
	if (json_object_get(published, "taken"))
		json_object_set(o, "taken", json_object_get(published, "taken"));
	judge_attachments(o, attachments, t);
	return o;
}

/* All of them, in the order of their names; NULL when the registry does not answer. */
static json_t *gather(struct registry *reg)
{
	struct tunnel *t = malloc(sizeof(*t));
	struct reg_kv *kvs = NULL;
	json_t *list = NULL, *published, *attachments;
	size_t n = 0;

	if (t && !registry_list(reg, REG_TUNNELS, &kvs, &n, NULL))
		list = json_array();
	published = list ? all_published(reg) : NULL;
	attachments = list ? all_attachments(reg) : NULL;
	for (size_t i = 0; list && i < n; i++) {
		if (tunnel_parse(t, kvs[i].value)) {
			fprintf(stderr, "weir: the registry's value of %s is no tunnel\n",
				kvs[i].key);
			continue;
		}
		json_array_append_new(list, describe(t, kvs[i].mod_revision,
						     json_object_get(published, t->name),
						     json_object_get(attachments, t->name)));
		tunnel_clear(t);
	}
	json_decref(published);
	json_decref(attachments);
	reg_kv_list_free(kvs, n);
	free(t);
	return list;
}

static const char *joined(const json_t *list, char *buf, size_t len)
{
	const json_t *v;
	size_t i, at = 0;

	*buf = '\0';
	json_array_foreach (list, i, v)
		if (at < len)
			at += (size_t)snprintf(buf + at, len - at, "%s%s", i ? " " : "",
					       json_string_value(v));
	return buf;
}

static const char *joined_ports(const json_t *list, char *buf, size_t len)
{
	const json_t *v;
	size_t i, at = 0;

	*buf = '\0';
	json_array_foreach (list, i, v)
		if (at < len)
			at += (size_t)snprintf(buf + at, len - at, "%s%s/%s", i ? " " : "",
					       js_show(v, "port", 0), js_text(v, "mode", "?"));
	return buf;
}

static void print_list(const json_t *list)
{
	struct table *t = table_new("TUNNEL|STATE|HOSTNAMES|ADDRESS|PORTS|EDGES>|ORIGINS>|OWNER");
	const json_t *o;
	size_t i;

	json_array_foreach (list, i, o) {
		const json_t *names = json_object_get(o, "hostnames");
		char ports[256], more[32] = "", hostnames[300];

		if (json_array_size(names) > 1)
			snprintf(more, sizeof(more), " +%zu", json_array_size(names) - 1);
		snprintf(hostnames, sizeof(hostnames), "%s%s",
			 json_array_size(names) ? json_string_value(json_array_get(names, 0)) : "-",
			 more);
		table_row(t, js_text(o, "name", "?"), js_text(o, "state", "?"), hostnames,
			  js_text(o, "address", js_text(o, "address6", "the edges'")),
			  joined_ports(json_object_get(o, "ports"), ports, sizeof(ports)),
			  js_show(o, "edges", 0), js_show(o, "origins", 0), js_text(o, "owner", ""),
			  NULL);
	}
	table_print(t);
}

int tunnel_list(const struct cmd *cmd, int argc, char **argv)
{
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, NULL), rc = CMD_FAILED;
	struct registry *reg;
	struct conf *conf;
	json_t *list = NULL;

	if (n < 0)
		return cmd_exit_of(n);
	if (n > 0)
		return cmd_usage(cmd, "%s is too much; `weir tunnel info %s` shows one", argv[0],
				 argv[0]);
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	reg = cmd_registry(conf);
	if (reg)
		list = gather(reg);
	if (reg && !list)
		cmd_fail("cannot read the tunnels: %s", registry_error());
	if (list) {
		rc = CMD_OK;
		if (opt.json)
			cmd_print_json(json_incref(list));
		else if (json_array_size(list))
			print_list(list);
		else
			puts("no tunnels; `weir tunnel create app --hostname app.edge.example` "
			     "makes "
			     "one");
	}
	json_decref(list);
	registry_close(reg);
	conf_free(conf);
	return rc;
}

/* ---- info ---------------------------------------------------------------------------------------
 */

/* [{serial, at, until}] of the certificates that are good. */
static json_t *certificates_of(struct registry *reg, const char *name)
{
	char prefix[sizeof(REG_ISSUED) + TUNNEL_NAME_MAX + 1];
	json_t *list = json_array();
	struct reg_kv *kvs = NULL;
	size_t n = 0;

	snprintf(prefix, sizeof(prefix), REG_ISSUED "%s/", name);
	if (registry_list(reg, prefix, &kvs, &n, NULL))
		return list;
	for (size_t i = 0; i < n; i++) {
		json_t *was = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);

		json_array_append_new(
			list,
			json_pack("{s:s, s:I, s:I}", "serial", kvs[i].key + strlen(prefix), "at",
				  json_integer_value(json_object_get(was, "at")), "until",
				  json_integer_value(json_object_get(was, "until"))));
		json_decref(was);
	}
	reg_kv_list_free(kvs, n);
	return list;
}

static const char *when(const json_t *o, const char *key, char buf[32])
{
	double at = js_num(o, key);
	time_t t = (time_t)at;

	if (isnan(at) || !t)
		return "-";
	strftime(buf, 32, "%Y-%m-%d %H:%M:%S", localtime(&t));
	return buf;
}

static void print_line(const char *what, const char *text)
{
	if (*text)
		printf("  %-12s %s\n", what, text);
}

static void print_attached(const json_t *o)
{
	const json_t *list = json_object_get(o, "attachments"), *a;
	size_t i;

	if (!json_array_size(list)) {
		puts("\nno origin is attached: `weir tunnel run` on the machine where the server "
		     "runs "
		     "(`weir tunnel token` for a new one)");
		return;
	}
	struct table *t = table_new("EDGE|ADDRESS|ORIGINS>|CONNECTIONS>|RTT MS>|STATE");

	json_array_foreach (list, i, a)
		table_row(t, js_text(a, "edge", "?"), js_text(a, "address", "-"),
			  js_show(a, "origins", 0), js_show(a, "connections", 0),
			  js_show(a, "rtt_ms", 1), js_text(a, "state", "?"), NULL);
	putchar('\n');
	table_print(t);
}

static void print_certificates(const json_t *o)
{
	const json_t *list = json_object_get(o, "certificates"), *c;
	char from[32], until[32];
	size_t i;

	if (!json_array_size(list))
		return;
	struct table *t = table_new("CERTIFICATE|SIGNED|GOOD UNTIL");

	json_array_foreach (list, i, c)
		table_row(t, js_text(c, "serial", "?"), when(c, "at", from),
			  when(c, "until", until), NULL);
	putchar('\n');
	table_print(t);
}

static void print_info(const json_t *o)
{
	char text[8192], at[32];
	const json_t *silent = json_object_get(o, "silent");

	printf("%s%s%s: %s\n", cmd_color("\033[1m"), js_text(o, "name", "?"), cmd_color("\033[0m"),
	       js_text(o, "state", "?"));
	print_line("hostnames", joined(json_object_get(o, "hostnames"), text, sizeof(text)));
	snprintf(text, sizeof(text), "%s %s", js_text(o, "address", ""),
		 js_text(o, "address6", ""));
	print_line("address", strcmp(text, " ") ? text : "the edges' own");
	print_line("ports", joined_ports(json_object_get(o, "ports"), text, sizeof(text)));
	print_line("owner", js_text(o, "owner", ""));
	print_line("allow", joined(json_object_get(o, "allow"), text, sizeof(text)));
	print_line("deny", joined(json_object_get(o, "deny"), text, sizeof(text)));
	if (json_is_true(json_object_get(o, "client_certificates")))
		print_line("clients", "must show a certificate");
	print_line("created", when(o, "created", at));
	print_line("generation", js_show(o, "generation", 0));
	print_line("published", json_is_integer(json_object_get(o, "published"))
					? when(o, "published", at)
					: "not yet");
	if (json_array_size(silent))
		print_line("silent", joined(silent, text, sizeof(text)));
	if (json_array_size(json_object_get(o, "taken")))
		print_line("not its own", joined(json_object_get(o, "taken"), text, sizeof(text)));
	print_line("enrolment", json_is_integer(json_object_get(o, "enrolment_until"))
					? when(o, "enrolment_until", at)
					: "none is open (weir tunnel token)");
	print_attached(o);
	print_certificates(o);
}

int tunnel_info(const struct cmd *cmd, int argc, char **argv)
{
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, NULL), rc = CMD_FAILED;
	struct registry *reg;
	struct conf *conf;
	json_t *list = NULL, *o, *found = NULL;
	size_t i;

	if (n < 0)
		return cmd_exit_of(n);
	if (n != 1)
		return cmd_usage(cmd, "wants the name of one tunnel");
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	reg = cmd_registry(conf);
	if (reg)
		list = gather(reg);
	json_array_foreach (list, i, o)
		if (!strcmp(js_text(o, "name", ""), argv[0]))
			found = o;
	if (reg && !list)
		cmd_fail("cannot read the tunnels: %s", registry_error());
	else if (reg && !found)
		cmd_fail("there is no tunnel %s (weir tunnel list)", argv[0]);
	if (found) {
		rc = CMD_OK;
		json_object_set_new(found, "certificates", certificates_of(reg, argv[0]));
		if (opt.json)
			cmd_print_json(json_incref(found));
		else
			print_info(found);
	}
	json_decref(list);
	registry_close(reg);
	conf_free(conf);
	return rc;
}
