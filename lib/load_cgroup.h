/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_cgroup.h -- for load.c alone: what the control groups of this process (version 1 or 2, from
 * its own up to the root) allow it, and how often they held it back.
 *
 * Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of the kernel; /proc/PID/cgroup in
 * cgroups(7).
 */
#ifndef WEIR_LOAD_CGROUP_H
#define WEIR_LOAD_CGROUP_H

#include <stdint.h>

#define CGROUP_LEVELS 8 /* deeper groups are left out, the nearest count */

struct cgroup_level {
	int quota, period; /* v1: cpu.cfs_quota_us, cpu.cfs_period_us; v2: cpu.max, -1 */
	int stat;	   /* cpu.stat: periods, throttled; v2: usage too */
	int usage;	   /* v1: cpuacct.usage when that hierarchy has the same path, else -1 */
	int pressure;	   /* v2: cpu.pressure, but not the root's; else -1 */
	uint64_t last_usage_us, last_periods, last_throttled, last_pressure_us;
};

struct cgroup {
	int self; /* /proc/self/cgroup: another text means that we were moved */
	char text[2048];
	struct cgroup_level levels[CGROUP_LEVELS];
	unsigned int nlevels;
	int memory, memory_max; /* of the nearest group with a limit; -1: none */
};

/* Opens what is there; what is not is left out. */
void cgroup_open(struct cgroup *cg);
void cgroup_close(struct cgroup *cg);

struct cgroup_sample {
	double cpus;	    /* CPUs that the tightest quota gives; INFINITY: no quota */
	double utilization; /* usage against quota, the fullest level; NAN without a quota */
	double throttled; /* fraction of the periods in which a level was held back; NAN without */
	double pressure;  /* fraction of the time that something waited for CPU; NAN unknown */
	double memory;	  /* usage against limit; NAN without a limit */
};

/* Since the last call (elapsed_us ago; process_us: CPU time of this process meanwhile). */
void cgroup_sample(struct cgroup *cg, uint64_t elapsed_us, uint64_t process_us,
		   struct cgroup_sample *out);

/* Reads a small file from its beginning; the length, or -1. Terminated. */
long load_read(int fd, char *buf, unsigned long size);

#endif
