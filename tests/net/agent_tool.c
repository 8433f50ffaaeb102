/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent_tool.c -- both ends of the agent's network tests.
 *
 *   agent_tool serve ADDR:PORT...              a backend: /_/health with its real load, /work burns 2 ms of CPU
 *   agent_tool load ADDR:PORT PER_SECOND SECONDS   that many connections a second, GET /work each
 *   agent_tool pass INTERFACE...               attaches an XDP program that passes everything
 *   agent_tool hold ADDR:PORT N FILE           N connections, a GET /small on each every 100 ms, until FILE is gone
 *   agent_tool slots PINNED N                  the first N slots as JSON: [[current, previous, owner, ...], ...]
 *   agent_tool backends PINNED N               the ids of the first N backends as JSON: ["id", ...]
 *
 * load and hold print "ok N failed N". A request that took over 3 s has failed.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bpf/abi/maps.h"
#include "lib/addr.h"
#include "lib/inside.h"
#include "lib/log.h"

#define SOCKETS_MAX 4096
#define PATIENCE_MS 3000

static int64_t now_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* ---- serve --------------------------------------------------------------------------------------- */

static struct load *load;

static enum http_next health(struct http_req *req, void *arg)
{
	(void)arg;
	return inside_health_begin(req, load);
}

static enum http_next small(struct http_req *req, void *arg)
{
	(void)arg;
	return http_reply(req, 200, "text/plain", "ok\n", 3);
}

static void burn(struct http_req *req, void *arg)
{
	int64_t end = now_us(CLOCK_THREAD_CPUTIME_ID) + 2000;

	(void)arg;
	while (now_us(CLOCK_THREAD_CPUTIME_ID) < end)
		;
	http_reply(req, 200, "text/plain", "ok\n", 3);
}

static enum http_next work(struct http_req *req, void *arg)
{
	int64_t *begun = malloc(sizeof(*begun));

	(void)arg;
	load_begin(load);
	if (begun)
		*begun = now_us(CLOCK_MONOTONIC);
	http_set_state(req, begun);
	return http_work(req, burn, NULL);
}

static void work_done(struct http_req *req, void *arg)
{
	int64_t *begun = http_state(req);

	(void)arg;
	load_end(load, begun ? (uint64_t)(now_us(CLOCK_MONOTONIC) - *begun) : 0, false);
	free(begun);
}

static int serve(char **addresses, int n)
{
	static const struct http_route routes[] = {
		{ .methods = 1u << HTTP_GET, .path = "/_/health", .begin = health },
		{ .methods = 1u << HTTP_GET, .path = "/small", .begin = small },
		{ .methods = 1u << HTTP_GET, .path = "/work", .begin = work, .done = work_done },
		{ .path = NULL },
	};
	const struct httpd_options options = { .name = "backend", .threads = 1, .workers = 2 };
	struct addr_port at;
	struct httpd *server;
	int fds[8];

	for (int i = 0; i < n; i++) {
		if (i == 8 || addr_port_parse(&at, addresses[i]) < 0)
			return 2;
		fds[i] = addr_bind(&at, SOCK_STREAM, 1024, false, 0);
		if (fds[i] < 0) {
			fprintf(stderr, "%s: %s\n", addresses[i], strerror(-fds[i]));
			return 1;
		}
	}
	if (load_new(&load) < 0 || httpd_start(&server, &options, fds, (size_t)n, routes, NULL) < 0)
		return 1;
	for (;;)
		pause();
}

/* ---- the client's side ------------------------------------------------------------------------------ */

struct request {
	int fd;                 /* -1: free */
	bool sent;
	int64_t begun_us;
	size_t got;
	char answer[1024];
};

static struct request requests[SOCKETS_MAX];
static struct addr_port target;
static unsigned long ok, failed;

static bool dial(struct request *r)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_port_sockaddr(&target, &ss);

	r->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	r->sent = false;
	r->got = 0;
	r->begun_us = now_us(CLOCK_MONOTONIC);
	return r->fd >= 0 && (connect(r->fd, (struct sockaddr *)&ss, len) == 0 || errno == EINPROGRESS);
}

static void hang_up(struct request *r, bool good)
{
	if (good)
		ok++;
	else
		failed++;
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}

/* One readiness: sends the request, or reads. 1: a whole answer, 0: later, -1: broken. */
static int advance(struct request *r, const char *path)
{
	char text[128];
	ssize_t len;

	if (!r->sent) {
		len = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", path);
		r->sent = true;
		r->got = 0;
		return send(r->fd, text, (size_t)len, MSG_NOSIGNAL) == len ? 0 : -1;
	}
	len = recv(r->fd, r->answer + r->got, sizeof(r->answer) - 1 - r->got, 0);
	if (len < 0)
		return errno == EAGAIN ? 0 : -1;
	r->got += (size_t)len;
	r->answer[r->got] = '\0';
	if (strstr(r->answer, "\r\n\r\nok\n"))
		return strncmp(r->answer, "HTTP/1.1 200", 12) == 0 ? 1 : -1;
	return len == 0 ? -1 : 0;
}

/* Waits at most wait_ms and advances what is ready. again: keep the connection after an answer. */
static void turn(const char *path, int wait_ms, bool again)
{
	static struct pollfd polls[SOCKETS_MAX];
	static struct request *of[SOCKETS_MAX];
	nfds_t n = 0;
	int64_t late;

	for (int i = 0; i < SOCKETS_MAX; i++) {
		if (requests[i].fd < 0 || requests[i].begun_us == 0)
			continue;
		of[n] = &requests[i];
		polls[n++] = (struct pollfd){ requests[i].fd, requests[i].sent ? POLLIN : POLLOUT, 0 };
	}
	poll(polls, n, wait_ms);
	late = now_us(CLOCK_MONOTONIC) - PATIENCE_MS * 1000;
	for (nfds_t i = 0; i < n; i++) {
		int rc = polls[i].revents ? advance(of[i], path) : 0;

		if (rc == 1 && again) {
			ok++;
			of[i]->begun_us = 0;    /* idle */
			of[i]->sent = false;
		} else if (rc) {
			hang_up(of[i], rc == 1);
		} else if (of[i]->begun_us < late) {
			hang_up(of[i], false);
		}
	}
}

static void send_load(double per_second, double seconds)
{
	int64_t begun = now_us(CLOCK_MONOTONIC);
	double total = per_second * seconds, started = 0;
	bool busy = true;

	while (started < total || busy) {
		double due = per_second * (double)(now_us(CLOCK_MONOTONIC) - begun) / 1e6;

		busy = false;
		for (int i = 0; i < SOCKETS_MAX; i++) {
			if (requests[i].fd < 0 && started < total && started < due) {
				started++;
				if (!dial(&requests[i]))
					hang_up(&requests[i], false);
			}
			busy |= requests[i].fd >= 0;
		}
		turn("/work", 2, false);
	}
}

static void hold(int n, const char *file)
{
	int64_t next = 0;

	for (int i = 0; i < n && i < SOCKETS_MAX; i++)
		if (!dial(&requests[i]))
			hang_up(&requests[i], false);
	while (access(file, F_OK) == 0) {
		int64_t now = now_us(CLOCK_MONOTONIC);

		for (int i = 0; now >= next && i < n; i++)
			if (requests[i].fd >= 0 && requests[i].begun_us == 0)
				requests[i].begun_us = now;
		if (now >= next)
			next = now + 100000;
		turn("/small", 10, true);
	}
}

/* What the XDP program of one end of a veth pair sends back (XDP_TX) waits in the other end's ring until
 * something else wakes that end, unless it has an XDP program too (drivers/net/veth.c,
 * veth_xdp_flush). The other end of each node's link gets one. */
static int pass(char **names, int n)
{
	static const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "GPL", insns, 2, NULL);

	for (int i = 0; i < n; i++) {
		int err = fd < 0 ? fd : bpf_xdp_attach((int)if_nametoindex(names[i]), fd,
						       XDP_FLAGS_DRV_MODE, NULL);

		if (err < 0) {
			fprintf(stderr, "%s: %s\n", names[i], strerror(-err));
			return 1;
		}
	}
	return 0;
}

/* What bpftool could tell, too, but of the half a million slots of a map, which takes it seconds. */
static int print_map(const char *folder, const char *name, unsigned int n)
{
	union {
		struct weir_slot slot;
		struct weir_backend backend;
	} value;
	bool slots = strcmp(name, "slots") == 0;
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = bpf_obj_get(path);
	if (fd < 0) {
		fprintf(stderr, "agent_tool: %s: %s\n", path, strerror(-fd));
		return 1;
	}
	for (uint32_t i = 0; i < n; i++) {
		if (bpf_map_lookup_elem(fd, &i, &value) < 0) {
			fprintf(stderr, "agent_tool: %s has no entry %u\n", path, i);
			return 1;
		}
		putchar(i ? ',' : '[');
		if (!slots) {
			printf("\"%llu\"", (unsigned long long)value.backend.id);
			continue;
		}
		printf("[%u,%u", value.slot.current, value.slot.previous);
		for (int o = 0; o < WEIR_OWNERS; o++)
			printf(",%u", value.slot.owners[o]);
		putchar(']');
	}
	puts("]");
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	log_open("agent_tool", LOG_LEVEL_WARN);
	for (int i = 0; i < SOCKETS_MAX; i++)
		requests[i].fd = -1;
	if (argc >= 3 && strcmp(argv[1], "serve") == 0)
		return serve(argv + 2, argc - 2);
	if (argc >= 3 && strcmp(argv[1], "pass") == 0)
		return pass(argv + 2, argc - 2);
	if (argc == 4 && (strcmp(argv[1], "slots") == 0 || strcmp(argv[1], "backends") == 0))
		return print_map(argv[2], argv[1], (unsigned int)atoi(argv[3]));
	if (argc != 5 || addr_port_parse(&target, argv[2]) < 0) {
		fprintf(stderr, "usage: agent_tool serve ADDR:PORT... | load ADDR:PORT RATE SECONDS | "
				"pass INTERFACE... | "
				"hold ADDR:PORT N FILE | slots PINNED N | backends PINNED N\n");
		return 2;
	}
	if (strcmp(argv[1], "load") == 0)
		send_load(atof(argv[3]), atof(argv[4]));
	else
		hold(atoi(argv[3]), argv[4]);
	printf("ok %lu failed %lu\n", ok, failed);
	return 0;
}
