// SPDX-License-Identifier: Apache-2.0
/*
 * gateway_endpoints.c -- the endpoints of the installation by the URLs that they registered: the
 * only hosts to which the edge follows a redirect.
 *
 * The watch's thread parses URLs and looks names up; the list itself is the main thread's.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "lib/log.h"
#include "user/tunnel/gateway_back.h"

#define ENDPOINT_IDLE 64
#define CONNECT_MS    2000

struct endpoint {
	struct endpoint *next;
	char node[CONF_NAME_MAX];
	char *url;	 /* without a slash at the end */
	char *authority; /* HOST or HOST:PORT, as in the URL */
	struct addr_port at;
	struct h1_pool *pool; /* made when it is needed first */
};

struct endpoints {
	struct edge *edge;
	struct reg_watch *watch;
	struct endpoint *first;
};

/* From the watch's thread to the main one; url NULL: it is gone. */
struct news {
	struct endpoints *all;
	char node[CONF_NAME_MAX];
	char *url, *authority;
	struct addr_port at;
};

static void news_free(struct news *n)
{
	free(n->url);
	free(n->authority);
	free(n);
}

/* ---- the watch's thread ---------------------------------------------------------------------- */

/* HOST[:PORT] of an http URL; its first address. 0 or -errno. */
static int look_up(struct addr_port *out, const char *authority)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	char host[256], *port;
	int rc;

	if (!addr_port_parse(out, authority))
		return 0;
	snprintf(host, sizeof(host), "%s", authority);
	port = strrchr(host, ':');
	if (host[0] == '[') { /* IPv6 without a port */
		port = NULL;
		host[strcspn(host, "]")] = '\0';
		memmove(host, host + 1, strlen(host));
	} else if (port) {
		*port++ = '\0';
	}
	rc = getaddrinfo(host, port ? port : "80", &hints, &found);
	if (rc || !found)
		return -EHOSTUNREACH;
	addr_from_sockaddr(out, found->ai_addr);
	freeaddrinfo(found);
	return 0;
}

/* Fills what an endpoint's record says; false: it does not speak HTTP, or cannot be found. */
static bool read_record(struct news *n, const struct reg_kv *kv)
{
	json_t *root = json_loadb(kv->value, kv->value_len, 0, NULL);
	const char *url = json_string_value(json_object_get(root, "url"));
	bool good = false;
	size_t len;

	if (url && !strncmp(url, "http://", 7)) {
		len = strlen(url);
		while (len && url[len - 1] == '/')
			len--;
		n->url = strndup(url, len);
		n->authority = strndup(url + 7, strcspn(url + 7, "/"));
		good = n->url && n->authority && !look_up(&n->at, n->authority);
		if (!good)
			log_limited(LOG_LEVEL_WARN, 6, "endpoint %s: no address for %s", n->node,
				    url);
	}
	json_decref(root);
	return good;
}

static void on_news(void *arg);

static void on_event(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct endpoints *all = arg;
	struct news *n;

	if (event == REG_SYNCED)
		return;
	n = calloc(1, sizeof(*n));
	if (!n)
		return;
	n->all = all;
	snprintf(n->node, sizeof(n->node), "%s", kv->key + strlen(REG_ENDPOINTS));
	if (event == REG_PUT && !read_record(n, kv)) {
		free(n->url);
		n->url = NULL;
	}
	if (loop_post(all->edge->d->loop, on_news, n))
		news_free(n);
}

/* ---- the main thread ------------------------------------------------------------------------- */

static void endpoint_free(struct endpoint *e)
{
	h1_pool_free(e->pool);
	free(e->url);
	free(e->authority);
	free(e);
}

static void remove_node(struct endpoints *all, const char *node)
{
	struct endpoint **at = &all->first, *e;

	while ((e = *at)) {
		if (!strcmp(e->node, node)) {
			*at = e->next;
			endpoint_free(e);
			continue;
		}
		at = &e->next;
	}
}

static void on_news(void *arg)
{
	struct news *n = arg;
	struct endpoint *e = n->url ? calloc(1, sizeof(*e)) : NULL;

	remove_node(n->all, n->node);
	if (e) {
		memcpy(e->node, n->node, sizeof(e->node));
		e->url = n->url;
		e->authority = n->authority;
		e->at = n->at;
		e->next = n->all->first;
		n->all->first = e;
		n->url = n->authority = NULL;
	}
	news_free(n);
}

static struct h1_pool *pool_of(struct endpoints *all, struct endpoint *e)
{
	struct h1_pool_options opt = { .dial = { .to = e->at, .timeout_ms = CONNECT_MS },
				       .idle_max = ENDPOINT_IDLE };

	if (!e->pool && h1_pool_new(&e->pool, all->edge->reactor, &opt))
		return NULL;
	return e->pool;
}

/* It becomes a line of a request: a space would end it early. */
static bool is_target(const char *path)
{
	for (; *path; path++)
		if (*path <= ' ' || *path >= 0x7f || *path == '#')
			return false;
	return true;
}

struct h1_pool *endpoints_find(struct endpoints *all, const char *location, const char **path,
			       const char **authority)
{
	for (struct endpoint *e = all ? all->first : NULL; e; e = e->next) {
		size_t len = strlen(e->url);

		if (strncmp(location, e->url, len) != 0 || location[len] != '/')
			continue;
		*path = location + strlen("http://") + strlen(e->authority);
		*authority = e->authority;
		if (!is_target(*path))
			return NULL;
		return pool_of(all, e);
	}
	return NULL;
}

int endpoints_open(struct endpoints **out, struct edge *edge)
{
	struct endpoints *all = calloc(1, sizeof(*all));
	int rc;

	if (!all)
		return -ENOMEM;
	all->edge = edge;
	rc = registry_watch(edge->d->registry, &all->watch, REG_ENDPOINTS, on_event, all);
	if (rc)
		free(all);
	else
		*out = all;
	return rc;
}

void endpoints_close(struct endpoints *all)
{
	if (!all)
		return;
	registry_unwatch(all->watch);
	while (all->first) {
		struct endpoint *e = all->first;

		all->first = e->next;
		endpoint_free(e);
	}
	free(all);
}
