/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edge_tool.c -- what weir-agent sees of an edge, and nothing else of one: listeners handed over by
 *the agent's socket, an attach port that answers probes, a member and attachments on one lease.
 *
 *	edge_tool REGISTRY NODE ADDRESS ADDRESS6 AGENT_SOCKET
 *
 * Says "ready" when the agent took the listeners, and obeys standard input:
 *
 *	attach TUNNEL GENERATION RTT_US | drain TUNNEL GENERATION | detach TUNNEL | many N | quiet | quit
 *
 * many: makes tunnels m0 … with addresses from 198.19.16.0 and 2001:db8:7:0:1:: on, ports 80 and 443, and
 * attaches to them. quiet: the attach port is closed. MSS=0 in the environment leaves TCP's own. A connection gets "NODE ADDRESS:PORT that was dialled" for each
 *line it sends; a line "length N" is followed by N bytes that are read first.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/registry.h"
#include "lib/tunnels.h"

#define ATTACH_PORT 7443
#define MSS	    1336
#define CLIENTS_MAX 2000

struct client {
	int fd;
	char local[ADDR_PORT_STRLEN];
	char line[256];
	size_t len, skip;
};

static const char *node;
static struct addr address[2];
static struct reg_lease *lease;
static int listeners[2], attach_fd = -1, agent_fd = -1;
static struct client clients[CLIENTS_MAX];
static size_t nclients;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "edge_tool %s: %s: %s\n", node, what, strerror(errno));
	exit(1);
}

static int listen_on(const char *where, int mss)
{
	struct addr_port ap;
	int fd, on = mss;

	if (addr_port_parse(&ap, where))
		die(where);
	fd = addr_bind(&ap, SOCK_STREAM, 0, false, 0);
	if (fd < 0 || (mss && setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &on, sizeof(on))) ||
	    listen(fd, 1024))
		die(where);
	return fd;
}

/* ---- the agent --------------------------------------------------------------------------------
 */

/* False: not now. */
static bool hand_over(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char text[] = "{\"do\":\"listen\"}", answer[256];
	struct iovec iov = { text, strlen(text) };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(listeners))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control.room) };
	ssize_t got;

	agent_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(listeners));
	memcpy(CMSG_DATA(&control.head), listeners, sizeof(listeners));
	if (connect(agent_fd, (struct sockaddr *)&to, sizeof(to)) || sendmsg(agent_fd, &msg, 0) < 0)
		goto out;
	got = recv(agent_fd, answer, sizeof(answer) - 1, 0);
	if (got > 0) {
		answer[got] = 0;
		if (strstr(answer, "\"ok\":true"))
			return true;
		fprintf(stderr, "edge_tool %s: %s\n", node, answer);
	}
out:
	close(agent_fd);
	agent_fd = -1;
	return false;
}

/* ---- the registry -----------------------------------------------------------------------------
 */

static void announce(const struct conf *conf)
{
	char extra[512], a[ADDR_STRLEN], b[ADDR_STRLEN];

	snprintf(extra, sizeof(extra),
		 "{\"address\":\"%s\",\"address6\":\"%s\",\"attach\":[\"%s:%d\"]}",
		 addr_format(&address[0], a, sizeof(a)), addr_format(&address[1], b, sizeof(b)), a,
		 ATTACH_PORT);
	if (registry_announce(lease, conf, "edge", extra))
		die("announce");
}

static void put_attachment(const char *tunnel, unsigned long generation, uint32_t rtt,
			   bool draining)
{
	struct attachment a = { .address = address[0],
				.address6 = address[1],
				.generation = generation,
				.connections = 2,
				.origins = 1,
				.rtt_us = rtt,
				.draining = draining };
	char key[256], *value;

	snprintf(a.tunnel, sizeof(a.tunnel), "%s", tunnel);
	snprintf(a.edge, sizeof(a.edge), "%s", node);
	snprintf(key, sizeof(key), REG_ATTACHMENTS "%s/%s", tunnel, node);
	value = attachment_format(&a);
	if (!value || registry_lease_put(lease, key, value))
		die("attachment");
	free(value);
}

static void make_many(struct registry *reg, int n)
{
	for (int i = 0; i < n; i++) {
		char key[64], name[32], value[256];

		snprintf(name, sizeof(name), "m%d", i);
		snprintf(key, sizeof(key), REG_TUNNELS "%s", name);
		snprintf(value, sizeof(value),
			 "{\"name\":\"%s\",\"generation\":1,\"address\":\"198.19.%d.%d\","
			 "\"address6\":\"2001:db8:7::1:%x\",\"ports\":[{\"port\":80,\"mode\":\"http\"},"
			 "{\"port\":443,\"mode\":\"https\"}]}",
			 name, 16 + i / 256, i % 256, (unsigned int)i);
		if (registry_put(reg, key, value, 0))
			die(key);
		put_attachment(name, 1, 3000, false);
	}
}

static bool obey(struct registry *reg, char *line)
{
	char *verb = strtok(line, " \n"), *tunnel = strtok(NULL, " \n"), *g = strtok(NULL, " \n");
	char *rtt = strtok(NULL, " \n"), key[256];

	if (!verb || !strcmp(verb, "quit"))
		return false;
	if (!strcmp(verb, "quiet")) {
		close(attach_fd);
		attach_fd = -1;
	} else if (!strcmp(verb, "many")) {
		make_many(reg, atoi(tunnel));
	} else if (!strcmp(verb, "detach")) {
		snprintf(key, sizeof(key), REG_ATTACHMENTS "%s/%s", tunnel, node);
		registry_delete(reg, key);
	} else {
		put_attachment(tunnel, strtoul(g, NULL, 10), rtt ? (uint32_t)atoi(rtt) : 0,
			       !strcmp(verb, "drain"));
	}
	puts("done");
	return true;
}

/* ---- clients ----------------------------------------------------------------------------------
 */

static void take(int listener)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct addr_port ap = { 0 };
	struct client *c = &clients[nclients];
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (nclients == CLIENTS_MAX || getsockname(fd, (struct sockaddr *)&ss, &len)) {
		close(fd);
		return;
	}
	addr_from_sockaddr(&ap, (struct sockaddr *)&ss);
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	ap.proto = 0;
	addr_port_format(&ap, c->local, sizeof(c->local));
	nclients++;
}

static void answer(struct client *c)
{
	char text[320];
	int n = snprintf(text, sizeof(text), "%s %s\n", node, c->local);

	if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) < 0)
		c->len = 0;
}

/* Feeds bytes; answers each line when what it announced has come. */
static void feed(struct client *c, const char *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (c->skip) {
			if (!--c->skip)
				answer(c);
		} else if (data[i] == '\n') {
			c->line[c->len] = 0;
			c->len = 0;
			if (sscanf(c->line, "length %zu", &c->skip) != 1)
				answer(c);
		} else if (c->len < sizeof(c->line) - 1) {
			c->line[c->len++] = data[i];
		}
	}
}

static bool serve(struct client *c)
{
	char data[65536];
	ssize_t got = recv(c->fd, data, sizeof(data), 0);

	if (got > 0)
		feed(c, data, (size_t)got);
	return got > 0;
}

int main(int argc, char **argv)
{
	static struct pollfd fds[CLIENTS_MAX + 8];
	struct conf_registry reg_conf = { .timeout_us = 2000000 };
	struct conf conf = { 0 };
	struct registry *reg;
	char line[512], where[128];
	int mss = getenv("MSS") ? atoi(getenv("MSS")) : MSS;
	bool ready = false;

	if (argc != 6)
		return 2;
	reg_conf.url = argv[1];
	node = argv[2];
	if (addr_parse(&address[0], argv[3]) || addr_parse(&address[1], argv[4]))
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	setvbuf(stdin, NULL, _IONBF, 0);
	snprintf(conf.node, sizeof(conf.node), "%s", node);
	snprintf(where, sizeof(where), "%s:%d", argv[3], ATTACH_PORT);
	attach_fd = listen_on(where, 0);
	listeners[0] = listen_on("127.0.0.1:0", mss);
	listeners[1] = listen_on("[::1]:0", mss);
	if (registry_open(&reg, &reg_conf) || registry_lease(reg, &lease, 5, NULL, NULL))
		die("registry");
	announce(&conf);
	for (;;) {
		nfds_t n = 5;

		if (agent_fd < 0 && hand_over(argv[5]) && !ready) {
			ready = true;
			puts("ready");
		}
		fds[0] = (struct pollfd){ .fd = 0, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = listeners[0], .events = POLLIN };
		fds[2] = (struct pollfd){ .fd = listeners[1], .events = POLLIN };
		fds[3] = (struct pollfd){ .fd = attach_fd, .events = POLLIN };
		fds[4] = (struct pollfd){ .fd = agent_fd, .events = POLLIN };
		for (size_t i = 0; i < nclients; i++)
			fds[n++] = (struct pollfd){ .fd = clients[i].fd, .events = POLLIN };
		if (poll(fds, n, agent_fd < 0 ? 100 : -1) < 0)
			continue;
		for (size_t i = nclients; i-- > 0;) {
			if (!fds[5 + i].revents || serve(&clients[i]))
				continue;
			close(clients[i].fd);
			clients[i] = clients[--nclients];
		}
		if (fds[0].revents && (!fgets(line, sizeof(line), stdin) || !obey(reg, line)))
			break;
		if (fds[1].revents)
			take(listeners[0]);
		if (fds[2].revents)
			take(listeners[1]);
		if (fds[3].revents)
			close(accept(attach_fd, NULL, NULL));
		if (fds[4].revents) {
			close(agent_fd);
			agent_fd = -1;
		}
	}
	registry_lease_end(lease, true);
	registry_close(reg);
	return 0;
}
