/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_watch_ws.h -- a client's WebSocket (RFC 6455, by libwslay over a connection that libcurl makes, so that TLS and
 * its certificates are as everywhere). One thread; text messages, each handed over whole.
 */
#ifndef WEIR_TOOLS_MEDIA_WATCH_WS_H
#define WEIR_TOOLS_MEDIA_WATCH_WS_H

#include <stddef.h>

struct ws_client;
typedef void ws_client_fn(void *arg, const char *text, size_t len); /* not terminated */

/* url: http:// or https://; ca: a file or NULL. Blocks for at most 5 s. 0, or -errno and a sentence. */
int ws_client_open(struct ws_client **out, const char *url, const char *ca, char why[200]);
/* Says 1001 when it still can; accepts NULL. */
void ws_client_close(struct ws_client *c);
/* Queued; 0 or -errno. */
int ws_client_send(struct ws_client *c, const char *text, size_t len);
/* Sends, receives, answers pings, for at most so long or until `wake` (a file descriptor, -1: none) can be read.
 * 0, or -ECONNRESET: it is closed. */
int ws_client_run(struct ws_client *c, int wake, int timeout_ms, ws_client_fn *message, void *arg);

#endif
