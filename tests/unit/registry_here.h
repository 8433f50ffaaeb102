/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_here.h -- a registry inside the test: store and server in a private folder, and a client
 * of it.
 */
#ifndef WEIR_TESTS_REGISTRY_HERE_H
#define WEIR_TESTS_REGISTRY_HERE_H

#include "tests/unit/unit.h"

#include <sys/socket.h>
#include <time.h>

#include "http/registry/server.h"
#include "http/registry/store.h"
#include "lib/addr.h"
#include "lib/registry.h"

struct registry_here {
	char folder[128], token_file[160], url[64];
	struct store *store;
	struct server *server;
	struct registry *reg;
};

/* Over TCP with a token, because without root the Unix socket's peer may not write users. */
static inline void registry_here_start(struct registry_here *h)
{
	struct server_options options = { .token = "0123456789abcdef" };
	struct conf_registry conf = { .url = h->url,
				      .token_file = h->token_file,
				      .timeout_us = 2000000 };
	struct addr_port ap;
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	char err[256];
	FILE *f;
	int fd;

	memset(h, 0, sizeof(*h));
	unit_folder(h->folder, sizeof(h->folder));
	snprintf(h->token_file, sizeof(h->token_file), "%s/token", h->folder);
	f = fopen(h->token_file, "w");
	assert_non_null(f);
	fputs("0123456789abcdef\n", f);
	fclose(f);
	assert_int_equal(addr_port_parse(&ap, "127.0.0.1:1"), 0);
	ap.port = 0;
	fd = addr_bind(&ap, SOCK_STREAM, 64, false, 0);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	snprintf(h->url, sizeof(h->url), "http://127.0.0.1:%u", ntohs(in.sin_port));
	assert_int_equal(store_open(&h->store, h->folder, err, sizeof(err)), 0);
	assert_int_equal(server_start(&h->server, h->store, &fd, 1, &options), 0);
	assert_int_equal(registry_open(&h->reg, &conf), 0);
}

static inline void registry_here_stop(struct registry_here *h)
{
	registry_close(h->reg);
	server_stop(h->server, 100);
	store_close(h->store);
	unit_folder_remove(h->folder);
}

/* Polls until the condition holds; a test fails after five seconds. */
#define eventually(condition)                                                                      \
	do {                                                                                       \
		int left_ = 500;                                                                   \
		while (!(condition) && left_--)                                                    \
			nanosleep(&(struct timespec){ 0, 10000000 }, NULL);                        \
		assert_true(condition);                                                            \
	} while (0)

#endif
