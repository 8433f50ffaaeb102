/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target.h -- targets of an origin as people write them: where requests for a hostname, or bytes of a
 * port, go. Pure: text in, struct out, and a sentence that says what would be right.
 */
#ifndef WEIR_TARGET_H
#define WEIR_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/conf.h"

enum target_kind {
	TARGET_HTTP,	 /* http://HOST[:PORT] */
	TARGET_HTTPS,	 /* https://HOST[:PORT], verified */
	TARGET_H2C,	 /* h2c://HOST[:PORT]: HTTP/2 in the clear, with prior knowledge */
	TARGET_H2,	 /* h2://HOST[:PORT]: HTTP/2 over TLS, verified */
	TARGET_UNIX,	 /* unix:PATH: HTTP/1.1 */
	TARGET_TCP,	 /* tcp://HOST:PORT */
	TARGET_TCP_UNIX, /* tcp+unix:PATH */
};

#define TARGET_HOST_MAX 254
#define TARGET_WHY_MAX	320

struct target_spec {
	enum target_kind kind;
	char host[TARGET_HOST_MAX]; /* a name, or an address without brackets; "" for Unix sockets
				     */
	uint16_t port;
	char path[108]; /* of a Unix socket */
};

bool target_is_http(enum target_kind kind); /* speaks HTTP, of whatever version */
bool target_is_h2(enum target_kind kind);
bool target_is_tls(enum target_kind kind);

/* 0, or -EINVAL and the sentence in why; *out is untouched then. */
int target_parse(struct target_spec *out, const char *to, char why[TARGET_WHY_MAX]);
/* A whole target of weir.yaml: what its keys mean together. The same answers. */
int target_check(const struct conf_target *t, struct target_spec *out, char why[TARGET_WHY_MAX]);
/* The index of the target for a hostname (lower case) and a port (0: HTTP): one that names it, else
 * the first for all; -1: none. */
int target_match(const struct conf_target *list, size_t n, const char *hostname, uint16_t port);

#endif
