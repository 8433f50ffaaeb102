/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers_instruct.c -- how many instructions a gateway says in a second of one core, when all viewers of an asset are told
 * something at once: written by the coordinator (instruct.c), signed with the session's key, made an event of the stream,
 * kept by the viewer's home (home.c), and sent over a socket as one chunk by one system call. Prints one line of JSON. The
 * simulator's SEND_RATE (sim_weir.c) is from here.
 *   peers_instruct [viewers [rounds]]
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http/peers/coordinator.h"
#include "http/peers/home.h"
#include "http/peers/media.h"
#include "lib/httpd.h"

#define SEGMENTS 1500
#define ASSET	 "films/one"

static struct media_segment segments[SEGMENTS];
static const struct media_rendition rendition = { .name = "r", .bandwidth = 2000000, .nsegments = SEGMENTS, .segments = segments };
static const struct media_asset asset = { .name = ASSET, .duration_ms = SEGMENTS * 4000, .nrenditions = 1, .renditions = &rendition };
static struct peers_secret secret = { { 1 } };
static struct coordinator *c;
static struct home *home;
static int sockets[2];
static unsigned long said, said_bytes;

static double cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const struct media_asset *media(void *arg, const char *name)
{
	(void)arg;
	(void)name;
	return &asset;
}

/* As the HTTP server writes a chunk of an answer without an end: its length and it, in one call. */
static void push(struct home_stream *s, const char *text, size_t len)
{
	char chunk[16384];
	int n = snprintf(chunk, sizeof(chunk), "%zx\r\n", len);

	(void)s;
	if ((size_t)n + len + 2 > sizeof(chunk))
		return;
	memcpy(chunk + n, text, len);
	memcpy(chunk + n + len, "\r\n", 2);
	if (send(sockets[0], chunk, (size_t)n + len + 2, 0) < 0)
		perror("peers_instruct: send");
}

static void end(struct home_stream *s)
{
	(void)s;
}

/* peers.c, instruct() */
static void down(void *arg, const char *node, enum peers_down kind, const char *viewer, const char *text)
{
	char mac[45], *data, *event;
	long long epoch = 0;
	size_t len;
	json_t *o;

	(void)arg;
	(void)node;
	if (kind != DOWN_INSTRUCT || sscanf(text, "{\"v\":1,\"seq\":%*u,\"epoch\":%lld", &epoch) != 1)
		return;
	session_mac(mac, &secret, viewer, text);
	o = json_pack("{s:s, s:s}", "p", text, "m", mac);
	data = o ? json_dumps(o, JSON_COMPACT) : NULL;
	event = data ? http_event_format("instruction", data, &len) : NULL;
	if (event) {
		home_instruct(home, viewer, epoch, event, len);
		said++;
		said_bytes += len;
	}
	free(event);
	free(data);
	json_decref(o);
}

static void up(void *arg, enum peers_up kind, const char *viewer, const char *name, const char *text)
{
	(void)arg;
	coordinator_up(c, 1000, kind, "g1", viewer, name, text);
}

static void *drain(void *arg)
{
	static char buf[1 << 20];

	while (read(sockets[1], buf, sizeof(buf)) > 0)
		;
	return arg;
}

/* It joins by its event stream, says what it has, and announces itself. */
static void come(struct home_stream *s, unsigned int i)
{
	char client[64], facts[96], text[400];
	struct viewer_token t = { .asset = ASSET, .expires = INT64_MAX };
	struct home_guest g = { .token = &t, .client = client, .facts = facts, .now_ms = 1000 };

	snprintf(t.viewer, sizeof(t.viewer), "%016x", i);
	snprintf(client, sizeof(client), "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
	snprintf(facts, sizeof(facts), "{\"prefix\":%u,\"as\":%u,\"consent\":%s}", i / 8, i / 500, i % 4 ? "true" : "false");
	*s = (struct home_stream){ .push = push, .end = end };
	if (home_stream_add(home, &g, s)) {
		fprintf(stderr, "peers_instruct: viewer %u is not let in\n", i);
		exit(1);
	}
	snprintf(text, sizeof(text), "{\"r\":0,\"n\":%u,\"pos\":%u,\"buffer\":20000,\"have\":[[0,0,%u]],\"down_server\":100000,\"stalls\":0}",
		 i % 64, i % 64 * 4, i % 64 + 5);
	up(NULL, UP_REPORT, t.viewer, ASSET, text);
	snprintf(text, sizeof(text), "{\"numwant\":0,\"uploaded\":0,\"downloaded\":0,\"action\":\"announce\",\"info_hash\":"
		 "\"swarm-of-rendition-0\",\"peer_id\":\"-PM0203-%012u\"}", i);
	up(NULL, UP_TRACK, t.viewer, ASSET, text);
}

int main(int argc, char **argv)
{
	unsigned int n = argc > 1 ? (unsigned int)atoi(argv[1]) : 5000, rounds = argc > 2 ? (unsigned int)atoi(argv[2]) : 5;
	struct coordinator_options opt = { .media = media, .down = down, .viewers_max = 200000, .report_ms = 2000 };
	struct home_stream *streams = calloc(n ? n : 1, sizeof(*streams));
	struct home_options home_opt = { .up = up };
	double spent = 0, least = 1e9;
	pthread_t reader;
	int64_t now = 1000;

	for (uint32_t i = 0; i < SEGMENTS; i++)
		segments[i] = (struct media_segment){ .n = i, .duration_ms = 4000, .bytes = 1000000 };
	if (!streams || coordinator_new(&c, &opt) || home_new(&home, &home_opt) || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) ||
	    pthread_create(&reader, NULL, drain, NULL))
		return 1;
	home_limits(home, n, n);
	for (unsigned int i = 0; i < n; i++)
		come(&streams[i], i);
	for (int k = 0; k < 20; k++)
		coordinator_tick(c, now += 250);
	said = said_bytes = 0;
	for (unsigned int k = 0; k < rounds; k++) {
		unsigned long before;
		double t0;

		coordinator_switch(c, ASSET, SENSE_OFF);
		coordinator_tick(c, now += 10);
		before = said;
		coordinator_switch(c, ASSET, SENSE_ON);
		t0 = cpu_s();
		coordinator_tick(c, now += 10);
		t0 = (cpu_s() - t0) / (double)(said - before ? said - before : 1);
		spent += t0;
		least = t0 < least ? t0 : least;
	}
	printf("{\"viewers\":%u,\"us_each\":%.1f,\"us_least\":%.1f,\"per_s\":%.0f,\"bytes\":%.0f}\n", n, spent / rounds * 1e6, least * 1e6,
	       rounds / spent, (double)said_bytes / (double)(said ? said : 1));
	shutdown(sockets[0], SHUT_WR);
	pthread_join(reader, NULL);
	for (unsigned int i = 0; i < n; i++)
		home_stream_remove(home, &streams[i]);
	home_free(home);
	coordinator_free(c);
	free(streams);
	return 0;
}
