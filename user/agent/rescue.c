// SPDX-License-Identifier: Apache-2.0
/* rescue.c -- finds and removes (see rescue.h). */
#include "user/agent/rescue.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/magic.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "user/agent/dispatcher.h"
#include "user/agent/egress.h"
#include "user/agent/netlink.h"
#include "user/agent/whose.h"

#define BPF_FOLDER   "/sys/fs/bpf"
#define PIN_PATH_MAX 512

struct rescue {
	bool dry;
	int found, failed;
	uint64_t netns;
	uint32_t linked[256]; /* interfaces that have it by a link */
	size_t nlinked;
};

static void step(struct rescue *r, int rc, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* One line a step: what it is, and what became of it. */
static void step(struct rescue *r, int rc, const char *fmt, ...)
{
	char what[PIN_PATH_MAX + 128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	r->found++;
	if (rc)
		r->failed++;
	if (rc)
		printf("%s: cannot be removed: %s\n", what, strerror(-rc));
	else
		printf("%s: %s\n", what, r->dry ? "would be removed" : "removed");
}

/* ---- links ----------------------------------------------------------------------------------- */

/* The program that an interface of this network namespace has. */
static uint32_t program_on(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	if (!ifindex || bpf_xdp_query((int)ifindex, 0, &query))
		return 0;
	return query.drv_prog_id ? query.drv_prog_id
				 : query.skb_prog_id ? query.skb_prog_id : query.prog_id;
}

enum whose { NOT_OURS, OURS, ELSEWHERE };

/* Of a link that is still attached to something. */
static enum whose link_whose(const struct rescue *r, const struct bpf_link_info *info)
{
	if (info->type == BPF_LINK_TYPE_XDP && info->xdp.ifindex && whose_edge(info->prog_id))
		return program_on(info->xdp.ifindex) == info->prog_id ? OURS : ELSEWHERE;
	if (info->type == BPF_LINK_TYPE_NETNS && info->netns.netns_ino &&
	    whose_program(info->prog_id, "steer", "tunnel_ports"))
		return info->netns.netns_ino == (uint32_t)r->netns ? OURS : ELSEWHERE;
	return NOT_OURS;
}

static void detach_link(struct rescue *r, int link, const struct bpf_link_info *info)
{
	int rc = r->dry || !bpf_link_detach(link) ? 0 : -errno;
	char name[IF_NAMESIZE];

	if (info->type == BPF_LINK_TYPE_XDP && r->nlinked < sizeof(r->linked) / sizeof(*r->linked))
		r->linked[r->nlinked++] = info->xdp.ifindex;
	if (info->type == BPF_LINK_TYPE_XDP)
		step(r, rc, "%s: XDP program %u by link %u",
		     if_indextoname(info->xdp.ifindex, name) ? name : "?", info->prog_id, info->id);
	else
		step(r, rc, "tunnels' listener: program %u by link %u", info->prog_id, info->id);
}

static void remove_links(struct rescue *r)
{
	uint32_t id = 0;

	while (!bpf_link_get_next_id(id, &id)) {
		struct bpf_link_info info = { 0 };
		uint32_t len = sizeof(info);
		int link = bpf_link_get_fd_by_id(id);
		enum whose whose;

		if (link < 0)
			continue;
		whose = bpf_obj_get_info_by_fd(link, &info, &len) ? NOT_OURS : link_whose(r, &info);
		if (whose == OURS)
			detach_link(r, link, &info);
		else if (whose == ELSEWHERE)
			printf("link %u (program %u) is of another network namespace: left; run "
			       "this there\n",
			       id, info.prog_id);
		close(link);
	}
}

/* ---- interfaces ------------------------------------------------------------------------------ */

static bool has_link(const struct rescue *r, uint32_t ifindex)
{
	for (size_t i = 0; i < r->nlinked; i++)
		if (r->linked[i] == ifindex)
			return true;
	return false;
}

/* Attached without a link, or behind libxdp's dispatcher. */
static void clear_interface(struct rescue *r, const struct if_nameindex *i)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	const uint32_t flags[] = { XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE, XDP_FLAGS_HW_MODE };
	int behind;

	if (bpf_xdp_query((int)i->if_index, 0, &query))
		return;
	for (int k = 0; k < 3; k++) {
		const uint32_t id[] = { query.drv_prog_id, query.skb_prog_id, query.hw_prog_id };
		int rc = 0;

		if (!id[k] || !whose_edge(id[k]) || (r->dry && has_link(r, i->if_index)))
			continue;
		if (!r->dry)
			rc = bpf_xdp_detach((int)i->if_index, flags[k], NULL);
		step(r, rc, "%s: XDP program %u without a link", i->if_name, id[k]);
	}
	behind = dispatcher_leave(i->if_index, r->dry);
	if (behind)
		step(r, 0, "%s: %d programs behind libxdp's dispatcher", i->if_name, behind);
}

static void remove_programs(struct rescue *r)
{
	struct if_nameindex *all = if_nameindex();

	for (const struct if_nameindex *i = all; i && i->if_name; i++)
		clear_interface(r, i);
	for (const struct if_nameindex *i = all; i && i->if_name; i++)
		if (r->dry && egress_is_there(i->if_index))
			step(r, 0, "%s: tc program at the egress", i->if_name);
	if_freenameindex(all);
	if (!r->dry && egress_take_down())
		r->failed++;
}

/* ---- routes ---------------------------------------------------------------------------------- */

static void remove_routes(struct rescue *r)
{
	static const enum netlink_routes kinds[] = { NETLINK_ANNOUNCE, NETLINK_LOCAL, NETLINK_PROBE };
	struct netlink *nl = NULL;
	int rc;

	if (r->dry) {
		printf("routes of protocol %d and the rule to table %d: would be removed\n",
		       NETLINK_ROUTE_PROTOCOL, NETLINK_PROBE_TABLE);
		return;
	}
	rc = netlink_open(&nl);
	for (size_t i = 0; !rc && i < sizeof(kinds) / sizeof(*kinds); i++)
		rc = netlink_routes(nl, kinds[i], 0, NULL, 0);
	if (!rc)
		rc = netlink_probe_rule(nl, 0);
	netlink_close(nl);
	step(r, rc, "routes of protocol %d and the rule to table %d", NETLINK_ROUTE_PROTOCOL,
	     NETLINK_PROBE_TABLE);
}

/* ---- pins ------------------------------------------------------------------------------------ */

/* A folder that holds our pins, whole or not. */
static bool looks_ours(const char *path)
{
	static const char *const names[] = { "service_info", "slots", "edge" };
	char file[PIN_PATH_MAX];
	int n = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(file, sizeof(file), "%.400s/%s", path, names[i]);
		n += !access(file, F_OK);
	}
	return n >= 2;
}

/* One of its links carries packets in another network namespace. */
static bool is_elsewhere(const struct rescue *r, const char *folder, const struct dirent *e)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	char path[PIN_PATH_MAX];
	bool elsewhere;
	int link;

	snprintf(path, sizeof(path), "%.240s/%.255s", folder, e->d_name);
	if (strncmp(e->d_name, "link-", 5) && strcmp(e->d_name, "listen-link"))
		return false;
	link = bpf_obj_get(path);
	if (link < 0)
		return false; /* damaged: it holds nothing */
	elsewhere = !bpf_obj_get_info_by_fd(link, &info, &len) && link_whose(r, &info) == ELSEWHERE;
	close(link);
	return elsewhere;
}

static void remove_folder(struct rescue *r, const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *e;
	struct statfs fs;
	int pins = 0, rc = 0;

	if (!dir) {
		if (errno != ENOENT)
			step(r, -errno, "%s", folder);
		return;
	}
	/* A mistyped folder must not be emptied by root. */
	if (fstatfs(dirfd(dir), &fs) || (unsigned long)fs.f_type != BPF_FS_MAGIC) {
		printf("%s: not on a BPF file system, so none of its files is a pin: left; give the "
		       "folder of agent.pin\n",
		       folder);
		r->failed++;
		closedir(dir);
		return;
	}
	while ((e = readdir(dir)))
		if (is_elsewhere(r, folder, e)) {
			printf("%s: its links are of another network namespace: left\n", folder);
			closedir(dir);
			return;
		}
	rewinddir(dir);
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		pins++;
		if (!r->dry && unlinkat(dirfd(dir), e->d_name, 0))
			rc = -errno;
	}
	closedir(dir);
	if (!r->dry && !rc && rmdir(folder))
		rc = -errno;
	step(r, rc, "%s: %d pins", folder, pins);
}

/* Folders of ours at most so many levels below. */
static void search(struct rescue *r, const char *folder, int levels)
{
	DIR *dir = opendir(folder);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char path[PIN_PATH_MAX];
		struct stat st;

		snprintf(path, sizeof(path), "%.240s/%.255s", folder, e->d_name);
		if (e->d_name[0] == '.' || lstat(path, &st) || !S_ISDIR(st.st_mode))
			continue;
		if (looks_ours(path))
			remove_folder(r, path);
		else if (levels > 1)
			search(r, path, levels - 1);
	}
	if (dir)
		closedir(dir);
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Whoever would put it all back. */
static void tell_loaders(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char path[300], name[32] = "";
		FILE *file;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fgets(name, sizeof(name), file) && !strcmp(name, "weir-loader\n"))
			printf("weir-loader runs (process %s): it does not attach again, but "
			       "weir-agent's next start does; stop it\n",
			       e->d_name);
		fclose(file);
	}
	if (dir)
		closedir(dir);
}

static int say_what_is_left(const struct rescue *r)
{
	struct if_nameindex *all = if_nameindex();
	int left = 0;

	for (const struct if_nameindex *i = all; !r->dry && i && i->if_name; i++) {
		if (!whose_edge(program_on(i->if_index)))
			continue;
		printf("%s: still has our XDP program; `ip link set dev %s xdp off` removes it\n",
		       i->if_name, i->if_name);
		left++;
	}
	if_freenameindex(all);
	if (r->dry)
		printf("nothing was changed: without --dry-run it is\n");
	else if (!left && !r->failed)
		printf("nothing of weir is in the way of packets any more: this host's own "
		       "addresses and routes alone decide\n");
	return left || r->failed ? 1 : 0;
}

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	(void)level;
	(void)fmt;
	(void)ap;
	return 0;
}

int rescue_main(int argc, char **argv)
{
	struct rescue r = { 0 };
	struct stat st;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--dry-run"))
			r.dry = true;
		else if (argv[i][0] == '-')
			return fprintf(stderr, "weir-agent --rescue [--dry-run] [FOLDER-OF-PINS…]\n"), 2;
	}
	if (geteuid()) {
		fprintf(stderr, "weir-agent --rescue: only root may take programs out of the kernel\n");
		return 1;
	}
	libbpf_set_print(quiet);
	if (!stat("/proc/self/ns/net", &st))
		r.netns = st.st_ino;
	remove_links(&r);
	remove_programs(&r);
	remove_routes(&r);
	search(&r, BPF_FOLDER, 2);
	for (int i = 1; i < argc; i++)
		if (argv[i][0] != '-')
			remove_folder(&r, argv[i]);
	tell_loaders();
	return say_what_is_left(&r);
}
