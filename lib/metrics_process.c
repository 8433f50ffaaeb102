// SPDX-License-Identifier: Apache-2.0
/*
 * metrics_process.c -- what this process uses, as `process_*` of other exporters: CPU time, memory,
 * descriptors, threads, start; and which build it is.
 *
 * /proc is opened once, while files may still be opened, and read again for each page.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "lib/daemon.h"
#include "lib/metrics.h"

struct process {
	int stat; /* /proc/self/stat */
	int fds;  /* /proc/self/fd */
	struct metric_series *cpu, *rss, *vsize, *threads, *open_fds, *max_fds;
};

/* Field `number` (1 is the process id) of proc(5)'s stat; the name, field 2, may hold blanks. */
static double stat_field(const char *text, int number)
{
	const char *p = strrchr(text, ')');

	for (int i = 2; p && i < number; i++)
		p = strchr(p + 1, ' ');
	return p ? strtod(p, NULL) : 0;
}

static size_t count_fds(int folder)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	size_t n = 0;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while (readdir(dir))
		n++;
	closedir(dir);
	return n > 3 ? n - 3 : 0; /* ".", ".." and the folder's own descriptor */
}

static void process_collect(void *arg)
{
	struct process *p = arg;
	struct rlimit limit;
	struct rusage usage;
	char text[1024];
	ssize_t n;

	if (!getrusage(RUSAGE_SELF, &usage))
		metric_set(p->cpu,
			   (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
				   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	n = p->stat < 0 ? -1 : pread(p->stat, text, sizeof(text) - 1, 0);
	if (n > 0) {
		text[n] = '\0';
		metric_set(p->threads, stat_field(text, 20));
		metric_set(p->vsize, stat_field(text, 23));
		metric_set(p->rss, stat_field(text, 24) * (double)sysconf(_SC_PAGESIZE));
	}
	if (p->fds >= 0)
		metric_set(p->open_fds, (double)count_fds(p->fds));
	if (!getrlimit(RLIMIT_NOFILE, &limit))
		metric_set(p->max_fds, (double)limit.rlim_cur);
}

static struct metric_series *add_one(struct metrics *m, enum metric_type type, const char *name,
				     const char *help)
{
	struct metric *metric = metric_add(m, type, name, help, NULL);

	return metric ? metric_series(metric, NULL) : NULL;
}

int metrics_add_process(struct metrics *m, const char *program)
{
	static struct process p; /* one process has one */
	struct metric *build = metric_add(
		m, METRIC_GAUGE, "build_info",
		"Always 1; the labels say which program and version this is.", "program,version");
	struct metric_series *start;

	if (!build)
		return -ENOMEM;
	metric_set(metric_series(build, program, WEIR_VERSION, NULL), 1);
	if (!p.cpu) {
		p.stat = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
		p.fds = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	p.cpu = add_one(m, METRIC_COUNTER, "process_cpu_seconds_total",
			"User and system CPU time of this process.");
	p.rss = add_one(m, METRIC_GAUGE, "process_resident_memory_bytes", "Resident memory.");
	p.vsize = add_one(m, METRIC_GAUGE, "process_virtual_memory_bytes", "Virtual memory.");
	p.threads = add_one(m, METRIC_GAUGE, "process_threads", "Threads.");
	p.open_fds = add_one(m, METRIC_GAUGE, "process_open_fds", "Open file descriptors.");
	p.max_fds = add_one(m, METRIC_GAUGE, "process_max_fds", "Limit of open file descriptors.");
	start = add_one(m, METRIC_GAUGE, "process_start_time_seconds",
			"When this process began to count, in Unix time.");
	if (!p.cpu || !p.rss || !p.vsize || !p.threads || !p.open_fds || !p.max_fds || !start)
		return -ENOMEM;
	metric_set(start, (double)time(NULL));
	return metrics_on_collect(m, process_collect, &p);
}
