/* SPDX-License-Identifier: Apache-2.0 */
/* trace_int.h -- what trace.c (who is served) and trace_ask.c (what is asked for) share. */
#ifndef WEIR_TRACE_INT_H
#define WEIR_TRACE_INT_H

#include <jansson.h>

#include "user/agent/agent.h"

#define TRACE_PACKETS	  1000u /* unless asked otherwise */
#define TRACE_SECONDS	  60u
#define TRACE_PACKETS_MAX 100000000u
#define TRACE_SECONDS_MAX 86400u

struct trace_wish {
	struct weir_sample_filter filter; /* `until` is not set */
	uint64_t packets;
	uint32_t seconds;
	char text[256]; /* for whom another trace stands in the way */
};

/* Reads a request. 0, or -EINVAL with a sentence in err. */
int trace_wish_read(struct trace_wish *out, const struct agent *agent, const json_t *request, char *err,
		    size_t err_len);

#endif
