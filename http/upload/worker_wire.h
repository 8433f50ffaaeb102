/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker_wire.h -- messages between the daemon, its nursery and the workers, over SOCK_SEQPACKET pairs; used by worker*.c
 * and nursery*.c alone.
 *
 * A message is a type and bytes, sent in packets of at most WIRE_PACKET, with descriptors beside the first. No side
 * waits for the other but where it asked: a worker says WANT and gets AVAILABLE, says OPEN and gets FILE.
 */
#ifndef WEIR_UPLOAD_WORKER_WIRE_H
#define WEIR_UPLOAD_WORKER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WIRE_PACKET 32768u
#define WIRE_FDS    250u	 /* SCM_MAX_FD is 253 */
#define WIRE_MAX    (32u << 20) /* bytes of one message; the longest is a result with 1,024 columns */
#define WIRE_FD	    3		 /* where the nursery and a worker have their socket */

enum wire_type {
	/* daemon and nursery */
	WIRE_CONFIG = 'C', /* struct wire_config */
	WIRE_READY = 'Y',  /* int32_t: 0 or -errno */
	WIRE_START = 'S',  /* beside it the worker's end of its pair */
	/* daemon and worker */
	WIRE_JOB = 'J',	      /* JSON; beside it the files */
	WIRE_WANT = 'W',      /* uint64_t: the worker has read so far and waits */
	WIRE_READ = 'B',      /* uint64_t: … has read so far and goes on; no answer */
	WIRE_AVAILABLE = 'A', /* uint64_t bytes, uint64_t whole */
	WIRE_OPEN = 'O',      /* a name */
	WIRE_FILE = 'F',      /* int32_t: 0 and a descriptor, or -errno */
	WIRE_EVENT = 'E',     /* a name, '\0', JSON */
	WIRE_RESULT = 'R',    /* JSON */
	WIRE_FAILED = 'D',    /* int32_t: -errno */
	WIRE_EXIT = 'X',      /* int32_t: the status of waitpid(2); the nursery says it on the worker's pair */
};

struct wire_config {
	uint64_t memory, file;
	uint32_t cpu_s, workers;
	uint32_t uid, gid;
	uint32_t has_user, pad;
};

/* A received message; reused from call to call. */
struct wire {
	enum wire_type type;
	char *data; /* len bytes and a '\0' */
	size_t len, size;
	int fds[WIRE_FDS];
	size_t nfds;
};

/* 0 or -errno. flags: of sendmsg(2); MSG_NOSIGNAL is added. */
int wire_send(int fd, enum wire_type type, const void *data, size_t len, const int *fds, size_t nfds, int flags);
/* 1: a message; 0: the other side has closed; -EBADMSG: no message of ours, or too long. Descriptors are taken only
 * with take_fds; those of the message before are the caller's. */
int wire_recv(int fd, struct wire *w, bool take_fds);
void wire_free(struct wire *w);

#endif
