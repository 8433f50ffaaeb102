/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c -- how loaded this process is (see load.h).
 *
 * Everything is a difference between two refreshes, at least 250 ms apart: CPU time, waiting time,
 * requests, and the time integral of the requests in flight, whose mean says more than the
 * number at one moment.
 */
#include "lib/load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/load_cgroup.h"

#define REFRESH_US 250000

struct load {
	pthread_mutex_t lock;
	uint64_t changed_us, inflight, connections;
	double inflight_us; /* integral of inflight over time, since the last refresh */
	uint64_t ended, failed, took_us; /* since the last refresh */
	/* of the last refresh */
	uint64_t refreshed_us, cpu_us, wait_us;
	struct orca_report report;
	/* where to read */
	int tasks, statm; /* /proc/self/task, /proc/self/statm */
	struct cgroup cgroup;
};

static uint64_t clock_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Time that threads of this process were runnable and waited for a CPU: the second number of
 * /proc/PID/task/TID/schedstat (nanoseconds), Documentation/scheduler/sched-stats.rst. */
static uint64_t waited_us(const struct load *load)
{
	int fd =
		load->tasks < 0 ? -1 : openat(load->tasks, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	uint64_t sum = 0;
	struct dirent *entry;

	if (!dir && fd >= 0)
		close(fd);
	while (dir && (entry = readdir(dir))) {
		char name[280], text[96];
		unsigned long long ran, waited;
		int task;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/schedstat", entry->d_name);
		task = openat(load->tasks, name, O_RDONLY | O_CLOEXEC);
		if (load_read(task, text, sizeof(text)) > 0 &&
		    sscanf(text, "%llu %llu", &ran, &waited) == 2)
			sum += waited / 1000;
		if (task >= 0)
			close(task);
	}
	if (dir)
		closedir(dir);
	return sum;
}

static double cpus_allowed(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0 ? CPU_COUNT(&set)
										   : 1;
}

static double memory_of_machine(const struct load *load)
{
	char text[128];
	unsigned long long resident;
	long pages = sysconf(_SC_PHYS_PAGES);

	if (pages <= 0 || load_read(load->statm, text, sizeof(text)) <= 0 ||
	    sscanf(text, "%*u %llu", &resident) != 1)
		return NAN;
	return (double)resident / (double)pages;
}

int load_new(struct load **out)
{
	struct load *load = calloc(1, sizeof(*load));

	if (!load)
		return -ENOMEM;
	pthread_mutex_init(&load->lock, NULL);
	load->tasks = open("/proc/self/task", O_PATH | O_DIRECTORY | O_CLOEXEC);
	load->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	cgroup_open(&load->cgroup);
	orca_clear(&load->report);
	load->refreshed_us = load->changed_us = clock_us(CLOCK_MONOTONIC);
	load->cpu_us = clock_us(CLOCK_PROCESS_CPUTIME_ID);
	load->wait_us = waited_us(load);
	*out = load;
	return 0;
}

void load_free(struct load *load)
{
	if (!load)
		return;
	cgroup_close(&load->cgroup);
	if (load->tasks >= 0)
		close(load->tasks);
	if (load->statm >= 0)
		close(load->statm);
	pthread_mutex_destroy(&load->lock);
	free(load);
}

/* Accounts for the time since the number in flight last changed; locked. */
static void advance(struct load *load)
{
	uint64_t now = clock_us(CLOCK_MONOTONIC);

	load->inflight_us += (double)load->inflight * (double)(now - load->changed_us);
	load->changed_us = now;
}

void load_begin(struct load *load)
{
	if (!load)
		return;
	pthread_mutex_lock(&load->lock);
	advance(load);
	load->inflight++;
	pthread_mutex_unlock(&load->lock);
}

void load_passed(struct load *load, uint64_t took_us)
{
	pthread_mutex_lock(&load->lock);
	load->inflight_us += (double)took_us;
	load->ended++;
	load->took_us += took_us;
	pthread_mutex_unlock(&load->lock);
}

void load_end(struct load *load, uint64_t took_us, bool failed)
{
	if (!load)
		return;
	pthread_mutex_lock(&load->lock);
	advance(load);
	load->inflight -= load->inflight > 0;
	load->ended++;
	load->failed += failed;
	load->took_us += took_us;
	pthread_mutex_unlock(&load->lock);
}

void load_connections(struct load *load, int change)
{
	if (!load)
		return;
	pthread_mutex_lock(&load->lock);
	if (change > 0)
		load->connections += (unsigned int)change;
	else
		load->connections -= load->connections < (unsigned int)-change
					     ? load->connections
					     : (unsigned int)-change;
	pthread_mutex_unlock(&load->lock);
}

static double largest(double a, double b)
{
	return isnan(a) || b > a ? b : a;
}

/* CPU, pressure, memory over the last elapsed_us. */
static void refresh_machine(struct load *load, double elapsed_us)
{
	uint64_t cpu = clock_us(CLOCK_PROCESS_CPUTIME_ID), waited = waited_us(load);
	double used = (double)(cpu - load->cpu_us), cpus = cpus_allowed(), pressure;
	struct orca_report *report = &load->report;
	struct cgroup_sample group;

	cgroup_sample(&load->cgroup, (uint64_t)elapsed_us, cpu - load->cpu_us, &group);
	report->cpu_utilization = largest(group.utilization, used / (cpus * elapsed_us));
	cpus = fmin(cpus, group.cpus);
	/* Threads that ended took their waiting time with them. */
	pressure =
		waited > load->wait_us ? (double)(waited - load->wait_us) / (cpus * elapsed_us) : 0;
	pressure = largest(largest(group.pressure, pressure), group.throttled);
	orca_named_set(report, "pressure", fmin(1, pressure));
	orca_named_set(report, "throttled", isnan(group.throttled) ? 0 : group.throttled);
	report->mem_utilization = isnan(group.memory) ? memory_of_machine(load) : group.memory;
	orca_named_set(report, "cores", cpus);
	load->cpu_us = cpu;
	load->wait_us = waited;
}

static void refresh_requests(struct load *load, double elapsed_us)
{
	struct orca_report *report = &load->report;

	advance(load);
	report->rps_fractional = (double)load->ended * 1e6 / elapsed_us;
	report->eps = (double)load->failed * 1e6 / elapsed_us;
	orca_named_set(report, "inflight", load->inflight_us / elapsed_us);
	orca_named_set(report, "latency_ms",
		       load->ended ? (double)load->took_us / 1e3 / (double)load->ended : 0);
	orca_named_set(report, "connections", (double)load->connections);
	load->ended = load->failed = load->took_us = 0;
	load->inflight_us = 0;
}

void load_report(struct load *load, struct orca_report *out)
{
	uint64_t now = clock_us(CLOCK_MONOTONIC);

	pthread_mutex_lock(&load->lock);
	if (now - load->refreshed_us >= REFRESH_US) {
		refresh_machine(load, (double)(now - load->refreshed_us));
		refresh_requests(load, (double)(now - load->refreshed_us));
		load->refreshed_us = now;
	}
	*out = load->report;
	pthread_mutex_unlock(&load->lock);
}
