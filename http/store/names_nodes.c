/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_nodes.c -- who the endpoints are: all that ever registered (endpoints/NODE, also kept in
 * the local database, so that a silent registry at start changes nothing), and which of them live
 * now (members/endpoint/NODE, leased).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_int.h"
#include "lib/addr.h"

static struct node *find(struct names *n, const char *name)
{
	for (unsigned int i = 0; i < n->nnodes; i++)
		if (!strcmp(n->nodes[i].name, name))
			return &n->nodes[i];
	return NULL;
}

static struct node *find_or_add(struct names *n, const char *name)
{
	struct node *node = find(n, name), *more;

	if (node || n->nnodes >= NAMES_TARGETS_MAX || !names_node_valid(name))
		return node;
	more = reallocarray(n->nodes, n->nnodes + 1, sizeof(*more));
	if (!more)
		return NULL;
	n->nodes = more;
	node = &more[n->nnodes++];
	memset(node, 0, sizeof(*node));
	strcpy(node->name, name);
	return node;
}

/* The members of endpoints/NODE and of members/endpoint/NODE that matter here. */
static void node_read(struct node *node, const json_t *o)
{
	const json_t *tls = json_object_get(o, "tls");
	char inside[sizeof(node->inside)];
	struct addr_port at;

	names_json_text(o, "site", node->site, sizeof(node->site));
	names_json_text(o, "domain", node->domain, sizeof(node->domain));
	if (!names_json_text(o, "inside", inside, sizeof(inside)) &&
	    !addr_port_parse(&at, inside)) {
		strcpy(node->inside, inside);
		/* The rule of the house: plain on loopback, certificates elsewhere. */
		node->tls = json_is_boolean(tls) ? json_is_true(tls) : !addr_port_is_local(&at);
	}
}

static int stored_fn(void *arg, const char *name, const char *text)
{
	struct names *n = arg;
	struct node *node = find_or_add(n, name);
	json_t *o = json_loads(text, 0, NULL);

	if (node && o) {
		node_read(node, o);
		node->registered = true;
	}
	json_decref(o);
	return 0;
}

static int stored_read(struct names_txn *t, void *arg)
{
	return names_node_each(t, stored_fn, arg);
}

struct stored {
	const char *name, *text;
};

static int stored_write(struct names_txn *t, void *arg)
{
	struct stored *s = arg;

	return names_node_put(t, s->name, s->text);
}

static const char *last_part(const char *key)
{
	const char *slash = strrchr(key, '/');

	return slash ? slash + 1 : key;
}

static void on_endpoint(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct names *n = arg;
	struct stored s = { NULL, NULL };
	json_t *o = NULL;
	struct node *node;

	if (event == REG_PUT)
		o = json_loadb(kv->value, kv->value_len, 0, NULL);
	pthread_mutex_lock(&n->lock);
	if (event == REG_SYNCED) {
		/* What only the local database remembers was taken off the list while this node was
		 * away. */
		for (unsigned int i = 0; i < n->nnodes; i++)
			n->nodes[i].registered &= n->nodes[i].told;
		n->endpoints_synced = true;
	} else {
		s.name = last_part(kv->key);
		node = o ? find_or_add(n, s.name) : find(n, s.name);
		if (node) {
			node->registered = node->told = o != NULL;
			/* A living member says more, and newer. */
			if (o && !node->alive)
				node_read(node, o);
			s.text = o ? kv->value : NULL;
		} else {
			s.name = NULL;
		}
	}
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
	json_decref(o);
	if (s.name && names_db_write(n->db, stored_write, &s))
		log_limited(LOG_LEVEL_ERROR, 2,
			    "names: the list of endpoints cannot be written to the disk");
}

static void on_member(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct names *n = arg;
	json_t *o = NULL;
	struct node *node;

	if (event == REG_PUT)
		o = json_loadb(kv->value, kv->value_len, 0, NULL);
	pthread_mutex_lock(&n->lock);
	if (event == REG_SYNCED) {
		n->members_synced = true;
	} else {
		node = o ? find_or_add(n, last_part(kv->key)) : find(n, last_part(kv->key));
		if (node) {
			node->alive = o != NULL;
			if (o)
				node_read(node, o);
		}
	}
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
	json_decref(o);
	outbox_wake(n);
}

int nodes_open(struct names *n)
{
	int rc = names_db_read(n->db, stored_read, n);

	if (!rc)
		rc = registry_watch(n->registry, &n->watch_endpoints, REG_ENDPOINTS, on_endpoint,
				    n);
	if (!rc)
		rc = registry_watch(n->registry, &n->watch_members, REG_MEMBERS "endpoint/",
				    on_member, n);
	return rc;
}

void nodes_close(struct names *n)
{
	registry_unwatch(n->watch_members);
	registry_unwatch(n->watch_endpoints);
	free(n->nodes);
}

bool node_find(struct names *n, const char *name, struct node *out)
{
	struct node *node;

	pthread_mutex_lock(&n->lock);
	node = find(n, name);
	if (node)
		*out = *node;
	pthread_mutex_unlock(&n->lock);
	return node != NULL;
}

unsigned int nodes_others(struct names *n)
{
	unsigned int others = 0;

	pthread_mutex_lock(&n->lock);
	for (unsigned int i = 0; i < n->nnodes; i++)
		if (n->nodes[i].registered && strcmp(n->nodes[i].name, n->node))
			others++;
	pthread_mutex_unlock(&n->lock);
	return others;
}

bool node_gone(struct names *n, const char *name)
{
	struct node *node;
	bool gone;

	pthread_mutex_lock(&n->lock);
	node = find(n, name);
	gone = n->members_synced && (!node || !node->alive);
	pthread_mutex_unlock(&n->lock);
	return gone;
}

unsigned int nodes_copy(struct names *n, struct node **out)
{
	unsigned int count;

	pthread_mutex_lock(&n->lock);
	count = n->nnodes;
	*out = malloc((count + 1) * sizeof(**out));
	if (*out && count)
		memcpy(*out, n->nodes, count * sizeof(**out));
	pthread_mutex_unlock(&n->lock);
	return *out ? count : 0;
}

/* ---- messages ---- */

static const struct {
	long status;
	int rc;
} statuses[] = {
	{ 200, 0 },	     { 400, -EINVAL }, { 404, -ENOENT },    { 409, -ESTALE },
	{ 412, -ECANCELED }, { 503, -EAGAIN }, { 504, -ETIMEDOUT }, { 507, -ENOSPC },
	{ 413, -EMSGSIZE },  { 422, -EBADMSG }, { 423, -ENOTEMPTY },
};

int status_of(int rc)
{
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (statuses[i].rc == rc)
			return (int)statuses[i].status;
	return 500;
}

static int answer_read(const char *node, const struct httpc_answer *a, json_t **answer)
{
	json_t *o = json_loadb(a->body ? a->body : "", a->len, JSON_REJECT_DUPLICATES, NULL);
	const char *message = json_string_value(json_object_get(o, "message"));
	int rc = -EPROTO;

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (statuses[i].status == a->status)
			rc = statuses[i].rc;
	if (!json_is_object(o) && !rc)
		rc = -EPROTO;
	if (rc)
		names_fail("%s (said by %s)",
			   message ? message : "an answer that is not understood", node);
	if (answer)
		*answer = o;
	else
		json_decref(o);
	return rc;
}

int node_post(struct names *n, const char *name, const char *what, json_t *body, json_t **answer,
	      unsigned int timeout_ms)
{
	static const char *const headers[] = { "Content-Type: application/json", NULL };
	struct httpc_call call = { .method = "POST",
				   .headers = headers,
				   .body_max = 4 * NAMES_BODY_MAX,
				   .timeout_ms = timeout_ms };
	struct httpc_answer a = { 0 };
	struct node node;
	char url[320];
	char *text;
	int rc;

	if (answer)
		*answer = NULL;
	text = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	if (!text)
		return -ENOMEM;
	if (!node_find(n, name, &node) || !node.inside[0]) {
		free(text);
		names_fail("the address of endpoint %s is not known", name);
		return -ENOTCONN;
	}
	snprintf(url, sizeof(url), "%s://%s/i/names/%s", node.tls ? "https" : "http", node.inside,
		 what);
	call.url = url;
	call.body = text;
	call.body_len = strlen(text);
	rc = httpc_do(n->httpc, &call, &a);
	if (!rc) {
		rc = answer_read(name, &a, answer);
	} else {
		names_fail("endpoint %s does not answer: %s", name, a.error);
		rc = rc == -ECONNREFUSED || rc == -EHOSTUNREACH || rc == -ENETUNREACH ? -ENOTCONN
										      : -ETIMEDOUT;
	}
	httpc_answer_free(&a);
	free(text);
	return rc;
}
