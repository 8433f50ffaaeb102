/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fdstore.h -- listeners that outlive the process that made them, as sd_notify(3) describes
 * (FDSTORE=1, FDNAME=, FDSTOREREMOVE=1): `weir up` keeps them for a child and hands them to the next
 * one by sd_listen_fds(3), so that connections wait in the backlog instead of being refused.
 */
#ifndef WEIR_FDSTORE_H
#define WEIR_FDSTORE_H

#include <stddef.h>

#define FDSTORE_MAX  128 /* a child's; more are closed */
#define FDSTORE_NAME 64	 /* with terminator; a longer name is no name */

struct fdstore {
	int fds[FDSTORE_MAX];
	char names[FDSTORE_MAX][FDSTORE_NAME];
	size_t n;
};

/* Takes a message of the child: stores or closes every one of fds, closes what is to be removed. A
 * socket that is there already is not stored twice. Returns how many were stored now. */
size_t fdstore_message(struct fdstore *store, const char *text, const int *fds, size_t n);
void fdstore_clear(struct fdstore *store); /* closes all */

/* In the child, between fork and exec: puts the descriptors at 3 and up, and LISTEN_PID, LISTEN_FDS
 * and LISTEN_FDNAMES into the environment. 0 or -errno. */
int fdstore_hand_over(const struct fdstore *store);

#endif
