/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_log.h -- one line a request: into a file (JSON lines or the common log format), and the
 * last ones in memory for `weir tunnel logs`.
 *
 * Lines are gathered and written at most each 100 ms. Queries are left out (they carry tokens);
 * what a client sent is escaped and cut. A file that cannot be written loses lines and says how
 * many.
 */
#ifndef WEIR_TUNNEL_ACCESS_LOG_H
#define WEIR_TUNNEL_ACCESS_LOG_H

#include <jansson.h>
#include <stdint.h>

#include "lib/addr.h"
#include "user/tunnel/reactor.h"

struct access_line {	 /* texts may be NULL: not known */
	int64_t time_us; /* unix, when the request came */
	const char *id, *tunnel, *method, *host, *path, *protocol, *agent;
	const char *trace;  /* its first 32 characters: the trace id of a traceparent */
	const char *target; /* an origin's: where it went */
	const char *cause;  /* NULL: all went well */
	const struct addr *client;
	unsigned int status; /* 0: the client left before */
	uint64_t bytes_up, bytes_down;
	uint64_t took_us, first_us; /* first: until the answer's head; 0: there was none */
	unsigned int tries;
};

#define ACCESS_LINE_MAX 12288
/* Pure. With "\n" and terminator; the length. */
size_t access_line_json(char out[ACCESS_LINE_MAX], const struct access_line *line);
size_t access_line_common(char out[ACCESS_LINE_MAX], const struct access_line *line);

struct access_log;
/* path NULL: only in memory. A new file is given to uid and gid. 0 or -errno, said in the log. */
int access_log_open(struct access_log **out, const char *path, bool common, uid_t uid, gid_t gid);
void access_log_start(struct access_log *log, struct reactor *r);
/* Opens the path again (it was rotated); when that fails the old file stays, and -errno is
 * returned. */
int access_log_reopen(struct access_log *log, const char *path, bool common);
/* Writes what waits; accepts NULL. Before reactor_free() or after it. */
void access_log_close(struct access_log *log);

void access_log_add(struct access_log *log, const struct access_line *line);
/* {"lines":[…],"last":N}: after sequence number `after`, of one tunnel (NULL: all), the newest max.
 */
json_t *access_log_lines(const struct access_log *log, const char *tunnel, uint64_t after,
			 size_t max);

#endif
