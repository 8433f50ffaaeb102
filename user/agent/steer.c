// SPDX-License-Identifier: Apache-2.0
/* steer.c -- load, adopt, attach (see steer.h). */
#include "user/agent/steer.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "skel/listen.skel.h"
#include "user/agent/limits.h"
#include "user/agent/migrate.h"

#define PROGRAM_PIN  "listen"
#define PIN_PATH_MAX 512

struct steer {
	struct listen *skel;
	struct listen *spare; /* makes maps of another layout */
	struct migration *migration;
	int link;
};

static char *pin_path(const char *pin, const char *name, char buf[PIN_PATH_MAX])
{
	snprintf(buf, PIN_PATH_MAX, "%s/%s", pin, name);
	return buf;
}

static int load(struct steer *steer, const struct conf_agent *conf)
{
	char path[PIN_PATH_MAX];
	int rc;

	steer->skel = listen__open();
	steer->spare = listen__open();
	if (!steer->skel || !steer->spare)
		return -errno;
	rc = limits_apply(steer->skel->obj, conf);
	if (!rc)
		rc = limits_apply(steer->spare->obj, conf);
	if (!rc)
		rc = migrate_open(&steer->migration, steer->skel->obj, steer->spare->obj,
				  conf->pin);
	if (!rc)
		rc = listen__load(steer->skel);
	if (!rc)
		rc = migrate_fill(steer->migration);
	if (rc)
		return rc;
	/* For people and bpftool; the link is what holds the program. */
	pin_path(conf->pin, PROGRAM_PIN, path);
	unlink(path);
	return bpf_obj_pin(bpf_program__fd(steer->skel->progs.steer), path) ? -errno : 0;
}

/* The link of an earlier process, when it is of this network namespace: its program is exchanged.
 */
static int link_adopt(const char *path, uint32_t netns, int program)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	int link = bpf_obj_get(path);

	if (link < 0)
		return -errno;
	if (!bpf_obj_get_info_by_fd(link, &info, &len) && info.type == BPF_LINK_TYPE_NETNS &&
	    info.netns.attach_type == BPF_SK_LOOKUP && info.netns.netns_ino == netns &&
	    !bpf_link_update(link, program, NULL))
		return link;
	close(link);
	unlink(path);
	return -ESTALE;
}

static int attach(struct steer *steer, const char *pin)
{
	int program = bpf_program__fd(steer->skel->progs.steer), rc = 0;
	int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	char path[PIN_PATH_MAX];
	bool adopted = true;
	struct stat st;

	if (netns < 0 || fstat(netns, &st)) {
		rc = -errno;
		goto out;
	}
	pin_path(pin, STEER_LINK, path);
	steer->link = link_adopt(path, (uint32_t)st.st_ino, program);
	if (steer->link < 0) {
		adopted = false;
		steer->link = bpf_link_create(program, netns, BPF_SK_LOOKUP, NULL);
		if (steer->link < 0 || bpf_obj_pin(steer->link, path))
			rc = -errno;
	}
	if (!rc)
		log_info("tunnels: connections are led to the edge's listener (%s)",
			 adopted ? "adopted, program exchanged" : "attached");
out:
	if (netns >= 0)
		close(netns);
	return rc;
}

int steer_open(struct steer **out, const struct conf_agent *conf)
{
	struct steer *steer = calloc(1, sizeof(*steer));
	int rc;

	if (!steer)
		return -ENOMEM;
	steer->link = -1;
	rc = load(steer, conf);
	if (!rc)
		rc = attach(steer, conf->pin);
	if (!rc)
		rc = migrate_finish(steer->migration);
	if (rc) {
		log_error("tunnels: the program that leads connections to the edge cannot be used: "
			  "%s",
			  strerror(-rc));
		steer_close(steer);
		return rc;
	}
	*out = steer;
	return 0;
}

int steer_plan(const struct conf_agent *conf, struct migrate_plan *out, size_t max)
{
	struct listen *skel = listen__open();
	int rc;

	if (!skel)
		return -errno;
	rc = limits_apply(skel->obj, conf);
	if (!rc)
		rc = migrate_plan(skel->obj, conf->pin, out, max);
	listen__destroy(skel);
	return rc;
}

void steer_close(struct steer *steer)
{
	if (!steer)
		return;
	if (steer->link >= 0)
		close(steer->link);
	migrate_close(steer->migration);
	listen__destroy(steer->spare);
	listen__destroy(steer->skel);
	free(steer);
}

void steer_fds(const struct steer *steer, struct maps_fds *fds)
{
	fds->tunnel_ports = bpf_map__fd(steer->skel->maps.tunnel_ports);
	fds->listeners = bpf_map__fd(steer->skel->maps.listeners);
	fds->listen_counts = bpf_map__fd(steer->skel->maps.listen_counts);
}

void steer_remove(const char *pin)
{
	static const char *const names[] = { STEER_LINK, PROGRAM_PIN, "tunnel_ports", "listeners",
					     "listen_counts" };
	char path[PIN_PATH_MAX];
	int link = bpf_obj_get(pin_path(pin, STEER_LINK, path));

	if (link >= 0) {
		bpf_link_detach(link);
		close(link);
		log_info("tunnels: not configured any more, connections are not led to an edge");
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unlink(pin_path(pin, names[i], path));
}
