/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_cgroup.c -- quotas, usage and throttling of the control groups of this process (see
 * load_cgroup.h).
 *
 * A quota may be set on any group above the process, so that every level is looked at. The mount
 * table says where a hierarchy is and which of its groups is at the mount (in a container, not the
 * root).
 */
#include "lib/load_cgroup.h"

#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_MAX_ 4096
#define NO_LIMIT  (UINT64_C(1) << 60) /* v1 says "no limit" by a number near 2^63 */

long load_read(int fd, char *buf, unsigned long size)
{
	long len = fd < 0 ? -1 : pread(fd, buf, size - 1, 0);

	buf[len > 0 ? len : 0] = '\0';
	return len;
}

/* The number behind `key ` at the start of a line; missing: 0. */
static uint64_t keyed(const char *text, const char *key)
{
	size_t len = strlen(key);

	while (text && *text) {
		if (strncmp(text, key, len) == 0 && text[len] == ' ')
			return strtoull(text + len + 1, NULL, 10);
		text = strchr(text, '\n');
		text += text != NULL;
	}
	return 0;
}

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (; list; list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL)
		if (strncmp(list, word, len) == 0 && (list[len] == ',' || list[len] == '\0'))
			return true;
	return false;
}

/* The process's path in the hierarchy of a v1 controller, or of v2 (controller ""). */
static bool group_path(const char *text, const char *controller, char *out)
{
	char copy[2048], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = '\0';
		list++;
		if (*controller ? has_word(list, controller) : *list == '\0') {
			snprintf(out, PATH_MAX_, "%s", path);
			return true;
		}
	}
	return false;
}

/* Where that hierarchy is mounted and which group is at the mount: mountinfo of proc(5). */
static bool mount_of(const char *controller, char *point, char *root)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[PATH_MAX_ * 2];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file)) {
		char type[32], options[256], *dash = strstr(line, " - ");

		if (!dash || sscanf(line, "%*d %*d %*s %4095s %4095s", root, point) != 2 ||
		    sscanf(dash, " - %31s %*s %255s", type, options) != 2)
			continue;
		found = *controller ? strcmp(type, "cgroup") == 0 && has_word(options, controller)
				    : strcmp(type, "cgroup2") == 0;
	}
	if (file)
		fclose(file);
	return found;
}

/* The folder of the process's group; *keep: so much of it is the mount itself. */
static bool group_folder(const char *text, const char *controller, char *folder, size_t *keep)
{
	char path[PATH_MAX_], point[PATH_MAX_], root[PATH_MAX_];
	size_t len;

	if (!group_path(text, controller, path) || !mount_of(controller, point, root))
		return false;
	len = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (strncmp(path, root, len) != 0) /* outside of what is mounted here */
		return false;
	*keep = strlen(point);
	snprintf(folder, PATH_MAX_ * 2, "%s%s", point,
		 strcmp(path + len, "/") == 0 ? "" : path + len);
	return true;
}

static int open_in(const char *folder, const char *name)
{
	char path[PATH_MAX_ * 2 + 64];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* One level up; false at the mount. */
static bool parent(char *folder, size_t keep)
{
	char *slash = strrchr(folder, '/');

	if (strlen(folder) <= keep || !slash || (size_t)(slash - folder) < keep)
		return false;
	*slash = '\0';
	return true;
}

static void open_level_v1(struct cgroup_level *level, const char *folder, const char *usage)
{
	level->quota = open_in(folder, "cpu.cfs_quota_us");
	level->period = open_in(folder, "cpu.cfs_period_us");
	level->stat = open_in(folder, "cpu.stat");
	level->usage = *usage ? open_in(usage, "cpuacct.usage") : -1;
	level->pressure = -1;
}

static void open_level_v2(struct cgroup_level *level, const char *folder, bool root)
{
	level->quota = open_in(folder, "cpu.max");
	level->period = level->usage = -1;
	level->stat = open_in(folder, "cpu.stat");
	level->pressure = root ? -1 : open_in(folder, "cpu.pressure");
}

static void open_cpu(struct cgroup *cg)
{
	char folder[PATH_MAX_ * 2], usage[PATH_MAX_ * 2] = "", path[PATH_MAX_], other[PATH_MAX_];
	size_t keep = 0, keep_usage = 0;

	if (group_folder(cg->text, "cpu", folder, &keep)) {
		/* Usage counts only when it is that of the same group. */
		if (!group_path(cg->text, "cpu", path) || !group_path(cg->text, "cpuacct", other) ||
		    strcmp(path, other) != 0 ||
		    !group_folder(cg->text, "cpuacct", usage, &keep_usage))
			usage[0] = '\0';
		do {
			open_level_v1(&cg->levels[cg->nlevels++], folder, usage);
			if (*usage && !parent(usage, keep_usage))
				usage[0] = '\0';
		} while (cg->nlevels < CGROUP_LEVELS && parent(folder, keep));
	} else if (group_folder(cg->text, "", folder, &keep)) {
		do
			open_level_v2(&cg->levels[cg->nlevels++], folder, strlen(folder) == keep);
		while (cg->nlevels < CGROUP_LEVELS && parent(folder, keep));
	}
}

static uint64_t limit_of(int fd)
{
	char text[64];

	if (load_read(fd, text, sizeof(text)) <= 0 || strncmp(text, "max", 3) == 0)
		return NO_LIMIT;
	return strtoull(text, NULL, 10);
}

static void open_memory(struct cgroup *cg)
{
	char folder[PATH_MAX_ * 2];
	size_t keep = 0;
	bool v1 = group_folder(cg->text, "memory", folder, &keep);

	if (!v1 && !group_folder(cg->text, "", folder, &keep))
		return;
	do {
		int max = open_in(folder, v1 ? "memory.limit_in_bytes" : "memory.max");

		if (max >= 0 && limit_of(max) < NO_LIMIT) {
			cg->memory_max = max;
			cg->memory =
				open_in(folder, v1 ? "memory.usage_in_bytes" : "memory.current");
			return;
		}
		if (max >= 0)
			close(max);
	} while (parent(folder, keep));
}

static void close_groups(struct cgroup *cg)
{
	for (unsigned int i = 0; i < cg->nlevels; i++) {
		struct cgroup_level *level = &cg->levels[i];
		const int fds[] = { level->quota, level->period, level->stat, level->usage,
				    level->pressure };

		for (size_t f = 0; f < sizeof(fds) / sizeof(fds[0]); f++)
			if (fds[f] >= 0)
				close(fds[f]);
	}
	if (cg->memory >= 0)
		close(cg->memory);
	if (cg->memory_max >= 0)
		close(cg->memory_max);
	cg->nlevels = 0;
	cg->memory = cg->memory_max = -1;
}

/* Usage, periods, … of one level as they are now. */
static void read_level(struct cgroup_level *level)
{
	char text[1024], *total;

	load_read(level->stat, text, sizeof(text));
	level->last_periods = keyed(text, "nr_periods");
	level->last_throttled = keyed(text, "nr_throttled");
	level->last_usage_us = keyed(text, "usage_usec");
	if (level->usage >= 0 && load_read(level->usage, text, sizeof(text)) > 0)
		level->last_usage_us = strtoull(text, NULL, 10) / 1000;
	if (load_read(level->pressure, text, sizeof(text)) > 0) {
		total = strstr(text, "total=");
		level->last_pressure_us = total ? strtoull(total + 6, NULL, 10) : 0;
	}
}

static void find_groups(struct cgroup *cg)
{
	open_cpu(cg);
	open_memory(cg);
	for (unsigned int i = 0; i < cg->nlevels; i++)
		read_level(&cg->levels[i]);
}

void cgroup_open(struct cgroup *cg)
{
	memset(cg, 0, sizeof(*cg));
	cg->memory = cg->memory_max = -1;
	cg->self = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	if (load_read(cg->self, cg->text, sizeof(cg->text)) > 0)
		find_groups(cg);
}

void cgroup_close(struct cgroup *cg)
{
	close_groups(cg);
	if (cg->self >= 0)
		close(cg->self);
}

/* CPUs that the level's quota gives; INFINITY: no quota. */
static double level_cpus(const struct cgroup_level *level)
{
	char text[64], *end;
	double quota, period = 100000;

	if (load_read(level->quota, text, sizeof(text)) <= 0 || strncmp(text, "max", 3) == 0)
		return INFINITY;
	quota = strtod(text, &end);
	if (level->period >= 0 && load_read(level->period, text, sizeof(text)) > 0)
		period = strtod(text, NULL);
	else if (level->period < 0)
		period = strtod(end, NULL);
	return quota > 0 && period > 0 ? quota / period : INFINITY;
}

static double larger(double a, double b)
{
	return isnan(a) || b > a ? b : a;
}

static void sample_level(struct cgroup_level *level, double elapsed_us, double process_us,
			 struct cgroup_sample *out)
{
	struct cgroup_level before = *level;
	double cpus = level_cpus(level), used, periods;

	read_level(level);
	if (level->pressure >= 0)
		out->pressure = larger(out->pressure,
				       (double)(level->last_pressure_us - before.last_pressure_us) /
					       elapsed_us);
	if (!isfinite(cpus))
		return;
	used = fmax(process_us, (double)(level->last_usage_us - before.last_usage_us));
	periods = (double)(level->last_periods - before.last_periods);
	out->cpus = fmin(out->cpus, cpus);
	out->utilization = larger(out->utilization, used / (cpus * elapsed_us));
	out->throttled = larger(
		out->throttled,
		periods > 0 ? (double)(level->last_throttled - before.last_throttled) / periods
			    : 0);
}

void cgroup_sample(struct cgroup *cg, uint64_t elapsed_us, uint64_t process_us,
		   struct cgroup_sample *out)
{
	char text[2048];
	uint64_t limit;

	*out = (struct cgroup_sample){ INFINITY, NAN, NAN, NAN, NAN };
	if (load_read(cg->self, text, sizeof(text)) > 0 && strcmp(text, cg->text) != 0) {
		close_groups(cg);
		memcpy(cg->text, text, sizeof(text));
		find_groups(cg);
	}
	for (unsigned int i = 0; i < cg->nlevels; i++)
		sample_level(&cg->levels[i], (double)elapsed_us, (double)process_us, out);
	limit = cg->memory_max >= 0 ? limit_of(cg->memory_max) : NO_LIMIT;
	if (limit > 0 && limit < NO_LIMIT)
		out->memory = (double)limit_of(cg->memory) / (double)limit;
}
