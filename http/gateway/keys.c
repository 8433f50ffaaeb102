/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.c -- access keys as the console shows them: one's own; administrators see everybody's. They are made, rotated and revoked
 * by `weir user key`: no daemon may write users, so that one that fell cannot make itself a key.
 */
#include <stdlib.h>
#include <string.h>

#include "http/gateway/buckets.h"
#include "lib/user_edit.h"

struct wish {
	struct gateway *gw;
	struct token_scope who;
	bool all;
};

static void list_work(struct http_req *req, void *arg)
{
	struct wish *w = arg;
	json_t *keys = user_keys(w->gw->daemon->registry, w->all ? NULL : w->who.user);

	if (!keys && !w->all) /* who is not in the table has none */
		keys = json_array();
	if (keys)
		http_reply_json(req, 200, json_pack("{s:o}", "keys", keys));
	else
		http_reply_error(req, 503, "registry", "the registry does not answer; try again");
	free(w);
}

/* As for tokens: who came with a token made for one thing does not see what else its user has. */
static bool is_whole(const struct token_scope *who)
{
	const unsigned int all = RIGHT_READ | RIGHT_WRITE | RIGHT_DELETE | RIGHT_LIST;

	return !who->exact && !who->via_gateway && token_allows(who, all, NULL, NULL);
}

enum http_next keys_list(struct http_req *req, void *arg)
{
	const char *all = http_query(req, "all");
	struct gateway *gw = arg;
	struct token_scope who;
	enum http_next next;
	struct wish *w;

	if (!access_who(req, gw->users, &who))
		return HTTP_ANSWERED;
	if (!is_whole(&who))
		return http_reply_error(req, 403, "forbidden", "a token made for one thing does not tell which keys its user has");
	all = all && !strcmp(all, "1") ? all : NULL;
	if (all && users_role(gw->users, &who) < ROLE_ADMIN)
		return http_reply_error(req, 403, "forbidden", "everybody's keys are for administrators");
	w = malloc(sizeof(*w));
	if (!w)
		return http_reply_error(req, 503, "memory", "out of memory; try again");
	*w = (struct wish){ gw, who, all != NULL };
	http_add_header(req, "Cache-Control", "no-store");
	next = http_work(req, list_work, w);
	if (next == HTTP_ANSWERED)
		free(w);
	return next;
}
