/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_node.c -- a node's shell in tests: names, a registry's client, a lease, a listener for
 * other nodes, and one for the test, which has every call of names done by POST /t/CALL.
 */
#include "tests/unit/names_node.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/hash.h"

int64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void rest_ms(int ms)
{
	poll(NULL, 0, ms);
}

void new_version(char out[33])
{
	uint8_t bytes[16];

	random_bytes(bytes, sizeof(bytes));
	hex_encode(bytes, 16, out);
}

const char *text_of(const json_t *o, const char *member)
{
	return json_string_value(json_object_get(o, member));
}

/* A group: all that begin like it. */
static int child_forget(void *arg, const char *version)
{
	size_t same = names_is_group(version) ? 24 : 32;
	struct child *c = arg;
	char path[256];
	struct dirent *d;
	DIR *dir;
	int rc = 0;

	snprintf(path, sizeof(path), "%s/data", c->dir);
	dir = opendir(path);
	while (dir && !rc && (d = readdir(dir)))
		if (!strncmp(d->d_name, version, same))
			rc = unlinkat(dirfd(dir), d->d_name, 0) && errno != ENOENT ? -errno : 0;
	if (dir)
		closedir(dir);
	return dir ? rc : -errno;
}

static int child_fetch(void *arg, const char *bucket, const struct name_entry *e)
{
	struct child *c = arg;
	char path[256];
	int fd;

	(void)bucket;
	for (unsigned int i = 0; i < e->nholders; i++) {
		snprintf(path, sizeof(path), "%s/%s/data/%s", c->top, e->holders[i], e->version);
		if (access(path, F_OK))
			continue;
		snprintf(path, sizeof(path), "%s/data/%s", c->dir, e->version);
		if (!access(path, F_OK))
			return 1;
		fd = open(path, O_CREAT | O_WRONLY, 0600);
		close(fd);
		return fd < 0 ? -EIO : 0;
	}
	return -ENOENT;
}

static enum http_next child_inside(struct http_req *req, void *arg)
{
	return names_http(((struct child *)arg)->names, req);
}

static int gather_entry(void *arg, const char *bucket, const struct name_entry *e)
{
	json_t *o = names_entry_encode(e);

	json_object_set_new(o, "bucket", json_string(bucket));
	return json_array_append_new(arg, o);
}

/* What a caller gives: key, version, holders, meta. */
static void child_entry(struct name_entry *e, const json_t *q)
{
	const json_t *v;
	size_t i;

	memset(e, 0, sizeof(*e));
	e->size = 5;
	snprintf(e->key, sizeof(e->key), "%s", text_of(q, "key"));
	if (text_of(q, "version")) {
		snprintf(e->version, sizeof(e->version), "%s", text_of(q, "version"));
		sha256_once(e->version, 32, e->sha256);
	}
	if (text_of(q, "meta"))
		e->meta_len =
			(unsigned int)snprintf(e->meta, sizeof(e->meta), "%s", text_of(q, "meta"));
	json_array_foreach (json_object_get(q, "holders"), i, v)
		strcpy(e->holders[e->nholders++], json_string_value(v));
}

static unsigned int number_of(const json_t *q, const char *member)
{
	return (unsigned int)json_integer_value(json_object_get(q, member));
}

static int child_complete(struct child *c, const json_t *q, const struct names_how *how,
			  struct name_entry *e, bool *replaced)
{
	struct names_part list[64];
	const json_t *v;
	size_t n = 0, i;

	json_array_foreach (json_object_get(q, "parts"), i, v)
		list[n++] = (struct names_part){ .number = (unsigned int)json_integer_value(v) };
	return names_upload_complete(c->names, text_of(q, "bucket"), text_of(q, "key"),
				     text_of(q, "id"), list, n, 0, e, how, replaced);
}

/* Writes: 1 when it is none. */
static int child_write(struct child *c, const char *what, const json_t *q, json_t *a)
{
	const char *ideal[NAMES_HOLDERS_MAX], *bucket = text_of(q, "bucket");
	struct names_how how = { .mode = (enum names_mode)number_of(q, "mode"),
				 .if_match = text_of(q, "if_match"),
				 .if_none_match = text_of(q, "if_none_match"),
				 .ideal = ideal };
	struct name_entry e;
	const json_t *v;
	bool replaced = false;
	size_t i;
	int rc = 1;

	if (!text_of(q, "key"))
		return 1;
	child_entry(&e, q);
	json_array_foreach (json_object_get(q, "ideal"), i, v)
		ideal[how.nideal++] = json_string_value(v);
	if (!strcmp(what, "put"))
		rc = names_put_with(c->names, bucket, &e, &how, &replaced);
	else if (!strcmp(what, "delete"))
		rc = names_delete_with(c->names, bucket, e.key, text_of(q, "version"), &how, NULL);
	else if (!strcmp(what, "meta"))
		rc = names_set_meta(c->names, bucket, e.key, text_of(q, "version"), 0, e.meta,
				    NULL);
	else if (!strcmp(what, "upload"))
		rc = names_upload_create(c->names, bucket, &e);
	else if (!strcmp(what, "part"))
		rc = names_part_put(c->names, bucket, e.key, text_of(q, "id"),
				    number_of(q, "number"), &e, &how);
	else if (!strcmp(what, "complete"))
		rc = child_complete(c, q, &how, &e, &replaced);
	else if (!strcmp(what, "abort"))
		rc = names_upload_abort(c->names, bucket, e.key, text_of(q, "id"));
	json_object_set_new(a, "replaced", json_boolean(replaced));
	if (!strcmp(what, "upload"))
		json_object_set_new(a, "id", json_string(e.version));
	return rc;
}

/* Everything of a bucket in this node's copy. */
struct dump {
	const char *bucket;
	json_t *list;
};

static int dump_txn(struct names_txn *t, void *arg)
{
	struct dump *d = arg;
	struct names_meta m;
	int rc = names_meta_get(t, d->bucket, &m);

	for (int space = NAMES_OBJECTS; space <= NAMES_PARTS && !rc; space++) {
		struct names_scan o = { .space = (enum names_space)space,
					.versions = true,
					.select = { .limit = 100000, .meta = true },
					.fn = gather_entry,
					.arg = d->list };
		struct names_page page;

		rc = names_scan(t, m.id, d->bucket, &o, &page);
	}
	if (!rc)
		json_array_append_new(d->list,
				      json_pack("[I I I I I I I]", (json_int_t)m.seq,
						(json_int_t)m.objects, (json_int_t)m.bytes,
						(json_int_t)m.markers, (json_int_t)m.uploads,
						(json_int_t)m.parts, (json_int_t)m.tasks));
	return rc;
}

static int child_do(struct child *c, const char *what, const json_t *q, json_t *a)
{
	json_t *list = json_array();
	struct dump d = { text_of(q, "bucket"), list };
	struct name_entry e;
	uint8_t sha[32];
	struct names_page page = { .more = false };
	int rc;

	json_object_set_new(a, "entries", list);
	if (!strcmp(what, "dump"))
		return names_db_read(c->names->db, dump_txn, &d);
	if (!strcmp(what, "get")) {
		rc = names_get(c->names, text_of(q, "bucket"), text_of(q, "key"), &e);
		if (!rc)
			json_object_set_new(a, "entry", names_entry_encode(&e));
		return rc;
	}
	if (!strcmp(what, "upload_get"))
		return names_upload_get(c->names, text_of(q, "bucket"), text_of(q, "key"),
					text_of(q, "id"), &e);
	rc = child_write(c, what, q, a);
	if (rc <= 0)
		return rc;
	if (!strcmp(what, "list")) {
		struct names_select s = { .prefix = text_of(q, "prefix"),
					  .after = text_of(q, "after"),
					  .limit = number_of(q, "limit"),
					  .meta = true };

		rc = names_list_with(c->names, text_of(q, "bucket"), &s, gather_entry, NULL, list,
				     &page);
		json_object_set_new(a, "more", json_boolean(page.more));
		return rc;
	}
	if (!strcmp(what, "hash")) {
		sha256_once(text_of(q, "version"), 32, sha);
		return names_by_hash_all(c->names, sha, gather_entry, list);
	}
	if (!strcmp(what, "each"))
		return names_each(c->names, gather_entry, list);
	json_object_set_new(a, "status", names_status(c->names));
	return 0;
}

static void child_work(struct http_req *req, void *arg)
{
	json_t *a = json_object(), *q;
	size_t len;
	const void *body = http_body(req, &len);
	int rc;

	q = json_loadb(body, len, 0, NULL);
	rc = child_do(arg, http_param(req, "do"), q, a);
	json_object_set_new(a, "rc", json_integer(rc));
	json_object_set_new(a, "why", json_string(rc ? names_error() : ""));
	http_reply_json(req, 200, a);
	json_decref(q);
}

static enum http_next child_control(struct http_req *req, void *arg)
{
	return http_work(req, child_work, arg);
}

static const struct http_route inside_routes[] = {
	{ 1u << HTTP_POST, NAMES_ROUTE, NAMES_BODY_MAX, NULL, NULL, child_inside, NULL, NULL },
	{ .path = NULL },
};
static const struct http_route control_routes[] = {
	{ 1u << HTTP_POST, "/t/:do", 65536, NULL, NULL, child_control, NULL, NULL },
	{ .path = NULL },
};

static int child_listen(struct httpd **out, const struct http_route *routes, unsigned int workers,
			struct child *c)
{
	struct httpd_options o = { .name = "test", .threads = 2, .workers = workers };
	struct addr_port at;
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	int fd;

	assert_int_equal(addr_port_parse(&at, "127.0.0.1:0"), 0);
	fd = addr_bind(&at, SOCK_STREAM, 128, false, 0);
	assert_true(fd >= 0);
	getsockname(fd, (struct sockaddr *)&sin, &len);
	assert_int_equal(httpd_start(out, &o, &fd, 1, routes, c), 0);
	return ntohs(sin.sin_port);
}

void child_open(struct child *c, const char *name, const char *site, const char *top,
		const char *url, int port, void (*ready)(int inside, int control))
{
	struct conf_registry reg = { .url = (char *)url, .timeout_us = 1000000 };
	struct httpc_options ho = { .connect_ms = 1000, .stall_ms = 4000 };
	struct names_options o = { .node = name,
				   .site = site,
				   .domain = name,
				   .forget = child_forget,
				   .fetch = child_fetch,
				   .arg = c };
	char dir[160], key[64], value[256];
	int inside, control;

	memset(c, 0, sizeof(*c));
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->top, sizeof(c->top), "%s", top);
	snprintf(c->dir, sizeof(c->dir), "%s/%s", top, name);
	mkdir(c->dir, 0700);
	snprintf(dir, sizeof(dir), "%s/data", c->dir);
	mkdir(dir, 0700);
	snprintf(dir, sizeof(dir), "%s/names", c->dir);
	assert_int_equal(registry_open(&c->registry, &reg), 0);
	assert_int_equal(httpc_new(&c->httpc, &ho), 0);
	o.dir = dir;
	o.registry = c->registry;
	o.httpc = c->httpc;
	assert_int_equal(names_open(&c->names, &o), 0);
	inside = child_listen(&c->inside, inside_routes, 4, c);
	control = child_listen(&c->control, control_routes, 24, c);
	snprintf(value, sizeof(value),
		 "{\"node\":\"%s\",\"site\":\"%s\",\"domain\":\"%s\",\"url\":\"\",\"inside\":\"127."
		 "0.0.1:%d\"}",
		 c->name, site, c->name, port ? port : inside);
	if (ready)
		ready(inside, control);
	snprintf(key, sizeof(key), REG_ENDPOINTS "%s", c->name);
	registry_put(c->registry, key, value, 0);
	registry_lease(c->registry, &c->lease, LEASE_S, NULL, NULL);
	snprintf(key, sizeof(key), REG_MEMBERS "endpoint/%s", c->name);
	registry_lease_put(c->lease, key, value);
	names_set_lease(c->names, c->lease);
}

void child_close(struct child *c)
{
	names_stop(c->names);
	httpd_stop(c->control, 1000);
	httpd_stop(c->inside, 1000);
	names_close(c->names);
	registry_lease_end(c->lease, true);
	registry_close(c->registry);
	httpc_free(c->httpc);
}

/* The relay must know the port before anybody is told of the node. */
static void child_ready(int inside, int control)
{
	printf("%d %d\n", inside, control);
	fflush(stdout);
}

int child_main(char **argv)
{
	struct child c;
	char text[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	log_open(argv[2], getenv("NAMES_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	child_open(&c, argv[2], argv[3], argv[4], argv[5], atoi(argv[6]), child_ready);
	while (read(0, text, sizeof(text)) > 0)
		;
	child_close(&c);
	return 0;
}
