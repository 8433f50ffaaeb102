// SPDX-License-Identifier: Apache-2.0
/* plan.c -- interfaces, programs, maps and limits as a start would find them: gathered, then told (see plan.h). */
#include "user/agent/plan.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <jansson.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bpf/abi/nat.h"
#include "user/agent/attach.h"
#include "user/agent/cipher.h"
#include "user/agent/dispatcher.h"
#include "user/agent/loader.h"
#include "user/agent/migrate.h"
#include "user/agent/steer.h"

#define MAPS_MAX    128
#define BPF_FS	    0xcafe4a11 /* magic(7): BPF_FS_MAGIC */
#define LINK_PREFIX "link-"    /* attach.c's */

/* ---- interfaces ------------------------------------------------------------------------------ */

/* The program of a pinned link, 0: none, or of another kind or interface. ifindex 0: of a network namespace. */
static uint32_t pinned_program(const struct conf_agent *conf, const char *prefix, const char *name, uint32_t ifindex)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info), program = 0;
	char path[512];
	int link;

	snprintf(path, sizeof(path), "%s/%s%s", conf->pin, prefix, name);
	link = bpf_obj_get(path);
	if (link < 0)
		return 0;
	if (!bpf_obj_get_info_by_fd(link, &info, &len) &&
	    (ifindex ? info.type == BPF_LINK_TYPE_XDP && info.xdp.ifindex == ifindex : info.type == BPF_LINK_TYPE_NETNS))
		program = info.prog_id;
	close(link);
	return program;
}

static bool has_name(char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

static json_t *interface_of(const struct conf_agent *conf, const char *name)
{
	static const char *const modes[] = { "auto", "native", "generic" };
	uint32_t ifindex = if_nametoindex(name), there = 0, pinned = 0;
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	const char *would = "attach", *why = "";

	if (ifindex && !bpf_xdp_query((int)ifindex, 0, &query))
		there = query.prog_id ? query.prog_id : query.drv_prog_id ? query.drv_prog_id
									  : query.skb_prog_id;
	if (ifindex)
		pinned = pinned_program(conf, LINK_PREFIX, name, ifindex);
	if (!ifindex) {
		would = "fail";
		why = "there is no such interface";
	} else if (!has_name(conf->interfaces, conf->ninterfaces, name)) {
		would = "detach";
		why = "agent.interfaces does not name it any more";
	} else if (conf->attach == CONF_ATTACH_DISPATCHER && dispatcher_refuses(ifindex)) {
		would = "fail";
		why = "a program is there that does not share";
	} else if (conf->attach == CONF_ATTACH_DISPATCHER) {
		would = "join";
	} else if (pinned) {
		would = "adopt";
	} else if (there) {
		would = "fail";
		why = "another program is there";
	}
	return json_pack("{ss ss ss sI ss}", "name", name, "would", would, "mode", modes[conf->mode], "program",
			 (json_int_t)(pinned ? pinned : there), "why", why);
}

/* Those of the configuration, and those whose link a start takes away (attach.c: drop_others()). */
static json_t *interfaces_of(const struct conf_agent *conf)
{
	json_t *list = json_array();
	DIR *dir = opendir(conf->pin);
	struct dirent *e;

	for (size_t i = 0; i < conf->ninterfaces; i++)
		json_array_append_new(list, interface_of(conf, conf->interfaces[i]));
	while (dir && (e = readdir(dir))) {
		const char *name = e->d_name + strlen(LINK_PREFIX);

		/* The link of an interface that is gone holds nothing. */
		if (!strncmp(e->d_name, LINK_PREFIX, strlen(LINK_PREFIX)) && if_nametoindex(name) &&
		    !has_name(conf->interfaces, conf->ninterfaces, name))
			json_array_append_new(list, interface_of(conf, name));
	}
	if (dir)
		closedir(dir);
	return list;
}

/* Where encapsulated packets would be taken. */
static json_t *decap_of(const struct conf *conf)
{
	char **names;
	size_t n = loader_decap_interfaces(&conf->agent, &conf->tunnels, &names);
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		bool there = if_nametoindex(names[i]) != 0;

		json_array_append_new(list, json_pack("{ss ss ss}", "name", names[i], "would", there ? "take" : "fail", "why",
						      there ? "" : "there is no such interface"));
	}
	return list;
}

/* ---- the other programs ------------------------------------------------------------------------ */

static json_t *listen_of(const struct conf *conf)
{
	uint32_t program = pinned_program(&conf->agent, "", STEER_LINK, 0);
	const char *would = conf->tunnels.enabled ? program ? "adopt" : "attach" : program ? "detach" : "nothing";

	return json_pack("{ss sI}", "would", would, "program", (json_int_t)program);
}

/* Its maps hold nothing that outlives the loader: each start makes them anew. */
static json_t *egress_of(const struct conf *all)
{
	const struct conf_agent *conf = &all->agent;
	json_t *interfaces = json_array();
	bool leads = false;
	char **taken;
	size_t ntaken = loader_decap_interfaces(conf, &all->tunnels, &taken);

	for (size_t i = 0; i < conf->nservices; i++)
		leads |= conf->services[i].check.through_service;
	if (leads)
		json_array_append_new(interfaces, json_string("lo"));
	/* As loader_clamp(): where answers leave, and where packets are taken. */
	if (conf->decap.mss != CONF_MSS_OFF && conf->decap.nfrom && ntaken) {
		for (size_t i = 0; i < conf->ninterfaces; i++)
			json_array_append_new(interfaces, json_string(conf->interfaces[i]));
		for (size_t i = 0; i < ntaken; i++)
			if (!has_name(conf->interfaces, conf->ninterfaces, taken[i]))
				json_array_append_new(interfaces, json_string(taken[i]));
	}
	return json_pack("{s[ssss] so}", "maps", "egress", "egress_addrs", "probes", "egress_counts", "interfaces", interfaces);
}

/* ---- maps ------------------------------------------------------------------------------------ */

/* Is the folder for the pins, or where it would be made, on a BPF file system? */
static bool can_pin(const char *pin)
{
	char path[512], *slash;
	struct statfs fs;

	snprintf(path, sizeof(path), "%s", pin);
	while (statfs(path, &fs)) {
		slash = strrchr(path, '/');
		if (!slash || slash == path)
			return false;
		*slash = '\0';
	}
	return (unsigned long)fs.f_type == BPF_FS;
}

static const char *const map_would[] = { "make", "keep", "migrate", "fail" };

static bool has_map(const json_t *list, const char *name)
{
	json_t *map;
	size_t i;

	json_array_foreach (list, i, map)
		if (!strcmp(json_string_value(json_object_get(map, "name")), name))
			return true;
	return false;
}

/* Programs share maps: each is there once. 0, or the -errno of a plan that could not be made. */
static int add_maps(json_t *list, const char *of, const struct migrate_plan *plan, int n)
{
	for (int i = 0; i < n; i++) {
		const struct migrate_plan *p = &plan[i];

		if (has_map(list, p->name))
			continue;
		json_array_append_new(list, json_pack("{ss ss ss sI sI sI sI sI ss}", "name", p->name, "of", of, "would",
						      map_would[p->what], "entries", (json_int_t)p->entries, "had_entries",
						      (json_int_t)p->had, "value_bytes", (json_int_t)p->value,
						      "had_value_bytes", (json_int_t)p->had_value, "bytes",
						      (json_int_t)p->bytes, "why", p->why));
	}
	return n < 0 ? n : 0;
}

static json_int_t count_maps(const json_t *list, const char *would)
{
	json_int_t n = 0;
	json_t *map;
	size_t i;

	json_array_foreach (list, i, map)
		n += !strcmp(json_string_value(json_object_get(map, "would")), would);
	return n;
}

static json_t *maps_of(const struct conf *conf)
{
	struct migrate_plan plan[MAPS_MAX];
	json_t *list = json_array(), *map;
	char why[640] = "";
	json_int_t bytes = 0;
	size_t i;
	int rc = add_maps(list, "edge", plan, attach_plan(&conf->agent, plan, MAPS_MAX));

	if (!rc && conf->tunnels.enabled)
		rc = add_maps(list, "listen", plan, steer_plan(&conf->agent, plan, MAPS_MAX));
	json_array_foreach (list, i, map)
		bytes += json_integer_value(json_object_get(map, "bytes"));
	if (!can_pin(conf->agent.pin))
		snprintf(why, sizeof(why), "maps: %s is not on a BPF file system: mount -t bpf bpf /sys/fs/bpf", conf->agent.pin);
	else if (geteuid())
		snprintf(why, sizeof(why), "maps in %s: only root can see them", conf->agent.pin);
	else if (rc)
		snprintf(why, sizeof(why), "maps: cannot be looked at: %s", strerror(-rc));
	return json_pack("{ss sI sI sI sI sI ss so}", "folder", conf->agent.pin, "bytes", bytes, "kept",
			 count_maps(list, "keep"), "migrated", count_maps(list, "migrate"), "made",
			 count_maps(list, "make"), "in_the_way", count_maps(list, "fail"), "error",
			 why, "list", list);
}

/* ---- what the services need ------------------------------------------------------------------- */

static json_t *need(const char *what, uint64_t used, uint64_t limit)
{
	return json_pack("{ss sI sI}", "name", what, "used", (json_int_t)used, "limit", (json_int_t)limit);
}

static json_t *limits_of(const struct conf_agent *conf)
{
	uint64_t slots = 0, addresses = 0, backends = 0, n = 0;

	for (size_t i = 0; i < conf->nservices; i++) {
		const struct conf_service *s = &conf->services[i];

		if (!s->naddresses)
			continue;
		n++;
		slots += s->slots;
		addresses += 2 * s->naddresses; /* the second for echo */
		backends += s->nbackends;
	}
	return json_pack("[ooooo]", need("services", n, conf->limits.services), need("slots", slots, conf->limits.slots),
			 need("addresses", addresses, conf->limits.addresses),
			 need("backends", backends, conf->limits.backends - 1),
			 need("nat_ports", (uint64_t)conf->nat.naddresses * WEIR_NAT_PORTS, conf->limits.nat_ports));
}

static json_t *services_of(const struct conf_agent *conf)
{
	json_t *list = json_array();

	for (size_t i = 0; i < conf->nservices; i++) {
		const struct conf_service *s = &conf->services[i];

		json_array_append_new(list, json_pack("{ss sI sI sI sb}", "name", s->name, "addresses",
						      (json_int_t)s->naddresses, "slots", (json_int_t)s->slots, "backends",
						      (json_int_t)s->nbackends, "balanced", s->naddresses != 0));
	}
	return list;
}

/* Keys of connection IDs: only root can try what the kernel can do with them. */
static json_t *quic_of(const struct conf_agent *conf)
{
	json_int_t keys = 0;
	int rc;

	for (size_t i = 0; i < conf->nservices; i++)
		keys += conf->services[i].quic.key != NULL;
	rc = keys && !geteuid() ? ciphers_try() : 0;
	return json_pack("{sI ss}", "keys", keys, "error", rc ? ciphers_why(rc) : "");
}

/* ---- told ------------------------------------------------------------------------------------ */

static const char *text(const json_t *o, const char *key)
{
	const char *value = json_string_value(json_object_get(o, key));

	return value ? value : "";
}

static long long number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static void tell_interface(const json_t *i)
{
	const char *name = text(i, "name"), *would = text(i, "would"), *mode = text(i, "mode");
	long long program = number(i, "program");

	mode = strcmp(mode, "auto") ? mode : "native, or generic where the driver has no XDP";
	if (!strcmp(would, "join"))
		printf("  %-15s attached through libxdp's dispatcher, %s%s\n", name, mode,
		       program ? "; beside what is there" : "");
	else if (!strcmp(would, "adopt"))
		printf("  %-15s adopted: program %lld is exchanged in its link\n", name, program);
	else if (!strcmp(would, "attach"))
		printf("  %-15s attached by a link, %s\n", name, mode);
	else if (!strcmp(would, "detach"))
		printf("  %-15s detached: %s\n", name, text(i, "why"));
	else if (program)
		printf("  %-15s program %lld is there and not ours to exchange: the start would fail; "
		       "remove it (`bpftool net detach xdp dev %s`; a link of weir's own: `weir-agent --detach`)\n",
		       name, program, name);
	else
		printf("  %-15s %s\n", name, text(i, "why"));
}

static void tell_programs(const json_t *plan)
{
	const json_t *listen = json_object_get(plan, "listen"), *egress = json_object_get(plan, "egress");
	const char *would = text(listen, "would");
	json_t *name;
	size_t i;

	if (!strcmp(would, "adopt"))
		printf("tunnels' listener: adopted: program %lld is exchanged in its link\n", number(listen, "program"));
	else if (strcmp(would, "nothing"))
		printf("tunnels' listener: %s this network namespace\n",
		       strcmp(would, "attach") ? "not configured any more: detached from" : "attached by a link to");
	printf("tc program: its maps are made anew:");
	json_array_foreach (json_object_get(egress, "maps"), i, name)
		printf(" %s", json_string_value(name));
	json_array_foreach (json_object_get(egress, "interfaces"), i, name)
		printf("%s%s", i ? ", " : "; attached where it is needed: ", json_string_value(name));
	putchar('\n');
}

static void tell_maps(const json_t *maps)
{
	json_t *map;
	size_t i;

	if (*text(maps, "error")) {
		printf("%s\n", text(maps, "error"));
		return;
	}
	printf("maps in %s: %lld kept, %lld migrated, %lld made, %lld in the way; about %.0f MiB in all\n",
	       text(maps, "folder"), number(maps, "kept"), number(maps, "migrated"), number(maps, "made"),
	       number(maps, "in_the_way"), (double)number(maps, "bytes") / 1048576);
	json_array_foreach (json_object_get(maps, "list"), i, map) {
		bool fails = !strcmp(text(map, "would"), "fail");

		if (fails || !strcmp(text(map, "would"), "migrate"))
			printf("  %-15s %s: %s\n", text(map, "name"), fails ? "in the way" : "migrated", text(map, "why"));
		else if (!strcmp(text(map, "of"), "listen"))
			printf("  %-15s %s, of tunnels' listener\n", text(map, "name"),
			       strcmp(text(map, "would"), "keep") ? "made" : "kept");
	}
}

static void tell_needs(const json_t *plan)
{
	json_t *each;
	size_t i;

	printf("limits (tunnels, and former owners of slots, come on top):\n");
	json_array_foreach (json_object_get(plan, "limits"), i, each) {
		bool over = number(each, "used") > number(each, "limit");

		printf("  %-15s %lld of %lld%s%s\n", text(each, "name"), number(each, "used"), number(each, "limit"),
		       over ? ": too many; raise agent.limits." : "", over ? text(each, "name") : "");
	}
	json_array_foreach (json_object_get(plan, "services"), i, each)
		printf("service %s: %lld addresses, %lld slots, %lld backends%s\n", text(each, "name"),
		       number(each, "addresses"), number(each, "slots"), number(each, "backends"),
		       json_is_true(json_object_get(each, "balanced")) ? "" : "; only measured, its rates are published");
}

static void tell(const json_t *plan)
{
	json_t *each;
	size_t i;

	printf("interfaces:\n");
	json_array_foreach (json_object_get(plan, "interfaces"), i, each)
		tell_interface(each);
	json_array_foreach (json_object_get(plan, "decap"), i, each)
		if (!strcmp(text(each, "would"), "fail"))
			printf("  %-15s agent.decap.interfaces: %s\n", text(each, "name"), text(each, "why"));
	tell_programs(plan);
	tell_maps(json_object_get(plan, "maps"));
	tell_needs(plan);
	if (*text(json_object_get(plan, "quic"), "error"))
		printf("quic.key: %s\n", text(json_object_get(plan, "quic"), "error"));
	if (!json_is_true(json_object_get(plan, "root")))
		printf("not root: what is pinned and attached now could not be seen\n");
	printf(json_is_true(json_object_get(plan, "ok")) ? "nothing was changed\n"
							  : "weir-agent could not start like this; nothing was changed\n");
}

static bool would_start(const json_t *plan)
{
	const json_t *maps = json_object_get(plan, "maps");
	bool ok = !number(maps, "in_the_way") && !*text(maps, "error") && !*text(json_object_get(plan, "quic"), "error");
	json_t *each;
	size_t i;

	json_array_foreach (json_object_get(plan, "interfaces"), i, each)
		ok &= strcmp(text(each, "would"), "fail") != 0;
	json_array_foreach (json_object_get(plan, "decap"), i, each)
		ok &= strcmp(text(each, "would"), "fail") != 0;
	json_array_foreach (json_object_get(plan, "limits"), i, each)
		ok &= number(each, "used") <= number(each, "limit");
	return ok;
}

int plan_print(const struct conf *conf, bool as_json)
{
	json_t *plan;
	bool ok;

	plan = json_pack("{so so so so so so so so sb}", "interfaces", interfaces_of(&conf->agent), "decap", decap_of(conf),
			 "listen", listen_of(conf), "egress", egress_of(conf), "maps", maps_of(conf), "limits",
			 limits_of(&conf->agent), "services", services_of(&conf->agent), "quic",
			 quic_of(&conf->agent), "root", geteuid() == 0);
	if (!plan) {
		fprintf(stderr, "weir-agent: out of memory\n");
		return 1;
	}
	ok = would_start(plan);
	json_object_set_new(plan, "ok", json_boolean(ok));
	if (as_json) {
		json_dumpf(plan, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
		putchar('\n');
	} else {
		tell(plan);
	}
	json_decref(plan);
	return !ok;
}
