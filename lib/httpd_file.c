/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_file.c -- how much of a file one sendfile(2) sends.
 *
 * libmicrohttpd asks for 128 KiB at a time, so that no client keeps a thread busy, and looks after all its
 * connections between two pieces: of 64 MiB that took a fifth of the time. There is no option for it, but the
 * program's own sendfile64() comes before libc's, and where the file ends is known here. A result above what was
 * asked for is counted by libmicrohttpd like any other.
 */
#include <stdatomic.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/httpd_impl.h"

#define ASKED_PIECE (128u << 10) /* libmicrohttpd's, when there is more than that to send */
#define SENT_PIECE  (1u << 20)
#define SOCKETS_MAX (1u << 16) /* a socket above that has libmicrohttpd's pieces */

static _Atomic uint64_t ends[SOCKETS_MAX]; /* by socket: where in its file the answer ends; 0: no file is sent */

void http_file_begin(int socket, uint64_t end)
{
	if (socket >= 0 && socket < (int)SOCKETS_MAX)
		atomic_store_explicit(&ends[socket], end, memory_order_release);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t len)
{
	uint64_t end = to >= 0 && to < (int)SOCKETS_MAX ? atomic_load_explicit(&ends[to], memory_order_acquire) : 0;

	/* The last piece stays as it was asked for: with it libmicrohttpd pushes what the socket holds back. */
	if (len == ASKED_PIECE && at && end > (uint64_t)*at + 2 * len) {
		len = end - (uint64_t)*at - len;
		if (len > SENT_PIECE)
			len = SENT_PIECE;
	}
	return syscall(SYS_sendfile, to, from, at, len);
}
