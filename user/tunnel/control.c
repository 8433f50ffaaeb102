// SPDX-License-Identifier: Apache-2.0
/*
 * control.c -- the lines of the control stream, read and written (see control.h).
 *
 * A line comes from another machine: every text is bounded and of few characters, so that it can
 * stand in logs and as a name. A hello is an edge's when it names an edge, else an origin's.
 */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/control.h"

/* ---- reading ---- */

#define LOWER	"abcdefghijklmnopqrstuvwxyz"
#define DIGITS	"0123456789"
#define LETTERS LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* A member that is a text of these characters and fits; absent: "" when optional. */
static int take_text(const json_t *from, const char *key, bool required, const char *chars,
		     char *out, size_t len)
{
	const json_t *value = json_object_get(from, key);
	const char *text = json_string_value(value);

	if (!value)
		return required ? -EINVAL : 0;
	if (!text || strlen(text) >= len || (required && !*text) || text[strspn(text, chars)])
		return -EINVAL;
	strcpy(out, text);
	return 0;
}

static int take_number(const json_t *from, const char *key, bool required, json_int_t max,
		       json_int_t *out)
{
	const json_t *value = json_object_get(from, key);

	if (!value)
		return required ? -EINVAL : 0;
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    json_integer_value(value) > max)
		return -EINVAL;
	*out = json_integer_value(value);
	return 0;
}

/* HOST:PORT, where HOST is a name or an address (IPv6 in brackets). */
static bool is_edge(const char *text)
{
	const char *colon = strrchr(text, ':');
	unsigned long port;

	if (!colon || colon == text || text[strspn(text, LETTERS DIGITS "-._:[]")])
		return false;
	if (colon[1] == '\0' || strlen(colon + 1) > 5 || colon[1 + strspn(colon + 1, DIGITS)])
		return false;
	port = strtoul(colon + 1, NULL, 10);
	return port > 0 && port <= 65535;
}

static int take_edges(struct control *c, const json_t *list)
{
	size_t n = json_array_size(list);

	if (list && (!json_is_array(list) || n > CONTROL_EDGES_MAX))
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text || strlen(text) >= sizeof(c->edges[i]) || !is_edge(text))
			return -EINVAL;
		strcpy(c->edges[i], text);
	}
	c->nedges = n;
	return 0;
}

static int take_hostnames(struct control *c, const json_t *list)
{
	size_t n = json_array_size(list);

	if (list && (!json_is_array(list) || n > TUNNEL_HOSTNAMES_MAX))
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text || !*text || strlen(text) >= sizeof(c->hostnames[i]) ||
		    text[strspn(text, LOWER DIGITS "-._*")])
			return -EINVAL;
		strcpy(c->hostnames[i], text);
	}
	c->nhostnames = n;
	return 0;
}

static int take_ports(struct control *c, const json_t *list)
{
	size_t n = json_array_size(list);

	if (list && (!json_is_array(list) || n > TUNNEL_PORTS_MAX))
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		const json_t *port = json_array_get(list, i);

		if (!json_is_integer(port) || json_integer_value(port) < 1 ||
		    json_integer_value(port) > 65535)
			return -EINVAL;
		c->ports[i] = (uint16_t)json_integer_value(port);
	}
	c->nports = n;
	return 0;
}

#define NAME LETTERS DIGITS "-._"

static int take_edge_hello(struct control *c, const json_t *hello)
{
	json_int_t generation = 0;

	c->kind = CONTROL_EDGE_HELLO;
	if (take_text(hello, "edge", true, NAME, c->edge, sizeof(c->edge)) ||
	    take_text(hello, "site", false, NAME, c->site, sizeof(c->site)) ||
	    take_text(hello, "tunnel", true, LOWER DIGITS "-", c->tunnel, sizeof(c->tunnel)) ||
	    take_number(hello, "generation", true, INT64_MAX, &generation) ||
	    take_edges(c, json_object_get(hello, "edges")))
		return -EINVAL;
	c->generation = (uint64_t)generation;
	return 0;
}

static int take_origin_hello(struct control *c, const json_t *hello)
{
	json_int_t connections = 0;

	c->kind = CONTROL_ORIGIN_HELLO;
	if (take_text(hello, "origin", true, NAME, c->origin, sizeof(c->origin)) ||
	    take_number(hello, "connections", false, 100000, &connections) ||
	    take_hostnames(c, json_object_get(hello, "hostnames")) ||
	    take_ports(c, json_object_get(hello, "ports")))
		return -EINVAL;
	c->connections = (unsigned int)connections;
	return 0;
}

static int take_hello(struct control *c, const json_t *hello)
{
	if (!json_is_object(hello) ||
	    take_text(hello, "version", false, NAME "+~", c->version, sizeof(c->version)))
		return -EINVAL;
	return json_object_get(hello, "edge") ? take_edge_hello(c, hello)
					      : take_origin_hello(c, hello);
}

static int take_load(struct control *c, const json_t *load)
{
	const json_t *cpu = json_object_get(load, "cpu");
	json_int_t inflight = 0;

	c->kind = CONTROL_LOAD;
	if (!json_is_object(load) || (cpu && !json_is_number(cpu)) ||
	    take_number(load, "inflight", false, INT_MAX, &inflight))
		return -EINVAL;
	c->cpu = json_number_value(cpu);
	c->inflight = (unsigned int)inflight;
	return isfinite(c->cpu) && c->cpu >= 0 && c->cpu <= 1e6 ? 0 : -EINVAL;
}

static int take(struct control *c, const json_t *root)
{
	const json_t *value;

	if ((value = json_object_get(root, "hello")))
		return take_hello(c, value);
	if ((value = json_object_get(root, "load")))
		return take_load(c, value);
	if ((value = json_object_get(root, "edges"))) {
		c->kind = CONTROL_EDGES;
		return take_edges(c, value);
	}
	if (json_is_true(json_object_get(root, "drain"))) {
		c->kind = CONTROL_DRAIN;
		return 0;
	}
	if (json_is_true(json_object_get(root, "detach"))) {
		c->kind = CONTROL_DETACH;
		c->back = json_is_true(json_object_get(root, "back"));
		return 0;
	}
	return -EINVAL;
}

int control_parse(struct control *out, const char *line, size_t len)
{
	struct control *c;
	json_t *root;
	int err;

	if (len > CONTROL_LINE_MAX)
		return -EINVAL;
	root = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	c = calloc(1, sizeof(*c));
	err = root && c ? take(c, root) : -EINVAL;
	if (!err)
		*out = *c;
	free(c);
	json_decref(root);
	return err;
}

/* ---- writing ---- */

static json_t *edges_json(const struct control *c)
{
	json_t *list = json_array();

	for (size_t i = 0; i < c->nedges; i++)
		json_array_append_new(list, json_string(c->edges[i]));
	return list;
}

static json_t *edge_hello_json(const struct control *c)
{
	return json_pack("{s:{s:s, s:s, s:s, s:s, s:I, s:o}}", "hello", "version", c->version,
			 "edge", c->edge, "site", c->site, "tunnel", c->tunnel, "generation",
			 (json_int_t)c->generation, "edges", edges_json(c));
}

static json_t *origin_hello_json(const struct control *c)
{
	json_t *hostnames = json_array(), *ports = json_array();

	for (size_t i = 0; i < c->nhostnames; i++)
		json_array_append_new(hostnames, json_string(c->hostnames[i]));
	for (size_t i = 0; i < c->nports; i++)
		json_array_append_new(ports, json_integer(c->ports[i]));
	return json_pack("{s:{s:s, s:s, s:o, s:o, s:i}}", "hello", "version", c->version, "origin",
			 c->origin, "hostnames", hostnames, "ports", ports, "connections",
			 (int)c->connections);
}

static json_t *to_json(const struct control *c)
{
	switch (c->kind) {
	case CONTROL_EDGE_HELLO:
		return edge_hello_json(c);
	case CONTROL_ORIGIN_HELLO:
		return origin_hello_json(c);
	case CONTROL_EDGES:
		return json_pack("{s:o}", "edges", edges_json(c));
	case CONTROL_LOAD:
		return json_pack("{s:{s:f, s:i}}", "load", "cpu", c->cpu, "inflight",
				 (int)c->inflight);
	case CONTROL_DRAIN:
		return json_pack("{s:b}", "drain", 1);
	case CONTROL_DETACH:
		return c->back ? json_pack("{s:b, s:b}", "detach", 1, "back", 1)
			       : json_pack("{s:b}", "detach", 1);
	}
	return NULL;
}

char *control_format(const struct control *c)
{
	json_t *root = to_json(c);
	char *text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL, *line;
	size_t n;

	json_decref(root);
	if (!text)
		return NULL;
	n = strlen(text);
	line = realloc(text, n + 2);
	if (!line) {
		free(text);
		return NULL;
	}
	memcpy(line + n, "\n", 2);
	return line;
}

/* ---- lines out of a stream ---- */

/* Keeps the beginning of a line for later. */
static int keep(struct control_reader *r, const char *data, size_t len)
{
	char *line;

	if (len == 0)
		return 0;
	if (r->len + len > CONTROL_LINE_MAX)
		return -EMSGSIZE;
	line = realloc(r->line, r->len + len);
	if (!line)
		return -ENOMEM;
	memcpy(line + r->len, data, len);
	r->line = line;
	r->len += len;
	return 0;
}

/* A line whose beginning was kept. fn may free the reader's owner: it is not touched afterwards
 * when fn fails. */
static int end_kept(struct control_reader *r, const char *data, size_t len,
		    int (*fn)(void *arg, const char *line, size_t len), void *arg)
{
	struct control_reader whole;
	int err = keep(r, data, len);

	if (err)
		return err;
	whole = *r;
	*r = (struct control_reader){ 0 };
	err = fn(arg, whole.line, whole.len);
	control_reader_free(&whole);
	return err;
}

int control_feed(struct control_reader *r, const void *data, size_t len,
		 int (*fn)(void *arg, const char *line, size_t len), void *arg)
{
	const char *p = data, *end = p + len, *stop;
	int err = 0;

	while (!err && p < end && (stop = memchr(p, '\n', (size_t)(end - p)))) {
		size_t n = (size_t)(stop - p);

		if (r->len)
			err = end_kept(r, p, n, fn, arg);
		else
			err = n > CONTROL_LINE_MAX ? -EMSGSIZE : fn(arg, p, n);
		p = stop + 1;
	}
	return err ? err : keep(r, p, (size_t)(end - p));
}

void control_reader_free(struct control_reader *r)
{
	free(r->line);
	*r = (struct control_reader){ 0 };
}

/* ---- lines that wait ---- */

void control_write(struct control_writer *w, const struct control *line)
{
	char *text = control_format(line), *more;
	size_t len = text ? strlen(text) : 0;

	more = len && w->len + len <= CONTROL_WAIT_MAX ? realloc(w->text, w->len + len) : NULL;
	if (more) {
		memcpy(more + w->len, text, len);
		w->text = more;
		w->len += len;
	}
	free(text);
}

void control_written(struct control_writer *w, size_t n)
{
	w->len -= n;
	memmove(w->text, w->text + n, w->len);
}

void control_writer_free(struct control_writer *w)
{
	free(w->text);
	*w = (struct control_writer){ 0 };
}
