/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.c -- what the web console shows of the machines (its files: console_files.c).
 *
 * A thread asks every member's inside listener for its status, every two seconds while somebody
 * looks, and sends the whole as one event. Members that do not answer are shown with the reason.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/gateway/gateway.h"
#include "lib/log.h"
#include "lib/token_issue.h"

#define LOOK_EVERY_S  2
#define LOOKING_S     15 /* so long after the last request somebody is taken to look */
#define TOKEN_TTL_S   (12 * 3600)
#define LISTENERS_MAX 256

struct console {
	struct gateway *gw;
	struct httpc *client;
	struct http_topic *topic;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	_Atomic bool stopping; /* changed under the lock */
	bool started;
	char node[CONF_NAME_MAX], site[CONF_NAME_MAX]; /* copies: a reload frees the configuration
							  while threads look */
	time_t asked;
	char *overview; /* the last one, JSON text */
	time_t overview_at;
};

/* ---- what it shows --------------------------------------------------------------------------- */

/* The member's status, or {"error": why}. */
static json_t *ask(struct console *c, const json_t *member)
{
	const char *inside = json_string_value(json_object_get(member, "inside"));
	struct httpc_answer answer = { 0 };
	struct httpc_call call = { .timeout_ms = 1500, .body_max = 4 << 20 };
	json_t *status = NULL;
	char url[512];

	if (!inside)
		return json_pack("{s:s}", "error",
				 "it has no inside listener (inside:) to be asked on");
	snprintf(url, sizeof(url), "%s://%s/_/status",
		 json_is_true(json_object_get(member, "tls")) ? "https" : "http", inside);
	call.url = url;
	if (httpc_do(c->client, &call, &answer) == 0 && answer.status == 200)
		status = json_loadb(answer.body, answer.len, 0, NULL);
	if (!json_is_object(status)) {
		json_decref(status);
		status = json_pack("{s:s+}", "error",
				   "does not answer: ", *answer.error ? answer.error : "no status");
	}
	httpc_answer_free(&answer);
	return status;
}

static char *look(struct console *c)
{
	json_t *members = view_members(c->gw->view), *member;
	json_t *all =
		json_pack("{s:s, s:s, s:I, s:o, s:o, s:o}", "node", c->node, "site", c->site, "at",
			  (json_int_t)time(NULL), "endpoints", view_endpoints(c->gw->view),
			  "tunnels", view_tunnels(c->gw->view), "members", members);
	char *text;
	size_t i;

	json_array_foreach (members, i, member)
		if (!c->stopping)
			json_object_set_new(member, "status", ask(c, member));
	text = json_dumps(all, JSON_COMPACT);
	json_decref(all);
	return text;
}

static void keep(struct console *c, char *text)
{
	pthread_mutex_lock(&c->lock);
	free(c->overview);
	c->overview = text;
	c->overview_at = time(NULL);
	pthread_mutex_unlock(&c->lock);
}

static bool somebody_looks(struct console *c)
{
	bool looks;

	pthread_mutex_lock(&c->lock);
	looks = time(NULL) - c->asked < LOOKING_S || (c->topic && http_topic_listeners(c->topic));
	pthread_mutex_unlock(&c->lock);
	return looks;
}

static void *collect(void *arg)
{
	struct console *c = arg;

	pthread_mutex_lock(&c->lock);
	while (!c->stopping) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += LOOK_EVERY_S;
		pthread_cond_timedwait(&c->wake, &c->lock, &until);
		if (c->stopping)
			break;
		pthread_mutex_unlock(&c->lock);
		if (somebody_looks(c)) {
			char *text = look(c);

			if (text && c->topic)
				http_topic_send(c->topic, "overview", text);
			keep(c, text);
		}
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* Listing and administration, of everything, are the rights to see the whole. */
static bool may_look(struct http_req *req, struct gateway *gw, struct token_scope *who)
{
	if (!access_who(req, gw->users, who))
		return false;
	if (users_allow(gw->users, who, RIGHT_LIST, NULL, NULL) ||
	    users_allow(gw->users, who, RIGHT_ADMIN, NULL, NULL))
		return true;
	http_reply_error(req, 403, "forbidden", "%s has neither the right l nor a on every bucket",
			 who->user);
	return false;
}

/* malloc'ed; NULL without memory */
static char *overview_text(struct console *c)
{
	char *text = NULL;
	bool fresh;

	pthread_mutex_lock(&c->lock);
	c->asked = time(NULL);
	fresh = c->overview && c->asked - c->overview_at <= LOOK_EVERY_S;
	if (fresh)
		text = strdup(c->overview);
	pthread_mutex_unlock(&c->lock);
	if (!fresh) {
		text = look(c);
		keep(c, text ? strdup(text) : NULL);
	}
	return text;
}

json_t *console_overview(struct console *c)
{
	char *text = overview_text(c);
	json_t *overview = text ? json_loads(text, 0, NULL) : NULL;

	free(text);
	return overview;
}

static void status_work(struct http_req *req, void *arg)
{
	char *text = overview_text(arg);

	if (text)
		http_reply_owned(req, 200, "application/json", text, strlen(text));
	else
		http_reply_error(req, 500, "memory", "out of memory");
}

enum http_next console_status(struct http_req *req, void *arg)
{
	struct gateway *gw = arg;
	struct token_scope who;

	if (!may_look(req, gw, &who))
		return HTTP_ANSWERED;
	http_add_header(req, "Cache-Control", "no-store");
	return http_work(req, status_work, gw->console);
}

enum http_next console_events(struct http_req *req, void *arg)
{
	struct gateway *gw = arg;
	struct token_scope who;

	if (!may_look(req, gw, &who))
		return HTTP_ANSWERED;
	return http_reply_events(req, gw->console->topic);
}

enum http_next console_token(struct http_req *req, void *arg)
{
	struct gateway *gw = arg;
	struct token_scope who;
	char token[TOKEN_MAX];
	int64_t until = time(NULL) + TOKEN_TTL_S;

	if (!may_look(req, gw, &who))
		return HTTP_ANSWERED;
	if (!who.expires || who.expires > until)
		who.expires = until;
	if (!*who.id)
		token_id_new(who.id, false); /* of a key: can be ended by signing out */
	http_add_header(req, "Cache-Control", "no-store");
	if (users_sign(gw->users, &who, token))
		return http_reply_error(req, 503, "no_signing_key",
					"the registry gave no key to sign with yet; try again");
	return http_reply_json(req, 200,
			       json_pack("{s:s, s:s, s:I}", "token", token, "user", who.user,
					 "expires", (json_int_t)who.expires));
}

/* ---- start and stop -------------------------------------------------------------------------- */

int console_open(struct console **out, struct gateway *gw, struct httpc *client)
{
	struct console *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->gw = gw;
	c->client = client;
	snprintf(c->node, sizeof(c->node), "%s", gw->daemon->conf->node);
	snprintf(c->site, sizeof(c->site), "%s", gw->daemon->conf->site);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->wake, NULL);
	*out = c;
	return 0;
}

int console_start(struct console *c)
{
	int rc;

	c->topic = http_topic_new(c->gw->server, LISTENERS_MAX);
	if (!c->topic)
		return -ENOMEM;
	rc = -pthread_create(&c->thread, NULL, collect, c);
	c->started = rc == 0;
	return rc;
}

void console_stop(struct console *c)
{
	if (!c || !c->started)
		return;
	pthread_mutex_lock(&c->lock);
	c->stopping = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	c->started = false;
}

void console_free(struct console *c)
{
	if (!c)
		return;
	http_topic_free(c->topic);
	httpc_free(c->client);
	free(c->overview);
	free(c);
}
