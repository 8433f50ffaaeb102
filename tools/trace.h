/* SPDX-License-Identifier: Apache-2.0 */
/* trace.h -- a traced packet, as the agent tells it, and as one line for people or as JSON. */
#ifndef WEIR_TOOLS_TRACE_H
#define WEIR_TOOLS_TRACE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/abi/sample.h"

#define TRACE_NAME_MAX 64

struct trace_packet {
	struct weir_sample head; /* time: CLOCK_REALTIME */
	const uint8_t *data;	 /* head.captured bytes */
	const char *service, *backend, *interface; /* "": none */
};

/* A message's body after its kind. 0, or -EPROTO; pointers lead into the message. */
int trace_packet_read(struct trace_packet *p, const uint8_t *body, size_t len);

/* "12:00:01.123456 eth1 FORWARDED 192.0.2.1:40000 > 198.18.1.100:80 tcp SYN files → gw-a1 slot 17 60B".
 * Returns buf. */
char *trace_packet_line(const struct trace_packet *p, char *buf, size_t len);
/* What became of it and why, for a capture's comment. Returns buf. */
char *trace_packet_comment(const struct trace_packet *p, char *buf, size_t len);
json_t *trace_packet_json(const struct trace_packet *p); /* a new reference */

#endif
