// SPDX-License-Identifier: Apache-2.0
/* plan.c -- interfaces, maps and limits as a start would find them (see plan.h). */
#include "user/agent/plan.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bpf/abi/nat.h"
#include "user/agent/attach.h"
#include "user/agent/migrate.h"

#define MAPS_MAX 128
#define BPF_FS	 0xcafe4a11 /* magic(7): BPF_FS_MAGIC */

/* ---- interfaces ------------------------------------------------------------------------------ */

/* The program of the link that is pinned for this interface, 0: none. */
static uint32_t pinned_program(const struct conf_agent *conf, const char *name, uint32_t ifindex)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info), program = 0;
	char path[512];
	int link;

	snprintf(path, sizeof(path), "%s/link-%s", conf->pin, name);
	link = bpf_obj_get(path);
	if (link < 0)
		return 0;
	if (!bpf_obj_get_info_by_fd(link, &info, &len) && info.type == BPF_LINK_TYPE_XDP &&
	    info.xdp.ifindex == ifindex)
		program = info.prog_id;
	close(link);
	return program;
}

/* Returns 1 when the start would fail here. */
static int interface(const struct conf_agent *conf, const char *name)
{
	static const char *const modes[] = { "native, or generic where the driver has no XDP",
					     "native", "generic" };
	uint32_t ifindex = if_nametoindex(name), there = 0, pinned;
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	if (!ifindex) {
		printf("  %-15s there is no such interface\n", name);
		return 1;
	}
	if (!bpf_xdp_query((int)ifindex, 0, &query))
		there = query.prog_id ? query.prog_id : query.drv_prog_id ? query.drv_prog_id
									  : query.skb_prog_id;
	pinned = pinned_program(conf, name, ifindex);
	if (conf->attach == CONF_ATTACH_DISPATCHER) {
		printf("  %-15s attached through libxdp's dispatcher, %s%s\n", name, modes[conf->mode],
		       there ? "; beside what is there" : "");
	} else if (pinned) {
		printf("  %-15s adopted: program %u is exchanged in its link\n", name, pinned);
	} else if (there) {
		printf("  %-15s program %u is there and not ours to exchange: the start would fail; "
		       "remove it (`bpftool net detach xdp dev %s`)\n",
		       name, there, name);
		return 1;
	} else {
		printf("  %-15s attached by a link, %s\n", name, modes[conf->mode]);
	}
	return 0;
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

static int maps(const struct conf_agent *conf)
{
	struct migrate_plan plan[MAPS_MAX];
	int n = attach_plan(conf, plan, MAPS_MAX), count[MIGRATE_REFUSE + 1] = { 0 };
	uint64_t bytes = 0;

	if (!can_pin(conf->pin)) {
		printf("maps: %s is not on a BPF file system: mount -t bpf bpf /sys/fs/bpf\n", conf->pin);
		return 1;
	}
	if (geteuid()) {
		printf("maps in %s: only root can see them\n", conf->pin);
		return 1;
	}
	if (n < 0) {
		printf("maps: cannot be looked at: %s\n", strerror(-n));
		return 1;
	}
	for (int i = 0; i < n; i++) {
		count[plan[i].what]++;
		bytes += plan[i].bytes;
	}
	printf("maps in %s: %d kept, %d migrated, %d made, %d in the way; about %.0f MiB in all\n",
	       conf->pin, count[MIGRATE_KEEP], count[MIGRATE_CHANGE], count[MIGRATE_NEW],
	       count[MIGRATE_REFUSE], (double)bytes / 1048576);
	for (int i = 0; i < n; i++)
		if (plan[i].what == MIGRATE_CHANGE || plan[i].what == MIGRATE_REFUSE)
			printf("  %-15s %s: %s\n", plan[i].name,
			       plan[i].what == MIGRATE_CHANGE ? "migrated" : "in the way",
			       plan[i].why);
	return count[MIGRATE_REFUSE] != 0;
}

/* ---- what the services need ------------------------------------------------------------------- */

static int need(const char *what, uint64_t used, uint64_t limit)
{
	printf("  %-15s %llu of %llu%s%s\n", what, (unsigned long long)used,
	       (unsigned long long)limit, used > limit ? ": too many; raise agent.limits." : "",
	       used > limit ? what : "");
	return used > limit;
}

static int services(const struct conf_agent *conf)
{
	uint64_t slots = 0, addresses = 0, backends = 0, n = 0;
	int failed = 0;

	for (size_t i = 0; i < conf->nservices; i++) {
		const struct conf_service *s = &conf->services[i];

		if (!s->naddresses)
			continue;
		n++;
		slots += s->slots;
		addresses += 2 * s->naddresses; /* the second for echo */
		backends += s->nbackends;
	}
	printf("limits (tunnels, and former owners of slots, come on top):\n");
	failed |= need("services", n, conf->limits.services);
	failed |= need("slots", slots, conf->limits.slots);
	failed |= need("addresses", addresses, conf->limits.addresses);
	failed |= need("backends", backends, conf->limits.backends - 1);
	failed |= need("nat_ports", (uint64_t)conf->nat.naddresses * WEIR_NAT_PORTS, conf->limits.nat_ports);
	for (size_t i = 0; i < conf->nservices; i++) {
		const struct conf_service *s = &conf->services[i];

		printf("service %s: %zu addresses, %u slots, %zu backends%s\n", s->name,
		       s->naddresses, s->slots, s->nbackends,
		       s->naddresses ? "" : "; only measured, its rates are published");
	}
	return failed;
}

int plan_print(const struct conf *conf)
{
	const struct conf_agent *agent = &conf->agent;
	int failed = 0;

	printf("interfaces:\n");
	for (size_t i = 0; i < agent->ninterfaces; i++)
		failed |= interface(agent, agent->interfaces[i]);
	failed |= maps(agent);
	failed |= services(agent);
	if (geteuid())
		printf("not root: what is pinned and attached now could not be seen\n");
	printf(failed ? "weir-agent could not start like this; nothing was changed\n"
		      : "nothing was changed\n");
	return failed;
}
