/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_cluster.c -- starts and ends the processes, and asks the nodes.
 */
#include "tests/unit/names_cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

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

void registry_start(struct cluster *c)
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

void node_start(struct cluster *c, unsigned int i)
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

void node_kill(struct cluster *c, unsigned int i)
{
	struct cluster_node *n = &c->nodes[i];

	n->control = 0;
	n->inside.to_port = 0;
	kill(n->pid, SIGKILL);
	waitpid(n->pid, NULL, 0);
	close(n->in);
	n->pid = 0;
}

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

void cluster_start(struct cluster *c, unsigned int n)
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

void cluster_end(struct cluster *c)
{
	for (unsigned int i = 0; i < c->n; i++)
		if (c->nodes[i].pid)
			assert_int_equal(node_end(c, i), 0);
	for (unsigned int i = 0; i < c->n; i++) {
		relay_end(&c->nodes[i].inside);
		relay_end(&c->nodes[i].registry);
	}
	httpc_free(c->httpc);
	if (c->registry) {
		kill(c->registry, SIGKILL);
		waitpid(c->registry, NULL, 0);
	}
	unit_folder_remove(c->top);
}

void cluster_start_lone(struct cluster *c, struct child *node)
{
	char url[160];

	cluster_start(c, 0);
	snprintf(url, sizeof(url), "unix:%s", c->socket);
	child_open(node, "ep-0", "a", c->top, url, 0, NULL);
}

void cluster_end_lone(struct cluster *c, struct child *node)
{
	child_close(node);
	cluster_end(c);
}

int ask(struct cluster *c, unsigned int i, const char *what, json_t *q, json_t **answer)
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

bool data_at(struct cluster *c, unsigned int i, const char *version)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s/data/%s", c->top, c->nodes[i].name, version);
	return access(path, F_OK) == 0;
}

void data_make(struct cluster *c, unsigned int i, const char *version)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s/data/%s", c->top, c->nodes[i].name, version);
	close(open(path, O_CREAT | O_WRONLY, 0600));
}

int put(struct cluster *c, unsigned int i, const char *bucket, const char *key, const char *version)
{
	return ask(c, i, "put",
		   json_pack("{s:s s:s s:s s:[] s:[]}", "bucket", bucket, "key", key, "version",
			     version, "holders", "ideal"),
		   NULL);
}

int get(struct cluster *c, unsigned int i, const char *bucket, const char *key, char version[33])
{
	json_t *a;
	int rc = ask(c, i, "get", json_pack("{s:s s:s}", "bucket", bucket, "key", key), &a);

	if (!rc)
		snprintf(version, 33, "%s", text_of(json_object_get(a, "entry"), "version"));
	json_decref(a);
	return rc;
}

int del(struct cluster *c, unsigned int i, const char *bucket, const char *key)
{
	return ask(c, i, "delete", json_pack("{s:s s:s}", "bucket", bucket, "key", key), NULL);
}

bool copies_same(struct cluster *c, unsigned int i, unsigned int k, const char *bucket)
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

int role_of(struct cluster *c, unsigned int i, const char *bucket, const char *role)
{
	json_t *line = bucket_line(c, i, bucket);
	const char *node = text_of(line, role);
	int number = node ? node[3] - '0' : -1;

	json_decref(line);
	return number;
}

uint64_t outbox_of(struct cluster *c, unsigned int i)
{
	json_t *a;
	uint64_t n;

	if (ask(c, i, "status", json_object(), &a))
		return UINT64_MAX;
	n = (uint64_t)json_integer_value(json_object_get(json_object_get(a, "status"), "outbox"));
	json_decref(a);
	return n;
}
