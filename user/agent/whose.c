// SPDX-License-Identifier: Apache-2.0
/* whose.c -- asks the kernel (see whose.h). */
#include "user/agent/whose.h"

#include <bpf/bpf.h>
#include <string.h>
#include <unistd.h>

#define MAPS_MAX 128

static bool map_named(uint32_t id, const char *name)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	int fd = bpf_map_get_fd_by_id(id);
	bool same = fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) && !strcmp(info.name, name);

	if (fd >= 0)
		close(fd);
	return same;
}

bool whose_program(uint32_t id, const char *name, const char *map)
{
	uint32_t maps[MAPS_MAX], len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = { .nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)maps };
	int fd = bpf_prog_get_fd_by_id(id);
	bool same = fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) && !strcmp(info.name, name);
	bool has = false;

	if (fd >= 0)
		close(fd);
	for (uint32_t i = 0; same && i < info.nr_map_ids && i < MAPS_MAX; i++)
		has |= map_named(maps[i], map);
	return same && has;
}

bool whose_uses(uint32_t id, uint32_t map)
{
	uint32_t maps[MAPS_MAX], len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = { .nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)maps };
	int fd = bpf_prog_get_fd_by_id(id);
	bool uses = false;

	if (fd < 0)
		return false;
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		info.nr_map_ids = 0;
	close(fd);
	for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MAX; i++)
		uses |= maps[i] == map;
	return uses;
}

bool whose_edge(uint32_t id)
{
	return whose_program(id, "edge", "service_counts");
}
