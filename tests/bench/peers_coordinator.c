/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers_coordinator.c -- what the owner's half costs: so many viewers of one asset, who announce with five offers of 1 KB,
 * answer, and report, while it ticks four times a second on a thread of its own. No sockets: what WebSockets add is
 * measured elsewhere. Prints one line of JSON.
 *   peers_coordinator [viewers [announces per second [seconds]]]
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "http/peers/coordinator.h"
#include "http/peers/media.h"

#define SEGMENTS  1500
#define ANSWERS	  65536 /* waiting */
#define SDP_BYTES 1000

struct waiting {
	unsigned int viewer;
	char to[21], offer[21];
};

static struct media_segment segments[SEGMENTS];
static const struct media_rendition rendition = { .name = "r", .bandwidth = 2000000, .nsegments = SEGMENTS, .segments = segments };
static const struct media_asset asset = { .name = "films/one", .duration_ms = SEGMENTS * 4000, .nrenditions = 1, .renditions = &rendition };
static struct coordinator *c;
static struct waiting waiting[ANSWERS];
static atomic_uint head, tail;
static atomic_ulong said, said_bytes;
static atomic_bool stop;
static pthread_mutex_t noting = PTHREAD_MUTEX_INITIALIZER;
static char sdp[SDP_BYTES + 1];

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int64_t unix_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static const struct media_asset *media(void *arg, const char *name)
{
	(void)arg;
	(void)name;
	return &asset;
}

/* Offers are noted, to be answered by the main thread. */
static void down(void *arg, const char *home, enum peers_down kind, const char *viewer, const char *text)
{
	const char *id, *peer;
	struct waiting *w;

	(void)arg;
	(void)home;
	said++;
	said_bytes += strlen(text);
	if (kind != DOWN_TRACK || !strstr(text, "\"offer\":"))
		return;
	id = strstr(text, "\"offer_id\":\"");
	peer = strstr(text, "\"peer_id\":\"");
	pthread_mutex_lock(&noting);
	if (!id || !peer || head - tail >= ANSWERS) {
		pthread_mutex_unlock(&noting);
		return;
	}
	w = &waiting[head % ANSWERS];
	w->viewer = (unsigned int)strtoul(viewer, NULL, 16);
	memcpy(w->offer, id + 12, 20);
	memcpy(w->to, peer + 11, 20);
	w->offer[20] = w->to[20] = '\0';
	head++;
	pthread_mutex_unlock(&noting);
}

static void *ticks(void *arg)
{
	double *longest = arg;

	while (!stop) {
		double t0 = now_s();

		coordinator_tick(c, unix_ms());
		if (now_s() - t0 > *longest)
			*longest = now_s() - t0;
		usleep(250000);
	}
	return NULL;
}

static void up(enum peers_up kind, unsigned int viewer, const char *text)
{
	char id[17];

	snprintf(id, sizeof(id), "%016x", viewer);
	coordinator_up(c, unix_ms(), kind, "g1", id, "films/one", text);
}

static void announce(unsigned int viewer)
{
	static char text[5 * (SDP_BYTES + 200) + 300];
	static unsigned int offers;
	char *p = text;

	p += sprintf(p, "{\"numwant\":5,\"uploaded\":0,\"downloaded\":0,\"action\":\"announce\",\"info_hash\":\"swarm-of-rendition-0\","
			"\"peer_id\":\"-PM0203-%012u\",\"offers\":[", viewer);
	for (int i = 0; i < 5; i++)
		p += sprintf(p, "%s{\"offer\":{\"type\":\"offer\",\"sdp\":\"%s\"},\"offer_id\":\"%020u\"}", i ? "," : "", sdp, offers++);
	sprintf(p, "]}");
	up(UP_TRACK, viewer, text);
}

static void answer_all(void)
{
	static char text[SDP_BYTES + 400];

	while (tail != head) {
		const struct waiting *w = &waiting[tail % ANSWERS];

		snprintf(text, sizeof(text),
			 "{\"action\":\"announce\",\"info_hash\":\"swarm-of-rendition-0\",\"peer_id\":\"-PM0203-%012u\",\"to_peer_id\":\"%s\","
			 "\"offer_id\":\"%s\",\"answer\":{\"type\":\"answer\",\"sdp\":\"%s\"}}", w->viewer, w->to, w->offer, sdp);
		up(UP_TRACK, w->viewer, text);
		tail++;
	}
}

static void report(unsigned int viewer, double seconds)
{
	unsigned int n = (unsigned int)seconds / 4 + viewer % 64;
	char text[256];

	snprintf(text, sizeof(text), "{\"r\":0,\"n\":%u,\"pos\":%u,\"buffer\":20000,\"have\":[[0,%u,%u]],\"down_server\":%.0f,\"stalls\":0}", n,
		 n * 4, n > 5 ? n - 5 : 0, n + 5, 100000 * seconds);
	up(UP_REPORT, viewer, text);
}

static int by_value(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return a < b ? -1 : a > b;
}

static double cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fill(unsigned int n)
{
	char facts[128];

	for (unsigned int i = 0; i < n; i++) {
		snprintf(facts, sizeof(facts), "{\"prefix\":%u,\"as\":%u,\"consent\":%s}", i / 8, i / 500, i % 4 ? "true" : "false");
		up(UP_JOIN, i, facts);
		report(i, 0);
		announce(i);
		answer_all();
	}
}

int main(int argc, char **argv)
{
	unsigned int n = argc > 1 ? (unsigned int)atoi(argv[1]) : 18000, rate = argc > 2 ? (unsigned int)atoi(argv[2]) : 2000;
	unsigned int seconds = argc > 3 ? (unsigned int)atoi(argv[3]) : 10, done = 0, total = rate * seconds;
	struct coordinator_options opt = { .media = media, .down = down, .viewers_max = 200000, .offers_bytes = 64 << 20, .report_ms = 2000 };
	double *took = malloc((total + 1) * sizeof(*took)), t0, longest = 0, cpu, joined, reports = 0;
	struct coordinator_counts counts;
	pthread_t ticker;

	memset(sdp, 's', SDP_BYTES);
	for (uint32_t i = 0; i < SEGMENTS; i++)
		segments[i] = (struct media_segment){ .n = i, .duration_ms = 4000, .bytes = 1000000 };
	if (!took || coordinator_new(&c, &opt))
		return 1;
	t0 = now_s();
	pthread_create(&ticker, NULL, ticks, &longest);
	fill(n);
	joined = now_s() - t0;
	sleep(3); /* the ticks after the last join */
	longest = 0;
	cpu = cpu_s();
	t0 = now_s();
	while (done < total) {
		double t = now_s();
		unsigned int due = (unsigned int)((t - t0) * rate);

		for (; done < due && done < total; done++) {
			/* from when it was due, so that waiting counts too */
			announce((unsigned int)((uint64_t)done * 7919 % n));
			took[done] = now_s() - (t0 + (double)done / rate);
			answer_all();
		}
		for (double want = (now_s() - t0) * (n / 6.0 < 3000 ? n / 6.0 : 3000); reports < want; reports++)
			report((unsigned int)fmod(reports, n), now_s() - t0 + 1);
		usleep(200);
	}
	cpu = cpu_s() - cpu;
	stop = true;
	pthread_join(ticker, NULL);
	qsort(took, total, sizeof(*took), by_value);
	coordinator_counts(c, &counts);
	printf("{\"viewers\":%u,\"announces_per_s\":%u,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f,\"cpu_share\":%.2f,\"tick_max_ms\":%.1f,"
	       "\"regroup_ms\":%.2f,\"join_all_s\":%.1f,\"relayed\":%lu,\"answers\":%lu,\"dropped\":%lu,\"reports\":%.0f,\"refused\":%lu,"
	       "\"instructions\":%lu,\"groupings\":%lu,\"first\":%lu,\"second\":%lu}\n",
	       n, rate, took[total / 2] * 1000, took[total * 99 / 100] * 1000, took[total - 1] * 1000, cpu / seconds, longest * 1000,
	       counts.regroup_s * 1000, joined, counts.relayed, counts.answers, counts.dropped, reports, counts.refused_reports,
	       counts.instructions, counts.groupings, counts.first, counts.second);
	coordinator_free(c);
	free(took);
	return 0;
}
