/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_early.c -- answers of S3 that begin before their operation has ended (early.h): "If the error occurs during the copy operation,
 * the error response is embedded in the 200 OK response" (Amazon's API reference, CopyObject). From the first blank on there is no
 * request in struct s3.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "http/store/s3.h"
#include "lib/early.h"

static const char declaration[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

struct s3_early {
	struct early *answer;
	char id[S3_SEEN_ID], from[ADDR_PORT_STRLEN]; /* of the request, for struct s3 */
};

static void begin(struct s3 *s3)
{
	struct s3_early *e = calloc(1, sizeof(*e));
	struct http_req *req = s3->req;

	if (e)
		e->answer = early_new(declaration);
	if (!e || !e->answer) {
		free(e);
		return; /* it is answered at the end */
	}
	s3->early = e;
	s3_add_ids(s3);
	if (s3->body.sealer)
		http_add_header(req, "x-amz-server-side-encryption", "AES256");
	s3_seen_keep(s3, e->id, e->from);
	s3->req = NULL;
	early_begin(e->answer, req, S3_XML_TYPE);
}

bool s3_early_stops(struct endpoint *ep)
{
	int64_t until = atomic_load(&ep->give_up_ms);
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return until && (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 >= until;
}

bool s3_early_tick(struct s3 *s3)
{
	struct s3_early *e = s3->early;

	if ((e && early_is_gone(e->answer)) || s3_early_stops(s3->ep))
		return false;
	if (!early_is_due(&s3->early_ms))
		return true;
	if (e)
		early_blank(e->answer);
	else
		begin(s3);
	return true;
}

bool s3_early_say(struct s3 *s3, char *text, size_t len)
{
	if (s3->early)
		early_say(s3->early->answer, text, len);
	return s3->early != NULL;
}

bool s3_early_leave(struct s3_early *e, bool worker)
{
	return early_leave(e->answer, worker);
}

void s3_early_free(struct s3_early *e)
{
	if (e)
		early_free(e->answer);
	free(e);
}
