/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_cluster.h -- a small installation for tests: one real weir-registry and nodes as child
 * processes that can be killed, stopped and cut off. Everything of a node goes through a relay (its
 * inside listener as the others see it, and its way to the registry), so that a cut is a closed
 * connection.
 *
 * The data of a version is an empty file DIR/data/VERSION: forget() removes it, fetch() makes it
 * when a holder has it.
 */
#ifndef WEIR_TESTS_NAMES_CLUSTER_H
#define WEIR_TESTS_NAMES_CLUSTER_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "http/store/names_int.h"
#include "lib/hash.h"
#include "tests/unit/relay.h"
#include "tests/unit/unit.h"

#define NODES_MAX 4
#define LEASE_S	  2

static int64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void rest_ms(int ms)
{
	poll(NULL, 0, ms);
}

/* ---- a node: what the child process runs ---- */
struct child {
	char name[16], dir[128], top[64];
	struct registry *registry;
	struct httpc *httpc;
	struct reg_lease *lease;
	struct names *names;
	struct httpd *inside, *control;
};

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

struct gather {
	json_t *list;
};

static int gather_entry(void *arg, const char *bucket, const struct name_entry *e)
{
	json_t *o = names_entry_encode(e);

	json_object_set_new(o, "bucket", json_string(bucket));
	return json_array_append_new(arg, o);
}

static const char *text_of(const json_t *o, const char *member)
{
	return json_string_value(json_object_get(o, member));
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
	bool more = false;
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
		rc = names_list(c->names, text_of(q, "bucket"), text_of(q, "prefix"),
				text_of(q, "after"),
				(unsigned int)json_integer_value(json_object_get(q, "limit")),
				gather_entry, list, &more);
		json_object_set_new(a, "more", json_boolean(more));
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

/* Opens a node in this process; says the ports of its listeners, before anybody is told of it, by
 * `ready`. port: where the others reach its inside listener, 0: itself. */
static void child_open(struct child *c, const char *name, const char *site, const char *top,
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

static void child_close(struct child *c)
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

/* argv: node NAME SITE TOP REGISTRY INSIDE. Serves until standard input ends; says its ports on
 * standard output. */
static inline int child_main(char **argv)
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

/* ---- the installation ---- */
struct cluster_node {
	char name[16], site[8];
	struct relay inside, registry;
	pid_t pid;	     /* 0: not running */
	int in;		     /* its standard input */
	_Atomic int control; /* its port */
};

struct cluster {
	char top[64], self[512], socket[128];
	pid_t registry;
	unsigned int n;
	struct cluster_node nodes[NODES_MAX];
	struct httpc *httpc;
};

static void wait_for_socket(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int64_t until = clock_ms() + 10000;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0),
		    rc = connect(fd, (struct sockaddr *)&un, sizeof(un));

		close(fd);
		if (!rc)
			return;
		assert_true(clock_ms() < until);
		rest_ms(10);
	}
}

static void registry_start(struct cluster *c)
{
	char conf[160], bin[600], *slash;
	FILE *f;

	snprintf(conf, sizeof(conf), "%s/registry.yaml", c->top);
	f = fopen(conf, "w");
	fprintf(f,
		"node: reg\nsite: t\nuser: \"%d\"\nstate: %s/state\nrun: %s/run\nlog: "
		"error\nregistry_server: {listen: [\"unix:%s\"]}\n",
		(int)geteuid(), c->top, c->top, c->socket);
	fclose(f);
	snprintf(bin, sizeof(bin), "%s", c->self);
	slash = strrchr(bin, '/');
	strcpy(slash, "/../bin/weir-registry");
	if (access(bin, X_OK)) {
		printf("1..0 # SKIP weir-registry is not built (%s)\n", bin);
		exit(77);
	}
	c->registry = fork();
	if (!c->registry) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(bin, bin, "-c", conf, (char *)NULL);
		_exit(127);
	}
	wait_for_socket(c->socket);
}

static void node_start(struct cluster *c, unsigned int i)
{
	struct cluster_node *n = &c->nodes[i];
	char url[160], port[8], said[64] = "";
	int in[2], out[2], inside, control;
	size_t len = 0;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	snprintf(url, sizeof(url), "unix:%s", n->registry.path);
	snprintf(port, sizeof(port), "%d", n->inside.port);
	n->pid = fork();
	if (!n->pid) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execl(c->self, c->self, "node", n->name, n->site, c->top, url, port, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	n->in = in[1];
	while (!strchr(said, '\n')) {
		ssize_t got = read(out[0], said + len, sizeof(said) - 1 - len);

		assert_true(got > 0);
		len += (size_t)got;
	}
	close(out[0]);
	assert_int_equal(sscanf(said, "%d %d", &inside, &control), 2);
	n->inside.to_port = inside;
	n->control = control;
}

static inline void node_kill(struct cluster *c, unsigned int i)
{
	struct cluster_node *n = &c->nodes[i];

	n->control = 0;
	n->inside.to_port = 0;
	kill(n->pid, SIGKILL);
	waitpid(n->pid, NULL, 0);
	close(n->in);
	n->pid = 0;
}

/* Ends it in good order; its exit code. */
static int node_end(struct cluster *c, unsigned int i)
{
	struct cluster_node *n = &c->nodes[i];
	int status;

	n->control = 0;
	close(n->in);
	waitpid(n->pid, &status, 0);
	n->pid = 0;
	n->inside.to_port = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* Sites a b a b. */
static void cluster_start(struct cluster *c, unsigned int n)
{
	struct httpc_options ho = { .connect_ms = 1000, .stall_ms = 20000 };
	ssize_t len;

	memset(c, 0, sizeof(*c));
	signal(SIGPIPE, SIG_IGN);
	len = readlink("/proc/self/exe", c->self, sizeof(c->self) - 1);
	assert_true(len > 0);
	unit_folder(c->top, sizeof(c->top));
	snprintf(c->socket, sizeof(c->socket), "%s/registry.sock", c->top);
	registry_start(c);
	assert_int_equal(httpc_new(&c->httpc, &ho), 0);
	c->n = n;
	for (unsigned int i = 0; i < n; i++) {
		struct cluster_node *node = &c->nodes[i];
		char path[128];

		snprintf(node->name, sizeof(node->name), "ep-%u", i);
		strcpy(node->site, i % 2 ? "b" : "a");
		snprintf(path, sizeof(path), "%s/reg-%u.sock", c->top, i);
		memcpy(node->registry.to_path, c->socket, sizeof(c->socket));
		relay_start(&node->registry, path);
		relay_start(&node->inside, NULL);
		node_start(c, i);
	}
}

static void cluster_end(struct cluster *c)
{
	for (unsigned int i = 0; i < c->n; i++)
		if (c->nodes[i].pid)
			assert_int_equal(node_end(c, i), 0);
	for (unsigned int i = 0; i < c->n; i++) {
		shutdown(c->nodes[i].inside.listener, SHUT_RDWR);
		shutdown(c->nodes[i].registry.listener, SHUT_RDWR);
	}
	httpc_free(c->httpc);
	if (c->registry) {
		kill(c->registry, SIGKILL);
		waitpid(c->registry, NULL, 0);
	}
	unit_folder_remove(c->top);
}

/* Asks a node (takes q). The result of the call there, -ENOTCONN when the node does not answer;
 * *answer may be NULL. */
static int ask(struct cluster *c, unsigned int i, const char *what, json_t *q, json_t **answer)
{
	struct httpc_call call = { .method = "POST", .body_max = 16u << 20, .timeout_ms = 25000 };
	struct httpc_answer a = { 0 };
	char url[64], *text = json_dumps(q, JSON_COMPACT);
	int rc = -ENOTCONN;
	json_t *o;

	json_decref(q);
	if (answer)
		*answer = NULL;
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/t/%s", c->nodes[i].control, what);
	call.url = url;
	call.body = text;
	call.body_len = strlen(text);
	if (c->nodes[i].control && !httpc_do(c->httpc, &call, &a) && a.status == 200) {
		o = json_loadb(a.body, a.len, 0, NULL);
		rc = (int)json_integer_value(json_object_get(o, "rc"));
		if (rc && getenv("NAMES_LOG"))
			fprintf(stderr, "%s at ep-%u: %d %s\n", what, i, rc, text_of(o, "why"));
		if (answer)
			*answer = o;
		else
			json_decref(o);
	}
	httpc_answer_free(&a);
	free(text);
	return rc;
}

static void new_version(char out[33])
{
	uint8_t bytes[16];

	random_bytes(bytes, sizeof(bytes));
	hex_encode(bytes, 16, out);
}

/* The file that stands for the data. */
static inline bool data_at(struct cluster *c, unsigned int i, const char *version)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s/data/%s", c->top, c->nodes[i].name, version);
	return access(path, F_OK) == 0;
}

static inline void data_make(struct cluster *c, unsigned int i, const char *version)
{

	char path[256];

	snprintf(path, sizeof(path), "%s/%s/data/%s", c->top, c->nodes[i].name, version);
	close(open(path, O_CREAT | O_WRONLY, 0600));
}

static inline int put(struct cluster *c, unsigned int i, const char *bucket, const char *key,
		      const char *version)
{
	return ask(c, i, "put",
		   json_pack("{s:s s:s s:s s:[] s:[]}", "bucket", bucket, "key", key, "version",
			     version, "holders", "ideal"),
		   NULL);
}

static inline int get(struct cluster *c, unsigned int i, const char *bucket, const char *key,
		      char version[33])
{
	json_t *a;
	int rc = ask(c, i, "get", json_pack("{s:s s:s}", "bucket", bucket, "key", key), &a);

	if (!rc)
		snprintf(version, 33, "%s", text_of(json_object_get(a, "entry"), "version"));
	json_decref(a);
	return rc;
}

static inline int del(struct cluster *c, unsigned int i, const char *bucket, const char *key)
{
	return ask(c, i, "delete", json_pack("{s:s s:s}", "bucket", bucket, "key", key), NULL);
}

/* Is everything of the bucket the same at both nodes? */
static inline bool copies_same(struct cluster *c, unsigned int i, unsigned int k,
			       const char *bucket)
{
	json_t *a, *b;
	bool same;

	same = !ask(c, i, "dump", json_pack("{s:s}", "bucket", bucket), &a) &&
	       !ask(c, k, "dump", json_pack("{s:s}", "bucket", bucket), &b);
	if (!same)
		return false;
	same = json_equal(json_object_get(a, "entries"), json_object_get(b, "entries"));
	json_decref(a);
	json_decref(b);
	return same;
}

/* A bucket's line in the status of node i: a new reference or NULL. */
static json_t *bucket_line(struct cluster *c, unsigned int i, const char *bucket)
{
	json_t *a, *line, *found = NULL;
	size_t k;

	ask(c, i, "status", json_object(), &a);
	json_array_foreach (json_object_get(json_object_get(a, "status"), "buckets"), k, line)
		if (!strcmp(text_of(line, "name"), bucket))
			found = json_incref(line);
	json_decref(a);
	return found;
}

/* The number of the node in a role as node i sees it, -1. */
static inline int role_of(struct cluster *c, unsigned int i, const char *bucket, const char *role)
{
	json_t *line = bucket_line(c, i, bucket);
	const char *node = text_of(line, role);
	int number = node ? node[3] - '0' : -1;

	json_decref(line);
	return number;
}

static inline uint64_t outbox_of(struct cluster *c, unsigned int i)
{
	json_t *a;
	uint64_t n;

	if (ask(c, i, "status", json_object(), &a))
		return UINT64_MAX;
	n = (uint64_t)json_integer_value(json_object_get(json_object_get(a, "status"), "outbox"));
	json_decref(a);
	return n;
}

/* Waits until the expression is true; fails after so many seconds. */
#define wait_until(seconds, expression)                                                            \
	do {                                                                                       \
		int64_t until_ = clock_ms() + (seconds)*1000;                                      \
		while (!(expression)) {                                                            \
			if (clock_ms() > until_)                                                   \
				fail_msg("not within %d s: %s", (seconds), #expression);           \
			rest_ms(20);                                                               \
		}                                                                                  \
	} while (0)

#endif
