// SPDX-License-Identifier: Apache-2.0
/*
 * loader_sample.c -- the loader's part in seeing: sets what is sampled, hands the agent the ring, and
 * reads the counters that only people want (see loader.h).
 *
 * The ring's descriptor goes to the agent alone, which needs no privilege to read it. Filters end with
 * the agent: this process clears them when the other end of its socket is closed, a start clears what
 * a killed loader left, and each has a deadline that the packet path itself keeps.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "user/agent/loader_int.h"

#define SAMPLE_NS_MAX (86400ull * 1000000000ull) /* no filter is for longer than a day */

static uint32_t set_filters(const struct weir_sample_filter *f, uint32_t *only)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < WEIR_SAMPLE_FILTERS; i++) {
		if (!f[i].reasons)
			continue;
		n++;
		*only = i;
	}
	return n;
}

/* The switch follows the filters. "One of N" of a filter that is alone is told by the settings: then
 * what is not chosen costs a random number and nothing more. */
static int follow(const struct loader *l, const struct weir_sample_filter *f)
{
	uint32_t only = 0, n = set_filters(f, &only), zero = 0, alone;
	struct weir_settings s;

	if (bpf_map_lookup_elem(l->fds.settings, &zero, &s))
		return -errno;
	alone = n == 1 ? f[only].one_of : 0;
	s.on = n ? s.on | WEIR_ON_SAMPLE : s.on & ~(uint32_t)WEIR_ON_SAMPLE;
	s.sample = alone;
	for (uint32_t i = 0; i < WEIR_SAMPLE_FILTERS; i++) {
		struct weir_sample_filter w = f[i];

		if (alone)
			w.one_of = 0;
		if (bpf_map_update_elem(l->fds.sample_filters, &i, &w, BPF_ANY))
			return -errno;
	}
	return bpf_map_update_elem(l->fds.settings, &zero, &s, BPF_ANY) ? -errno : 0;
}

int loader_samples_clear(struct loader *l)
{
	memset(l->filters, 0, sizeof(l->filters));
	return follow(l, l->filters);
}

int loader_start_seeing(struct loader *l)
{
	struct weir_settings s;
	uint32_t zero = 0;
	int rc = loader_samples_clear(l);

	if (rc)
		return rc;
	if (bpf_map_lookup_elem(l->fds.settings, &zero, &s))
		return -errno;
	s.on |= WEIR_ON_FLAGS;
	return bpf_map_update_elem(l->fds.settings, &zero, &s, BPF_ANY) ? -errno : 0;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

int loader_do_sample_filter(struct loader *l)
{
	struct weir_sample_filter f;

	if (l->in.len != sizeof(f) || l->in.number >= WEIR_SAMPLE_FILTERS)
		return -EBADMSG;
	memcpy(&f, l->in.body, sizeof(f));
	if (f.reasons && (f.until > now_ns() + SAMPLE_NS_MAX || f.snap > WEIR_SAMPLE_SNAP ||
			  f.service > maps_max(l->maps)->services || f.backend >= maps_max(l->maps)->backends))
		return loader_answer_error(l, -EINVAL, "a trace is for at most a day and %d bytes of a packet",
					   WEIR_SAMPLE_SNAP);
	l->filters[l->in.number] = f;
	return follow(l, l->filters);
}

int loader_do_sample_ring(struct loader *l)
{
	int fd = fcntl(l->fds.samples, F_DUPFD_CLOEXEC, 3);

	if (fd < 0)
		return -errno;
	l->send_fd = fd;
	return 0;
}

/* ---- counters ---------------------------------------------------------------------------------- */

int loader_do_sample_counts(struct loader *l)
{
	uint64_t *out = (uint64_t *)l->out.body, per_cpu[1024];
	int cpus = libbpf_num_possible_cpus();

	if (cpus <= 0 || cpus > 1024)
		return -E2BIG;
	for (uint32_t i = 0; i < WEIR_SAMPLE_COUNTS; i++) {
		if (bpf_map_lookup_elem(l->fds.sample_counts, &i, per_cpu))
			return -errno;
		out[i] = 0;
		for (int cpu = 0; cpu < cpus; cpu++)
			out[i] += per_cpu[cpu];
	}
	l->out.len = WEIR_SAMPLE_COUNTS * sizeof(*out);
	return 0;
}

int loader_do_flag_counts(struct loader *l)
{
	const uint32_t *number = (const uint32_t *)l->in.body;
	struct weir_flag_count *out = (struct weir_flag_count *)l->out.body;
	uint32_t n = l->in.len / sizeof(*number);
	struct weir_flag_count per_cpu[1024];
	int cpus = libbpf_num_possible_cpus();

	if (n > LOADER_BODY_MAX / sizeof(*out) || cpus <= 0 || cpus > 1024)
		return -EBADMSG;
	for (uint32_t i = 0; i < n; i++) {
		if (number[i] >= maps_max(l->maps)->services)
			return -EBADMSG;
		if (bpf_map_lookup_elem(l->fds.flag_counts, &number[i], per_cpu))
			return -errno;
		memset(&out[i], 0, sizeof(out[i]));
		for (int cpu = 0; cpu < cpus; cpu++) {
			out[i].syn += per_cpu[cpu].syn;
			out[i].fin += per_cpu[cpu].fin;
			out[i].rst += per_cpu[cpu].rst;
		}
	}
	l->out.len = n * (uint32_t)sizeof(*out);
	return 0;
}

/* Packets of each CPU by what became of them. */
int loader_do_cpu_counts(struct loader *l)
{
	static const char *const fate[] = {
#define FATE(name, fate, meaning) fate,
		WEIR_REASONS(FATE)
#undef FATE
	};
	struct dataplane_cpu *out = (struct dataplane_cpu *)l->out.body;
	struct weir_count per_cpu[1024];
	int cpus = libbpf_num_possible_cpus();

	if (cpus <= 0 || cpus > 1024)
		return -E2BIG;
	memset(out, 0, (size_t)cpus * sizeof(*out));
	for (uint32_t r = 0; r < WEIR_REASON_COUNT; r++) {
		if (bpf_map_lookup_elem(l->fds.reasons, &r, per_cpu))
			return -errno;
		for (int cpu = 0; cpu < cpus; cpu++) {
			uint64_t *to = *fate[r] == 's'	 ? &out[cpu].sent
				       : *fate[r] == 'd' ? &out[cpu].dropped
				       : *fate[r] == 'p' ? &out[cpu].passed
							 : NULL;

			if (to) /* else "taken" */
				*to += per_cpu[cpu].packets;
		}
	}
	l->out.len = (uint32_t)cpus * (uint32_t)sizeof(*out);
	return 0;
}
