/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.c -- load, adopt, attach, detach (see attach.h).
 */
#include "user/agent/attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/log.h"
#include "skel/edge.skel.h"
#include "user/agent/dispatcher.h"
#include "user/agent/egress.h"
#include "user/agent/limits.h"
#include "user/agent/migrate.h"
#include "user/agent/netlink.h"
#include "user/agent/steer.h"

#define BPF_FS	     0xcafe4a11 /* magic(7): BPF_FS_MAGIC */
#define LINK_PREFIX  "link-"
#define PROGRAM_PIN  "edge"
#define PIN_PATH_MAX 512

struct attachment {
	struct dataplane_interface said;
	uint32_t ifindex;
	int link;   /* -1 with the dispatcher */
	int before; /* the program that an adopted link had, -1: the link is new */
	struct dispatcher_before shared;
};

struct packet_path {
	const struct conf_agent *conf;
	struct edge *skel;
	struct edge *spare; /* makes maps of another layout */
	struct migration *migration;
	struct dispatcher *dispatcher; /* NULL: by links */
	struct attachment *on;
	size_t n;
};

static int log_libbpf(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[1024];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = 0;
	log_debug("%s", line);
	return 0;
}

static char *pin_path(const struct conf_agent *conf, const char *prefix, const char *name,
		      char *buf, size_t len)
{
	snprintf(buf, len, "%s/%s%s", conf->pin, prefix, name);
	return buf;
}

/* mkdir -p, and it must be on a bpffs. */
static int pin_folder(const char *pin)
{
	char path[PIN_PATH_MAX];
	struct statfs fs;

	if (snprintf(path, sizeof(path), "%s", pin) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(path, 0700) && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	if (statfs(path, &fs))
		return -errno;
	return (unsigned long)fs.f_type == BPF_FS ? 0 : -ENOTSUP;
}

/* ---- loading
 * ------------------------------------------------------------------------------------- */

static void say_load_failure(const struct conf_agent *conf, int rc)
{
	if (rc == -EEXIST)
		log_error("%s: maps that are pinned there cannot be kept; nothing was changed, the "
			  "program that runs goes on",
			  conf->pin);
	else if (rc == -EPERM)
		log_error("the packet path cannot be loaded: not permitted; start as root");
	else
		log_error("the packet path cannot be loaded: %s (run with `log: debug` for the "
			  "kernel's words)",
			  strerror(-rc));
}

/* With a link the program is loaded here; libxdp loads it itself. */
static int load(struct packet_path *path)
{
	const struct conf_agent *conf = path->conf;
	int rc;

	path->skel = edge__open();
	path->spare = edge__open();
	if (!path->skel || !path->spare)
		return -errno;
	rc = limits_apply(path->skel->obj, conf);
	if (!rc)
		rc = limits_apply(path->spare->obj, conf);
	if (!rc)
		rc = migrate_open(&path->migration, path->skel->obj, path->spare->obj, conf->pin);
	if (!rc && conf->attach == CONF_ATTACH_LINK)
		rc = edge__load(path->skel);
	return rc;
}

int attach_plan(const struct conf_agent *conf, struct migrate_plan *out, size_t max)
{
	struct edge *skel;
	int rc;

	libbpf_set_print(log_libbpf);
	skel = edge__open();
	if (!skel)
		return -errno;
	rc = limits_apply(skel->obj, conf);
	if (!rc)
		rc = migrate_plan(skel->obj, conf->pin, out, max);
	edge__destroy(skel);
	return rc;
}

/* For people and bpftool; the link is what holds the program. */
static int pin_program(const struct packet_path *path)
{
	char pin[PIN_PATH_MAX];

	if (path->conf->attach != CONF_ATTACH_LINK)
		return 0;
	pin_path(path->conf, "", PROGRAM_PIN, pin, sizeof(pin));
	unlink(pin);
	return bpf_obj_pin(bpf_program__fd(path->skel->progs.edge), pin) ? -errno : 0;
}

/* ---- by link
 * ---------------------------------------------------------------------------------------- */

static bool is_native(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	return !bpf_xdp_query((int)ifindex, 0, &query) && query.attach_mode == XDP_ATTACHED_DRV;
}

/* Detached by force, also when another process still holds the link. 0, or -1 with errno: the pin stays. */
static int link_drop(const char *pin)
{
	int link = bpf_obj_get(pin);

	if (link >= 0) {
		bpf_link_detach(link);
		close(link);
	}
	return unlink(pin);
}

/* The link of an earlier process, when it is still on that interface: its program is exchanged. -ESTALE: there is none,
 * or it holds nothing here; else the program that runs could not be exchanged, and goes on. */
static int link_adopt(const char *pin, uint32_t ifindex, int program, int *before)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	int link = bpf_obj_get(pin), rc = 0;

	if (link < 0)
		return -ESTALE;
	if (bpf_obj_get_info_by_fd(link, &info, &len) || info.type != BPF_LINK_TYPE_XDP ||
	    info.xdp.ifindex != ifindex)
		rc = -ESTALE;
	*before = rc ? -1 : bpf_prog_get_fd_by_id(info.prog_id);
	if (!rc && bpf_link_update(link, program, NULL))
		rc = errno == ENOLINK ? -ESTALE : -errno;
	if (!rc)
		return link;
	if (*before >= 0)
		close(*before);
	*before = -1;
	close(link);
	if (rc == -ESTALE)
		unlink(pin);
	return rc;
}

static int link_make(const struct conf_agent *conf, const char *name, uint32_t ifindex, int program)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	int link, err = 0;

	if (conf->mode != CONF_MODE_GENERIC) {
		opts.flags = XDP_FLAGS_DRV_MODE;
		link = bpf_link_create(program, (int)ifindex, BPF_XDP, &opts);
		err = -errno;
		if (link >= 0 || conf->mode == CONF_MODE_NATIVE || err == -EBUSY || err == -EEXIST)
			return link >= 0 ? link : err;
		log_warn("%s: no native XDP (%s), using generic mode: slower, but it works", name,
			 strerror(-err));
	}
	opts.flags = XDP_FLAGS_SKB_MODE;
	link = bpf_link_create(program, (int)ifindex, BPF_XDP, &opts);
	return link >= 0 ? link : -errno;
}

static int attach_link(struct packet_path *path, const char *name, uint32_t ifindex,
		       struct attachment *on)
{
	int program = bpf_program__fd(path->skel->progs.edge);
	char pin[PIN_PATH_MAX];
	bool adopted = true;
	int link;

	pin_path(path->conf, LINK_PREFIX, name, pin, sizeof(pin));
	link = link_adopt(pin, ifindex, program, &on->before);
	if (link < 0 && link != -ESTALE) {
		log_error("%s: its program cannot be exchanged: %s; the earlier one goes on (`weir-agent --detach` takes it "
			  "away)",
			  name, strerror(-link));
		return link;
	}
	if (link < 0) {
		adopted = false;
		link = link_make(path->conf, name, ifindex, program);
		if (link == -EBUSY || link == -EEXIST)
			log_error("%s: another XDP program is there; remove it (`bpftool net "
				  "detach xdp dev %s`) "
				  "or share the interface with `attach: dispatcher`",
				  name, name);
		else if (link < 0)
			log_error("%s: XDP cannot be attached: %s", name, strerror(-link));
		if (link < 0)
			return link;
		if (bpf_obj_pin(link, pin)) {
			int err = -errno;

			log_error("%s cannot be pinned: %s", pin, strerror(-err));
			close(link);
			return err;
		}
	}
	on->link = link;
	strcpy(on->said.mode, is_native(ifindex) ? "native" : "generic");
	strcpy(on->said.attach, "link");
	log_info("%s: %s, %s mode", name, adopted ? "adopted, program exchanged" : "attached",
		 on->said.mode);
	return 0;
}

/* ---- by libxdp's dispatcher
 * ------------------------------------------------------------------------- */

static int attach_dispatcher(struct packet_path *path, const char *name, uint32_t ifindex,
			     struct attachment *on)
{
	int rc = -ENOTSUP;

	if (path->conf->mode != CONF_MODE_GENERIC)
		rc = dispatcher_attach(path->dispatcher, ifindex, false, &on->shared);
	if (rc && rc != -EBUSY && rc != -EEXIST && path->conf->mode == CONF_MODE_AUTO)
		log_warn("%s: no native XDP through libxdp (%s), trying generic mode", name,
			 strerror(-rc));
	if (rc && rc != -EBUSY && rc != -EEXIST && path->conf->mode != CONF_MODE_NATIVE)
		rc = dispatcher_attach(path->dispatcher, ifindex, true, &on->shared);
	if (rc == -EBUSY || rc == -EEXIST)
		log_error("%s: libxdp cannot attach: a program is there that does not share: remove it (`bpftool "
			  "net detach xdp dev %s`; a link of weir's own: `weir-agent --detach`)",
			  name, name);
	else if (rc)
		log_error("%s: libxdp cannot attach: %s", name, strerror(-rc));
	if (rc)
		return rc;
	strcpy(on->said.mode, is_native(ifindex) ? "native" : "generic");
	strcpy(on->said.attach, "dispatcher");
	log_info("%s: %s through libxdp, %s mode", name, on->shared.program >= 0 ? "program exchanged" : "attached",
		 on->said.mode);
	return 0;
}

/* ---- open and close
 * ------------------------------------------------------------------------------------ */

static int attach_one(struct packet_path *path, const char *name)
{
	struct attachment *on = &path->on[path->n];
	uint32_t ifindex = if_nametoindex(name);
	int rc;

	if (!ifindex) {
		log_error("agent.interfaces: there is no interface %s", name);
		return -ENODEV;
	}
	snprintf(on->said.name, sizeof(on->said.name), "%s", name);
	on->link = on->before = on->shared.program = -1;
	on->ifindex = ifindex;
	rc = path->conf->attach == CONF_ATTACH_LINK ? attach_link(path, name, ifindex, on)
						    : attach_dispatcher(path, name, ifindex, on);
	if (!rc)
		path->n++;
	return rc;
}

static void undo_one(struct packet_path *path, struct attachment *on)
{
	char pin[PIN_PATH_MAX];
	int rc = 0;

	if (path->dispatcher)
		rc = dispatcher_undo(path->dispatcher, on->ifindex, &on->shared);
	else if (on->before >= 0)
		rc = bpf_link_update(on->link, on->before, NULL);
	else
		unlink(pin_path(path->conf, LINK_PREFIX, on->said.name, pin, sizeof(pin)));
	if (rc)
		log_error("%s: the earlier program cannot be put back: %s", on->said.name, strerror(-rc));
}

/* A start that failed: where there was a program, it is put back; else the new one goes. Where an earlier one has left
 * libxdp's dispatcher that cannot be: the new one stays, and so do its maps. */
static void attach_undo(struct packet_path *path)
{
	bool left = false;

	for (size_t i = 0; i < path->n; i++)
		left |= path->on[i].shared.left;
	for (size_t i = 0; i < path->n && !left; i++)
		undo_one(path, &path->on[i]);
	if (!left)
		return;
	log_warn("%zu of %zu interfaces have the new program and keep it, the others go on with the earlier one: mend "
		 "what is said above and start again",
		 path->n, path->conf->ninterfaces);
	migrate_finish(path->migration);
}

static bool is_named(const struct conf_agent *conf, const char *name)
{
	for (size_t i = 0; i < conf->ninterfaces; i++)
		if (!strcmp(conf->interfaces[i], name))
			return true;
	return false;
}

/* Links of interfaces that the configuration no longer names: their program would go on with what it had, after a
 * migration with maps that nobody fills. */
static void drop_others(const struct conf_agent *conf)
{
	DIR *dir = opendir(conf->pin);
	char pin[PIN_PATH_MAX];
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		const char *name = e->d_name + strlen(LINK_PREFIX);

		if (strncmp(e->d_name, LINK_PREFIX, strlen(LINK_PREFIX)) || is_named(conf, name))
			continue;
		if (link_drop(pin_path(conf, LINK_PREFIX, name, pin, sizeof(pin))))
			log_error("%s cannot be removed: %s", pin, strerror(errno));
		else
			log_info("%s: detached, agent.interfaces no longer names it", name);
	}
	if (dir)
		closedir(dir);
}

/* The same behind libxdp, where no pin tells: by a map that the earlier program has. */
static void drop_shared(const struct conf_agent *conf, uint32_t map)
{
	struct if_nameindex *all = if_nameindex();

	for (const struct if_nameindex *i = all; map && i && i->if_name; i++)
		if (!is_named(conf, i->if_name) && dispatcher_drop(i->if_index, map))
			log_info("%s: detached, agent.interfaces no longer names it", i->if_name);
	if_freenameindex(all);
}

/* The number of a pinned map, before a migration gives its name to another. 0: there is none. */
static uint32_t map_before(const struct conf_agent *conf)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	char pin[PIN_PATH_MAX];
	int fd = bpf_obj_get(pin_path(conf, "", "service_counts", pin, sizeof(pin)));

	if (fd < 0)
		return 0;
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		info.id = 0;
	close(fd);
	return info.id;
}

static int attach_all(struct packet_path *path)
{
	const struct conf_agent *conf = path->conf;
	uint32_t before = map_before(conf);
	int rc = migrate_fill(path->migration);

	for (size_t i = 0; !rc && i < conf->ninterfaces; i++)
		rc = attach_one(path, conf->interfaces[i]);
	if (rc) {
		attach_undo(path);
		return rc;
	}
	migrate_finish(path->migration);
	drop_others(conf);
	if (path->dispatcher)
		drop_shared(conf, before);
	rc = pin_program(path);
	if (rc)
		log_error("%s/" PROGRAM_PIN " cannot be pinned: %s", conf->pin, strerror(-rc));
	return rc;
}

/* Before anything is pinned: a mistyped name leaves nothing behind. */
static int interfaces_there(const char *key, char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (if_nametoindex(names[i]))
			continue;
		log_error("%s: there is no interface %s; `ip -br link` names those of this node", key, names[i]);
		return -ENODEV;
	}
	return 0;
}

int attach_open(struct packet_path **out, const struct conf_agent *conf)
{
	struct packet_path *path;
	int rc = interfaces_there("agent.interfaces", conf->interfaces, conf->ninterfaces);

	if (!rc)
		rc = interfaces_there("agent.decap.interfaces", conf->decap.interfaces, conf->decap.ninterfaces);
	if (rc)
		return rc;
	path = calloc(1, sizeof(*path));
	if (!path)
		return -ENOMEM;
	path->conf = conf;
	libbpf_set_print(log_libbpf);
	rc = pin_folder(conf->pin);
	if (rc) {
		log_error("%s: %s", conf->pin,
			  rc == -ENOTSUP
				  ? "is not on a BPF file system: mount -t bpf bpf /sys/fs/bpf"
				  : strerror(-rc));
		goto out;
	}
	path->on = calloc(conf->ninterfaces ? conf->ninterfaces : 1, sizeof(*path->on));
	rc = path->on ? load(path) : -ENOMEM;
	if (!rc && conf->attach == CONF_ATTACH_DISPATCHER)
		rc = dispatcher_open(&path->dispatcher, path->skel->progs.edge, path->skel->obj);
	if (rc) {
		say_load_failure(conf, rc);
		goto out;
	}
	rc = attach_all(path);
	if (rc)
		goto out;
	*out = path;
	return 0;
out:
	attach_close(path);
	return rc;
}

void attach_close(struct packet_path *path)
{
	if (!path)
		return;
	for (size_t i = 0; i < path->n; i++) {
		if (path->on[i].link >= 0)
			close(path->on[i].link);
		if (path->on[i].before >= 0)
			close(path->on[i].before);
		if (path->on[i].shared.program >= 0)
			close(path->on[i].shared.program);
	}
	migrate_close(path->migration);
	edge__destroy(path->spare);
	dispatcher_close(path->dispatcher);
	edge__destroy(path->skel);
	free(path->on);
	free(path);
}

void attach_fds(const struct packet_path *path, struct maps_fds *fds)
{
	const struct edge *s = path->skel;

	*fds = (struct maps_fds){
		.settings = bpf_map__fd(s->maps.settings),
		.tx_ports = bpf_map__fd(s->maps.tx_ports),
		.devices = bpf_map__fd(s->maps.devices),
		.services = bpf_map__fd(s->maps.services),
		.service_info = bpf_map__fd(s->maps.service_info),
		.slots = bpf_map__fd(s->maps.slots),
		.backends = bpf_map__fd(s->maps.backends),
		.decap_sources = bpf_map__fd(s->maps.decap_sources),
		.decap_ifaces = bpf_map__fd(s->maps.decap_ifaces),
		.decap_targets = bpf_map__fd(s->maps.decap_targets),
		.reasons = bpf_map__fd(s->maps.reasons),
		.service_counts = bpf_map__fd(s->maps.service_counts),
		.backend_counts = bpf_map__fd(s->maps.backend_counts),
		.tunnel_prefixes = bpf_map__fd(s->maps.tunnel_prefixes),
		.service_prefixes = bpf_map__fd(s->maps.service_prefixes),
		.quic_configs = bpf_map__fd(s->maps.quic_configs),
		.quic_servers = bpf_map__fd(s->maps.quic_servers),
		.quic_ciphers = bpf_map__fd(s->maps.quic_ciphers),
		.samples = bpf_map__fd(s->maps.samples),
		.sample_filters = bpf_map__fd(s->maps.sample_filters),
		.sample_counts = bpf_map__fd(s->maps.sample_counts),
		.flag_counts = bpf_map__fd(s->maps.flag_counts),
		.filter4 = bpf_map__fd(s->maps.filter4),
		.filter6 = bpf_map__fd(s->maps.filter6),
		.filter_hints = bpf_map__fd(s->maps.filter_hints),
		.filter_limits = bpf_map__fd(s->maps.filter_limits),
		.filter_buckets = bpf_map__fd(s->maps.filter_buckets),
		.filter_shared = bpf_map__fd(s->maps.filter_shared),
		.notes = bpf_map__fd(s->maps.notes),
		.half_open = bpf_map__fd(s->maps.half_open),
		.kept = bpf_map__fd(s->maps.kept),
		.reports = bpf_map__fd(s->maps.reports),
		.backend_loads = bpf_map__fd(s->maps.backend_loads),
		.nat_conf = bpf_map__fd(s->maps.nat_conf),
		.nat_addresses = bpf_map__fd(s->maps.nat_addresses),
		.nat_ports = bpf_map__fd(s->maps.nat_ports),
		.nat_flows = bpf_map__fd(s->maps.nat_flows),
		.nat_counts = bpf_map__fd(s->maps.nat_counts),
	};
}

size_t attach_interfaces(const struct packet_path *path, struct dataplane_interface *out,
			 size_t max)
{
	size_t n = path->n < max ? path->n : max;

	for (size_t i = 0; i < n; i++)
		out[i] = path->on[i].said;
	return n;
}

/* ---- taking it down
 * ---------------------------------------------------------------------------------------- */

static int unpin(const struct conf_agent *conf, const char *name)
{
	bool is_xdp = !strncmp(name, LINK_PREFIX, strlen(LINK_PREFIX));
	bool is_link = is_xdp || !strcmp(name, STEER_LINK);
	char path[PIN_PATH_MAX];

	pin_path(conf, "", name, path, sizeof(path));
	if (is_link ? link_drop(path) : unlink(path)) {
		fprintf(stderr, "weir-agent: %s cannot be removed: %s\n", path, strerror(errno));
		return 1;
	}
	if (is_link)
		printf("%s: detached\n", is_xdp ? name + strlen(LINK_PREFIX) : "tunnels' listener");
	return 0;
}

int dataplane_detach(const struct conf_agent *conf)
{
	DIR *dir = opendir(conf->pin);
	int missing = dir ? 0 : errno, failed = 0, removed = 0;
	struct netlink *nl = NULL;
	struct dirent *e;

	libbpf_set_print(log_libbpf);
	for (size_t i = 0; i < conf->ninterfaces; i++) {
		uint32_t ifindex = if_nametoindex(conf->interfaces[i]);

		if (conf->attach == CONF_ATTACH_DISPATCHER && ifindex && dispatcher_clear(ifindex))
			printf("%s: detached\n", conf->interfaces[i]);
	}
	if (!netlink_open(&nl) && (netlink_routes(nl, NETLINK_ANNOUNCE, 0, NULL, 0) ||
				   netlink_routes(nl, NETLINK_LOCAL, 0, NULL, 0) ||
				   netlink_routes(nl, NETLINK_PROBE, 0, NULL, 0) ||
				   netlink_probe_rule(nl, 0))) {
		fprintf(stderr, "weir-agent: routes of tunnels, checks or announced addresses cannot be "
				"removed\n");
		failed = 1;
	}
	netlink_close(nl);
	if (!dir) {
		printf("%s: nothing is pinned\n", conf->pin);
		return egress_take_down() || failed || missing != ENOENT;
	}
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		failed += unpin(conf, e->d_name);
		removed++;
	}
	closedir(dir);
	removed -= failed;
	if (!failed && rmdir(conf->pin) && errno != ENOENT)
		failed = 1;
	failed |= egress_take_down() != 0; /* last: an agent that lives puts them back as long as its links are there */
	printf("%s: %d pins removed\n", conf->pin, removed);
	return failed ? 1 : 0;
}
