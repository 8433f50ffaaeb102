/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataplane_int.h -- the exchange with the loader, for dataplane.c and dataplane_*.c: prepare a question in
 * dp->m, do it, read the answer there.
 */
#ifndef WEIR_DATAPLANE_INT_H
#define WEIR_DATAPLANE_INT_H

#include "user/agent/dataplane.h"
#include "user/agent/loader.h"

struct dataplane {
	int sock;
	pid_t loader;
	char **interfaces; /* what a reload cannot change */
	size_t ninterfaces;
	int attach, mode;
	bool tunnels;
	char *pin;
	struct conf_agent limits; /* only its limits */
	char error[256];
	struct loader_message m; /* asked and answered */
};

/* Leaves the sentence for dataplane_error(); returns err. */
int dataplane_fail(struct dataplane *dp, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void dataplane_prepare(struct dataplane *dp, uint32_t number, uint32_t offset, const void *body,
		       size_t len);
/* Appends n of `size` bytes to the question. */
void dataplane_append(struct dataplane *dp, const void *data, size_t n, size_t size);
/* Asks; afterwards the answer is in dp->m. Returns its result. */
int dataplane_do(struct dataplane *dp, enum loader_op op);
/* The same; *fd is a descriptor that came along, or -1. */
int dataplane_ask(struct dataplane *dp, enum loader_op op, int *fd);
/* The same for an answer of so many bytes. */
int dataplane_ask_for(struct dataplane *dp, enum loader_op op, void *out, size_t len);

#endif
