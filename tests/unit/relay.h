/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.h -- a relay of bytes that tests can cut: from a TCP port or a Unix socket to another.
 */
#ifndef WEIR_TESTS_RELAY_H
#define WEIR_TESTS_RELAY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define CONNS_MAX 256

struct relay {
	int listener;
	int port;	     /* of the TCP listener */
	char path[128];	     /* of the Unix listener */
	_Atomic int to_port; /* 0: not running */
	char to_path[128];
	_Atomic bool cut;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	unsigned int threads;
	int fds[CONNS_MAX]; /* all open sockets, -1 free */
};

/* Listens at the path, or (NULL) at a port of loopback, then r->port. The caller has set to_path,
 * or sets to_port when there is somebody. */
void relay_start(struct relay *r, const char *path);

/* true: closes all connections and takes no more, until false. */
void relay_cut(struct relay *r, bool cut);

/* Cuts it for good; returns when none of its threads is there any more. */
void relay_end(struct relay *r);

#endif
