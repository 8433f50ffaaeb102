/* SPDX-License-Identifier: Apache-2.0 */
/* load.c: requests and CPU of this process, and (root) a real quota that holds it back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/load.h"

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Keeps the CPU busy; time passing is what is tested. */
static void spin(double seconds)
{
	double end = now_s() + seconds;

	while (now_s() < end)
		;
}

static void requests(void **state)
{
	struct orca_report report;
	struct load *load;

	(void)state;
	assert_int_equal(load_new(&load), 0);
	load_connections(load, 3);
	load_connections(load, -1);
	for (int i = 0; i < 4; i++)
		load_begin(load);
	spin(0.15);
	load_end(load, 150000, false);
	load_end(load, 150000, true);
	spin(0.15);
	load_report(load, &report);
	/* Four for a half of the time, two for the other. */
	assert_true(fabs(orca_named_get(&report, "inflight") - 3) < 0.7);
	assert_true(fabs(orca_named_get(&report, "latency_ms") - 150) < 1);
	assert_true(fabs(report.rps_fractional - 2 / 0.3) < 3);
	assert_true(report.eps > 0 && fabs(report.eps * 2 - report.rps_fractional) < 1e-6);
	assert_true(orca_named_get(&report, "connections") == 2);
	assert_true(report.cpu_utilization > 0 && report.cpu_utilization < 1.3);
	assert_true(report.mem_utilization > 0 && report.mem_utilization < 1);
	assert_true(orca_named_get(&report, "cores") > 0);
	/* At once again: the same report. */
	load_begin(load);
	load_report(load, &report);
	assert_true(fabs(report.rps_fractional - 2 / 0.3) < 3);
	load_free(load);
	load_begin(NULL);
	load_end(NULL, 1, false);
	load_connections(NULL, 1);
	load_free(NULL);
}

/* ---- a real quota ------------------------------------------------------------------------------ */

static char group[128];

static bool put(const char *file, const char *text)
{
	char path[192];
	ssize_t written;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", group, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	written = write(fd, text, strlen(text));
	close(fd);
	return written == (ssize_t)strlen(text);
}

/* A group with a fifth of a CPU. */
static bool make_group(void)
{
	snprintf(group, sizeof(group), "/sys/fs/cgroup/cpu/weir-test-%d", (int)getpid());
	if (mkdir(group, 0755) == 0)
		return put("cpu.cfs_period_us", "100000") && put("cpu.cfs_quota_us", "20000");
	snprintf(group, sizeof(group), "/sys/fs/cgroup/weir-test-%d", (int)getpid());
	return mkdir(group, 0755) == 0 && put("cpu.max", "20000 100000");
}

/* In a process of its own, which moves into the group after load_new(), as an operator would do it. */
static int held_back(void)
{
	struct orca_report report;
	struct load *load;
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (load_new(&load) < 0 || !put("cgroup.procs", pid))
		return 2;
	load_report(load, &report);
	spin(0.3);
	load_report(load, &report);     /* notices the group */
	spin(1.2);
	load_report(load, &report);
	print_message("# quota 0.2 CPU: cpu %.2f, throttled %.2f, pressure %.2f, cores %.2f\n",
		      report.cpu_utilization, orca_named_get(&report, "throttled"),
		      orca_named_get(&report, "pressure"), orca_named_get(&report, "cores"));
	load_free(load);
	return report.cpu_utilization > 0.7 && report.cpu_utilization < 1.6 &&
	       orca_named_get(&report, "throttled") > 0.5 &&
	       orca_named_get(&report, "pressure") > 0.5 &&
	       fabs(orca_named_get(&report, "cores") - 0.2) < 0.01 ? 0 : 1;
}

static void quota(void **state)
{
	bool made = geteuid() == 0 && make_group();
	int status = 0;
	pid_t child;

	(void)state;
	if (!made) {
		rmdir(group);
		print_message("# SKIP needs root and a writable cpu cgroup\n");
		skip();
	}
	child = fork();
	if (child == 0)
		_exit(held_back());
	assert_true(child > 0 && waitpid(child, &status, 0) == child);
	assert_int_equal(rmdir(group), 0);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests),
		cmocka_unit_test(quota),
	};

	return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
