/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws_load.c -- many WebSocket clients that announce as WebTorrent's do: opens N connections from several processes,
 * keeps them, announces R times a second in all (an open loop: the time of an announce begins when it is due, however
 * busy we are), and prints one JSON object: times to the answer, and RssAnon of the server at each stage.
 *
 *	ws_load [OPTION=VALUE]... ADDRESS:PORT
 *	connections=1000 processes=4 sources=1 (addresses 127.0.0.2 on, for more ports) rate=0 seconds=10 offers=5
 *	sdp=1000 (bytes of an offer) swarms=10 path=/ (one %u: the connection's number) paths=FILE (a line each, in place
 *	of path) answer="interval" (text that marks the answer of an announce) pid=N (whose memory) settle=3 (seconds
 *	before memory is read) once=0 (1: every connection announces once before the clock starts) answers=0 (1: offers
 *	are answered, as browsers do, with as long a text)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES_MAX 64
#define OPENING_MAX   64 /* handshakes of a process at once */
#define BUF	      (256 << 10)

static struct {
	unsigned long connections, processes, sources, rate, seconds, offers, sdp, swarms, pid, settle, once, answers;
	const char *path, *paths, *answer;
	struct sockaddr_in to;
	char *host;
} opt = { 1000, 4, 1, 0, 10, 5, 1000, 10, 0, 3, 0, 0, "/", NULL, "\"interval\"", { 0 }, NULL };

/* What the processes tell each other. */
struct shared {
	_Atomic unsigned int opened, refused, lost, first_done, sent, late, answers, others, answered, tally;
	_Atomic int stage; /* 0: open, 1: announce once, 2: announce, 3: end */
	_Atomic int64_t begin_us;
	_Atomic int last_status, last_close;
	uint32_t times_us[]; /* of answers */
};
static struct shared *shared;
static size_t times_max;

enum state { NEW, CONNECTING, SHAKING, OPEN, GONE };
struct client {
	int fd;
	enum state state;
	unsigned int number;
	bool started;
	int64_t due_us; /* of the announce that awaits its answer; 0: none */
	char *in, *out;
	size_t in_len, out_len;
};
static struct client *clients;
static size_t nclients, next_open, opening, next_announce;
static int ep;
static char buf[BUF + 1], *message, **lines;
static size_t nlines;

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void die(const char *what)
{
	fprintf(stderr, "ws_load: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- a client's bytes ------------------------------------------------------------------------ */

static void watch(struct client *c, uint32_t events, int op)
{
	struct epoll_event ev = { .events = events, .data.ptr = c };

	if (epoll_ctl(ep, op, c->fd, &ev))
		die("epoll_ctl");
}

static void gone(struct client *c)
{
	if (c->state == CONNECTING || c->state == SHAKING) {
		opening--;
		shared->refused++;
	} else if (shared->stage < 3) {
		shared->lost++;
	}
	c->state = GONE;
	close(c->fd);
	free(c->in);
	free(c->out);
	c->in = c->out = NULL;
}

static void push(struct client *c, const char *data, size_t len)
{
	ssize_t n = c->out_len ? 0 : send(c->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN)
		return; /* its end comes as an event */
	if (n < 0)
		n = 0;
	if ((size_t)n == len)
		return;
	c->out = realloc(c->out, c->out_len + len - (size_t)n);
	memcpy(c->out + c->out_len, data + n, len - (size_t)n);
	if (!c->out_len)
		watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
	c->out_len += len - (size_t)n;
}

static void flush(struct client *c)
{
	ssize_t n = send(c->fd, c->out, c->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n <= 0)
		return;
	c->out_len -= (size_t)n;
	memmove(c->out, c->out + n, c->out_len);
	if (c->out_len)
		return;
	free(c->out);
	c->out = NULL;
	watch(c, EPOLLIN, EPOLL_CTL_MOD);
}

/* A masked frame; payload is overwritten and has 14 bytes free before it. */
static void push_frame(struct client *c, uint8_t first, char *payload, size_t len)
{
	static const uint8_t mask[4] = { 0x5a, 0xc3, 0x17, 0x88 };
	size_t ext = len <= 125 ? 0 : len <= 0xffff ? 2 : 8;
	uint8_t *head = (uint8_t *)payload - 6 - ext;

	head[0] = first;
	head[1] = 0x80 | (uint8_t)(ext == 0 ? len : ext == 2 ? 126 : 127);
	for (size_t i = 0; i < ext; i++)
		head[2 + i] = (uint8_t)((uint64_t)len >> (8 * (ext - 1 - i)));
	memcpy(head + 2 + ext, mask, 4);
	for (size_t i = 0; i < len; i++)
		payload[i] ^= (char)mask[i & 3];
	push(c, (char *)head, 6 + ext + len);
}

/* ---- announces ------------------------------------------------------------------------------- */

static const char *sdp_text(void)
{
	static char *sdp;

	if (!sdp) {
		sdp = malloc(opt.sdp + 1);
		memset(sdp, 'a', opt.sdp);
		sdp[opt.sdp] = '\0';
	}
	return sdp;
}

static void announce(struct client *c, int64_t due_us)
{
	static unsigned int offer;
	char *p = message + 14;

	p += sprintf(p, "{\"action\":\"announce\",\"info_hash\":\"swarm%015lu\",\"peer_id\":\"-WL0001-%012u\","
			"\"numwant\":%lu,\"uploaded\":0,\"downloaded\":0,\"left\":1,%s\"offers\":[",
		     c->number % opt.swarms, c->number, opt.offers, c->started ? "" : "\"event\":\"started\",");
	for (unsigned long i = 0; i < opt.offers; i++)
		p += sprintf(p, "%s{\"offer_id\":\"%08x%012u\",\"offer\":{\"type\":\"offer\",\"sdp\":\"v=0\\r\\n%s\"}}",
			     i ? "," : "", offer++, c->number, sdp_text());
	p += sprintf(p, "]}");
	c->due_us = due_us;
	c->started = true;
	shared->sent++;
	push_frame(c, 0x81, message + 14, (size_t)(p - message - 14));
}

/* Ids are texts of 20 printable bytes here: ours. */
static bool answer(struct client *c, const char *text, size_t len)
{
	static const char offer[] = "\"offer_id\":\"", peer[] = "\"peer_id\":\"";
	const char *o = memmem(text, len, offer, sizeof(offer) - 1), *p = memmem(text, len, peer, sizeof(peer) - 1);
	int n;

	if (!opt.answers || !o || !p || !memmem(text, len, "\"offer\":", 8))
		return false;
	n = sprintf(message + 14,
		    "{\"action\":\"announce\",\"info_hash\":\"swarm%015lu\",\"peer_id\":\"-WL0001-%012u\",\"to_peer_id\":\"%.20s\","
		    "\"offer_id\":\"%.20s\",\"answer\":{\"type\":\"answer\",\"sdp\":\"v=0\\r\\n%s\"}}",
		    c->number % opt.swarms, c->number, p + sizeof(peer) - 1, o + sizeof(offer) - 1, sdp_text());
	shared->answered++;
	push_frame(c, 0x81, message + 14, (size_t)n);
	return true;
}

static void on_text(struct client *c, const char *text, size_t len)
{
	unsigned int n;

	if (answer(c, text, len))
		return;
	if (!c->due_us || !memmem(text, len, opt.answer, strlen(opt.answer))) {
		shared->others++;
		return;
	}
	if (shared->stage < 2) {
		shared->first_done++;
	} else {
		n = shared->answers++;
		if (n < times_max)
			shared->times_us[n] = (uint32_t)(now_us() - c->due_us);
	}
	c->due_us = 0;
}

/* Frames of the server, whole ones; what is used up. */
static size_t take_frames(struct client *c, char *data, size_t len)
{
	size_t at = 0;

	for (;;) {
		const uint8_t *h = (uint8_t *)data + at;
		size_t left = len - at, ext = left < 2 ? 0 : h[1] == 126 ? 2 : h[1] == 127 ? 8 : 0;
		uint64_t n = left < 2 ? 0 : h[1];
		char small[14 + 125];

		if (left < 2 + ext)
			return at;
		for (size_t i = 0; i < ext; i++)
			n = (i ? n << 8 : 0) | h[2 + i];
		if (left < 2 + ext + n)
			return at;
		if (h[0] == 0x81) {
			on_text(c, (const char *)h + 2 + ext, n);
		} else if (h[0] == 0x89 && n <= 125) {
			memcpy(small + 14, h + 2, n);
			push_frame(c, 0x8a, small + 14, n);
		} else if (h[0] == 0x88) {
			shared->last_close = n >= 2 ? h[2] << 8 | h[3] : 1005;
		}
		at += 2 + ext + n;
	}
}

static void shaken(struct client *c)
{
	int status = 0;

	sscanf(buf, "HTTP/1.1 %d", &status);
	shared->last_status = status;
	if (status != 101) {
		gone(c);
		return;
	}
	c->state = OPEN;
	opening--;
	shared->opened++;
}

static void on_readable(struct client *c)
{
	size_t len = c->in_len, used = 0;
	ssize_t n;

	if (len)
		memcpy(buf, c->in, len);
	n = recv(c->fd, buf + len, BUF - len, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		gone(c);
		return;
	}
	len += (size_t)n;
	buf[len] = '\0';
	if (c->state == SHAKING) {
		char *end = strstr(buf, "\r\n\r\n");

		if (end) {
			used = (size_t)(end + 4 - buf);
			shaken(c);
		}
	}
	if (c->state == GONE)
		return;
	if (c->state == OPEN)
		used += take_frames(c, buf + used, len - used);
	c->in_len = len - used;
	free(c->in);
	c->in = c->in_len ? memcpy(malloc(c->in_len), buf + used, c->in_len) : NULL;
}

/* ---- a process ------------------------------------------------------------------------------- */

static void open_one(struct client *c)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	int on = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	if (opt.sources > 1) {
		from.sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~0xffu) + 2 + c->number % (unsigned int)opt.sources);
		setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		if (bind(c->fd, (struct sockaddr *)&from, sizeof(from)))
			die("bind");
	}
	if (connect(c->fd, (struct sockaddr *)&opt.to, sizeof(opt.to)) && errno != EINPROGRESS)
		die("connect");
	c->state = CONNECTING;
	opening++;
	watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}

static void shake(struct client *c)
{
	char path[2048], head[4096];
	int n;

	if (nlines)
		snprintf(path, sizeof(path), "%s", lines[c->number % nlines]);
	else if (strstr(opt.path, "%u"))
		snprintf(path, sizeof(path), "%.*s%u%s", (int)(strstr(opt.path, "%u") - opt.path), opt.path, c->number,
			 strstr(opt.path, "%u") + 2);
	else
		snprintf(path, sizeof(path), "%s", opt.path);
	n = snprintf(head, sizeof(head),
		     "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
		     path, opt.host);
	c->state = SHAKING;
	watch(c, EPOLLIN, EPOLL_CTL_MOD);
	push(c, head, (size_t)n);
}

static void on_event(struct client *c, uint32_t events)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (c->state == CONNECTING) {
		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
		if (err) {
			errno = err;
			perror("ws_load: connect");
			gone(c);
		} else {
			shake(c);
		}
		return;
	}
	if (events & EPOLLOUT)
		flush(c);
	if (events & ~(uint32_t)EPOLLOUT)
		on_readable(c);
}

/* Sends what is due by now; the next one's time. */
static int64_t announce_due(int64_t due, int64_t interval)
{
	for (int64_t now = now_us(); due <= now; due += interval) {
		struct client *c = NULL;

		for (size_t tried = 0; tried < nclients && !c; tried++) {
			c = &clients[next_announce++ % nclients];
			if (c->state != OPEN || c->due_us)
				c = NULL;
		}
		if (c)
			announce(c, due);
		else
			shared->late++; /* all of ours await answers */
	}
	return due;
}

static void announce_once(void)
{
	static size_t next;

	/* so many at a time that no queue builds up */
	for (int n = 0; n < 20 && next < nclients; n++, next++)
		if (clients[next].state == OPEN)
			announce(&clients[next], now_us());
}

static void child(unsigned int which)
{
	int64_t due = 0, interval = opt.rate ? 1000000 * (int64_t)opt.processes / (int64_t)opt.rate : 0;
	struct epoll_event events[256];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	nclients = opt.connections / opt.processes + (which < opt.connections % opt.processes);
	clients = calloc(nclients, sizeof(*clients));
	message = malloc(14 + 1024 + opt.offers * (opt.sdp + 128));
	ep = epoll_create1(EPOLL_CLOEXEC);
	for (size_t i = 0; i < nclients; i++)
		clients[i].number = (unsigned int)(i * opt.processes + which);
	while (shared->stage < 3) {
		int timeout = 20, n;

		while (next_open < nclients && opening < OPENING_MAX)
			open_one(&clients[next_open++]);
		if (shared->stage == 1)
			announce_once();
		if (shared->stage == 2 && interval) {
			if (!due)
				due = shared->begin_us + interval * which / (int64_t)opt.processes;
			if (now_us() < shared->begin_us + (int64_t)opt.seconds * 1000000)
				due = announce_due(due, interval);
			timeout = 1;
		}
		n = epoll_wait(ep, events, 256, timeout);
		for (int i = 0; i < n; i++)
			on_event(events[i].data.ptr, events[i].events);
	}
	exit(0);
}

/* ---- the parent ------------------------------------------------------------------------------ */

static long rss_anon_kib(void)
{
	char path[64], line[256];
	long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%lu/status", opt.pid);
	f = opt.pid ? fopen(path, "r") : NULL;
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "RssAnon: %ld", &kib);
	if (f)
		fclose(f);
	return kib;
}

static double cpu_s(void)
{
	char path[64], line[1024];
	unsigned long user = 0, sys = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%lu/stat", opt.pid);
	f = opt.pid ? fopen(path, "r") : NULL;
	if (f && fgets(line, sizeof(line), f) && strrchr(line, ')'))
		sscanf(strrchr(line, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
	if (f)
		fclose(f);
	return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Waits until *count has reached want, or nothing moved for 10 s. */
static void wait_for(_Atomic unsigned int *count, unsigned int want)
{
	unsigned int last = 0;
	int64_t moved = now_us();

	while (*count + shared->refused + shared->lost < want && now_us() - moved < 10000000) {
		usleep(10000);
		if (*count != last) {
			last = *count;
			moved = now_us();
		}
	}
}

static double percentile_ms(size_t n, double p)
{
	return n ? shared->times_us[(size_t)((double)(n - 1) * p)] / 1000.0 : -1;
}

static void run(void)
{
	int64_t started = now_us();
	long base = rss_anon_kib(), open_kib, first_kib = -1, end_kib;
	double connect_s, cpu;
	size_t n;

	for (unsigned int i = 0; i < opt.processes; i++)
		if (fork() == 0)
			child(i);
	wait_for(&shared->opened, (unsigned int)opt.connections);
	connect_s = (double)(now_us() - started) / 1e6;
	sleep((unsigned int)opt.settle);
	open_kib = rss_anon_kib();
	if (opt.once) {
		shared->stage = 1;
		wait_for(&shared->first_done, shared->opened);
		sleep((unsigned int)opt.settle);
		first_kib = rss_anon_kib();
	}
	cpu = cpu_s();
	shared->begin_us = now_us() + 100000;
	shared->stage = 2;
	if (opt.rate)
		sleep((unsigned int)opt.seconds + 1);
	cpu = cpu_s() - cpu;
	sleep((unsigned int)opt.settle);
	end_kib = rss_anon_kib();
	n = shared->answers < times_max ? shared->answers : times_max;
	shared->stage = 3;
	while (wait(NULL) > 0)
		;
	qsort(shared->times_us, n, sizeof(uint32_t), compare);
	printf("{\"connections\": %u, \"refused\": %u, \"lost\": %u, \"last_status\": %d, \"last_close\": %d, "
	       "\"connect_s\": %.2f,\n \"first_announces\": %u, \"announces\": %u, \"answers\": %zu, \"unsent\": %u, "
	       "\"answered_offers\": %u, \"other_messages\": %u, \"rate\": %lu, \"seconds\": %lu,\n",
	       shared->opened, shared->refused, shared->lost, shared->last_status, shared->last_close, connect_s,
	       shared->first_done, shared->sent, n, shared->late, shared->answered, shared->others, opt.rate, opt.seconds);
	printf(" \"p50_ms\": %.2f, \"p95_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f, \"server_cpu_s\": %.2f,\n",
	       percentile_ms(n, .5), percentile_ms(n, .95), percentile_ms(n, .99), percentile_ms(n, 1), cpu);
	printf(" \"rss_base_kib\": %ld, \"rss_open_kib\": %ld, \"rss_first_kib\": %ld, \"rss_end_kib\": %ld, "
	       "\"kib_per_connection_open\": %.3f, \"kib_per_connection_end\": %.3f}\n",
	       base, open_kib, first_kib, end_kib, (double)(open_kib - base) / shared->opened,
	       (double)(end_kib - base) / shared->opened);
}

static bool take_number(const char *arg)
{
	static const struct {
		const char *name;
		unsigned long *value;
	} numbers[] = {
		{ "connections", &opt.connections }, { "processes", &opt.processes }, { "sources", &opt.sources },
		{ "rate", &opt.rate },		     { "seconds", &opt.seconds },     { "offers", &opt.offers },
		{ "sdp", &opt.sdp },		     { "swarms", &opt.swarms },	      { "pid", &opt.pid },
		{ "settle", &opt.settle },	     { "once", &opt.once },
		{ "answers", &opt.answers },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		size_t len = strlen(numbers[i].name);

		if (!strncmp(arg, numbers[i].name, len) && arg[len] == '=') {
			*numbers[i].value = strtoul(arg + len + 1, NULL, 10);
			return true;
		}
	}
	return false;
}

static void take_arg(char *arg)
{
	char *colon = strrchr(arg, ':');

	if (take_number(arg))
		return;
	if (!strncmp(arg, "path=", 5)) {
		opt.path = arg + 5;
	} else if (!strncmp(arg, "paths=", 6)) {
		opt.paths = arg + 6;
	} else if (!strncmp(arg, "answer=", 7)) {
		opt.answer = arg + 7;
	} else if (colon && !strchr(arg, '=')) {
		opt.host = strdup(arg);
		*colon = '\0';
		opt.to.sin_family = AF_INET;
		opt.to.sin_port = htons((uint16_t)atoi(colon + 1));
		if (inet_pton(AF_INET, arg, &opt.to.sin_addr) != 1)
			opt.host = NULL;
	} else {
		fprintf(stderr, "ws_load: unknown argument \"%s\"\n", arg);
		exit(2);
	}
}

static void read_paths(void)
{
	size_t size = 0;
	char *line = NULL;
	FILE *f = fopen(opt.paths, "r");

	if (!f)
		die(opt.paths);
	while (getline(&line, &size, f) > 0) {
		line[strcspn(line, "\r\n")] = '\0';
		lines = realloc(lines, (nlines + 1) * sizeof(*lines));
		lines[nlines++] = strdup(line);
	}
	free(line);
	fclose(f);
}

int main(int argc, char **argv)
{
	struct rlimit files = { 20000, 20000 };

	for (int i = 1; i < argc; i++)
		take_arg(argv[i]);
	if (!opt.host || !opt.processes || opt.processes > PROCESSES_MAX || !opt.swarms) {
		fprintf(stderr, "usage: ws_load [OPTION=VALUE]... IPV4-ADDRESS:PORT (options: see ws_load.c)\n");
		return 2;
	}
	if (opt.paths)
		read_paths();
	setrlimit(RLIMIT_NOFILE, &files);
	times_max = opt.rate * opt.seconds + opt.connections + 1000;
	shared = mmap(NULL, sizeof(*shared) + times_max * sizeof(uint32_t), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	run();
	return shared->opened == opt.connections ? 0 : 1;
}
