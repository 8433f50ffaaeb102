/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seen.c -- what the packet path counted, and how fast it counts: read once a second from the loader for status
 * and metrics, by reason, by CPU, by service with SYN, FIN and RST, by backend.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/agent/agent.h"

#define COUNTS_MAX 1024         /* a call, dataplane.h */

struct seen {
	struct weir_count reason[WEIR_REASON_COUNT], was[WEIR_REASON_COUNT];    /* was: a tick ago */
	struct seen_rate reason_rate[WEIR_REASON_COUNT];
	struct dataplane_cpu cpu[SEEN_CPUS_MAX];
	size_t ncpus;
	uint64_t samples[WEIR_SAMPLE_COUNTS];
	bool before;            /* there was a tick */
};

/* A counter that fell begins anew: another backend has that index now. */
static double grew(uint64_t now, uint64_t was, double dt)
{
	return now >= was && dt > 0 ? (double)(now - was) / dt : 0;
}

static struct seen_rate rate_of(const struct weir_count *now, const struct weir_count *was, double dt)
{
	const struct seen_rate rate = { .packets = grew(now->packets, was->packets, dt),
					.bits = 8 * grew(now->bytes, was->bytes, dt) };

	return rate;
}

/* ---- services and backends ------------------------------------------------------------------------- */

static void read_backends(struct service *service)
{
	uint16_t index[COUNTS_MAX];
	struct weir_count count[COUNTS_MAX];

	for (size_t first = 0; service->number >= 0 && first < service->n; first += COUNTS_MAX) {
		size_t n = service->n - first < COUNTS_MAX ? service->n - first : COUNTS_MAX;

		for (size_t i = 0; i < n; i++)
			index[i] = (uint16_t)service->backends[first + i]->index;
		if (dataplane_backend_counts(service->agent->dp, index, n, count) < 0)
			return;
		for (size_t i = 0; i < n; i++)
			service->backends[first + i]->count = count[i];
	}
}

static void read_services(struct agent *agent)
{
	struct service *which[COUNTS_MAX];
	struct weir_flag_count flags[COUNTS_MAX];
	struct weir_count count[COUNTS_MAX];
	uint32_t number[COUNTS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < agent->n; i++) {
		if (agent->services[i]->number >= 0) {
			which[n] = agent->services[i];
			number[n++] = (uint32_t)agent->services[i]->number;
		}
		if (!n || (n < COUNTS_MAX && i + 1 < agent->n))
			continue;
		if (dataplane_service_counts(agent->dp, number, n, count) < 0 ||
		    dataplane_flag_counts(agent->dp, number, n, flags) < 0)
			return;
		for (size_t k = 0; k < n; k++) {
			which[k]->seen.count = count[k];
			which[k]->seen.flags = flags[k];
		}
		n = 0;
	}
}

void seen_read(struct agent *agent)
{
	struct seen *s = agent->seen;
	int n;

	read_services(agent);
	for (size_t i = 0; i < agent->n; i++)
		read_backends(agent->services[i]);
	dataplane_reasons(agent->dp, s->reason);
	n = dataplane_cpu_counts(agent->dp, s->cpu, SEEN_CPUS_MAX);
	s->ncpus = n > 0 ? (size_t)n : 0;
	dataplane_sample_counts(agent->dp, s->samples);
}

static void service_rates(struct service *service, double dt)
{
	struct service_seen *s = &service->seen, *was = &service->was;

	if (was->there) {
		s->rate = rate_of(&s->count, &was->count, dt);
		s->syn = grew(s->flags.syn, was->flags.syn, dt);
		s->fin = grew(s->flags.fin, was->flags.fin, dt);
		s->rst = grew(s->flags.rst, was->flags.rst, dt);
	}
	*was = *s;
	was->there = true;
	for (size_t i = 0; i < service->n; i++) {
		struct backend *b = service->backends[i];

		if (b->was_index == b->index && b->index)
			b->rate = rate_of(&b->count, &b->was, dt);
		else
			b->rate = (struct seen_rate){ 0 };
		b->was = b->count;
		b->was_index = b->index;
	}
}

void seen_tick(struct agent *agent, double dt)
{
	struct seen *s = agent->seen;

	seen_read(agent);
	for (int r = 0; s->before && r < WEIR_REASON_COUNT; r++)
		s->reason_rate[r] = rate_of(&s->reason[r], &s->was[r], dt);
	memcpy(s->was, s->reason, sizeof(s->was));
	s->before = true;
	for (size_t i = 0; i < agent->n; i++)
		service_rates(agent->services[i], dt);
}

int seen_new(struct agent *agent)
{
	agent->seen = calloc(1, sizeof(*agent->seen));
	return agent->seen ? 0 : -ENOMEM;
}

void seen_free(struct agent *agent)
{
	free(agent->seen);
	agent->seen = NULL;
}

/* ---- for people ------------------------------------------------------------------------------------ */

static json_t *rate_json(const struct seen_rate *rate)
{
	return json_pack("{sf sf}", "packets", rate->packets, "bits", rate->bits);
}

void seen_service_json(const struct service *service, json_t *out)
{
	const struct service_seen *s = &service->seen;
	json_t *rates = rate_json(&s->rate);

	json_object_set_new(rates, "syn", json_real(s->syn));
	json_object_set_new(rates, "fin", json_real(s->fin));
	json_object_set_new(rates, "rst", json_real(s->rst));
	json_object_set_new(out, "packets", json_integer((json_int_t)s->count.packets));
	json_object_set_new(out, "bytes", json_integer((json_int_t)s->count.bytes));
	json_object_set_new(out, "syn", json_integer((json_int_t)s->flags.syn));
	json_object_set_new(out, "fin", json_integer((json_int_t)s->flags.fin));
	json_object_set_new(out, "rst", json_integer((json_int_t)s->flags.rst));
	json_object_set_new(out, "rates", rates);
}

json_t *seen_backend_json(const struct backend *b)
{
	return rate_json(&b->rate);
}

void seen_json(const struct agent *agent, json_t *answer)
{
	const struct seen *s = agent->seen;
	json_t *counters = json_object(), *rates = json_object(), *cpus = json_array();

	for (int r = 0; r < WEIR_REASON_COUNT; r++) {
		const char *name = dataplane_reason_name((enum weir_reason)r);

		json_object_set_new(counters, name, json_integer((json_int_t)s->reason[r].packets));
		if (s->reason_rate[r].packets > 0)
			json_object_set_new(rates, name, rate_json(&s->reason_rate[r]));
	}
	for (size_t i = 0; i < s->ncpus; i++)
		json_array_append_new(cpus, json_pack("{sI sI sI}", "sent", (json_int_t)s->cpu[i].sent, "passed",
						      (json_int_t)s->cpu[i].passed, "dropped",
						      (json_int_t)s->cpu[i].dropped));
	json_object_set_new(answer, "counters", counters);
	json_object_set_new(answer, "rates", rates);
	json_object_set_new(answer, "cpus", cpus);
	json_object_set_new(answer, "trace",
			    json_pack("{sI sI sI}", "running", (json_int_t)trace_running(agent->trace), "samples",
				      (json_int_t)s->samples[WEIR_SAMPLES_TAKEN], "lost",
				      (json_int_t)s->samples[WEIR_SAMPLES_LOST]));
}

/* ---- metrics --------------------------------------------------------------------------------------- */

static void add(struct metric **to, struct metrics *m, enum metric_type type, const char *name, const char *help,
		const char *labels, bool *fine)
{
	*to = metric_add(m, type, name, help, labels);
	*fine &= *to != NULL;
}

int seen_metrics_new(struct seen_metrics *a, struct metrics *m)
{
	bool fine = true;

	add(&a->backend_packets, m, METRIC_COUNTER, "backend_packets_total", "Packets sent to the backend",
	    "service,backend", &fine);
	add(&a->backend_bytes, m, METRIC_COUNTER, "backend_bytes_total",
	    "Bytes of frames as received, of packets sent to the backend", "service,backend", &fine);
	add(&a->service_packets, m, METRIC_COUNTER, "service_packets_total",
	    "Packets for the service, whatever became of them", "service", &fine);
	add(&a->service_bytes, m, METRIC_COUNTER, "service_bytes_total",
	    "Bytes of frames as received, of packets for the service", "service", &fine);
	add(&a->service_flags, m, METRIC_COUNTER, "service_tcp_flags_total",
	    "Packets for the service with SYN (and no ACK), FIN or RST", "service,flag", &fine);
	add(&a->reasons, m, METRIC_COUNTER, "edge_packets_total", "Packets by what became of them", "reason,fate",
	    &fine);
	add(&a->reason_bytes, m, METRIC_COUNTER, "edge_frame_bytes_total",
	    "Bytes of frames as received, by what became of them", "reason,fate", &fine);
	add(&a->cpus, m, METRIC_COUNTER, "edge_cpu_packets_total", "Packets by CPU and by what became of them",
	    "cpu,fate", &fine);
	add(&a->traces, m, METRIC_GAUGE, "trace_running", "Traces that run now", NULL, &fine);
	add(&a->samples, m, METRIC_COUNTER, "trace_packets_total", "Packets copied for traces", NULL, &fine);
	add(&a->lost, m, METRIC_COUNTER, "trace_lost_total",
	    "Packets that passed a trace's filter and found no room in the ring", NULL, &fine);
	return fine ? 0 : -ENOMEM;
}

static void set2(struct metric *metric, const char *a, const char *b, uint64_t value)
{
	metric_set(metric_series(metric, a, b, NULL), (double)value);
}

static void update_service(const struct seen_metrics *a, const struct service *service)
{
	const struct service_seen *s = &service->seen;
	const char *name = service->name;

	metric_set(metric_series(a->service_packets, name, NULL), (double)s->count.packets);
	metric_set(metric_series(a->service_bytes, name, NULL), (double)s->count.bytes);
	set2(a->service_flags, name, "syn", s->flags.syn);
	set2(a->service_flags, name, "fin", s->flags.fin);
	set2(a->service_flags, name, "rst", s->flags.rst);
	for (size_t i = 0; i < service->n; i++) {
		set2(a->backend_packets, name, service->backends[i]->name, service->backends[i]->count.packets);
		set2(a->backend_bytes, name, service->backends[i]->name, service->backends[i]->count.bytes);
	}
}

void seen_metrics_update(const struct seen_metrics *a, const struct agent *agent)
{
	const struct seen *s = agent->seen;
	char cpu[24];

	for (size_t i = 0; i < agent->n; i++)
		update_service(a, agent->services[i]);
	for (int r = 0; r < WEIR_REASON_COUNT; r++) {
		const char *name = dataplane_reason_name((enum weir_reason)r);
		const char *fate = dataplane_reason_fate((enum weir_reason)r);

		set2(a->reasons, name, fate, s->reason[r].packets);
		set2(a->reason_bytes, name, fate, s->reason[r].bytes);
	}
	for (size_t i = 0; i < s->ncpus; i++) {
		snprintf(cpu, sizeof(cpu), "%zu", i);
		set2(a->cpus, cpu, "sent", s->cpu[i].sent);
		set2(a->cpus, cpu, "passed", s->cpu[i].passed);
		set2(a->cpus, cpu, "dropped", s->cpu[i].dropped);
	}
	metric_set(metric_series(a->traces, NULL), (double)trace_running(agent->trace));
	metric_set(metric_series(a->samples, NULL), (double)s->samples[WEIR_SAMPLES_TAKEN]);
	metric_set(metric_series(a->lost, NULL), (double)s->samples[WEIR_SAMPLES_LOST]);
}
