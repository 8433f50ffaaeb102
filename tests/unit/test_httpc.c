/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client: TLS with certificates on both sides, time-outs, errors, bodies, what it does
 * not do. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/httpc.h"
#include "lib/httpd.h"

static char folder[80];
static struct httpd *server;
static char base[64];

/* ---- certificates: two authorities that do not know each other, one node of each ---- */

static const char make_certificates[] =
	"cd '%s' && exec 2>/dev/null && for ca in ours theirs; do"
	" openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "
	"/CN=$ca -keyout $ca.key"
	"  -out $ca.pem -addext basicConstraints=critical,CA:TRUE &&"
	" openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=node-$ca "
	"-keyout node-$ca.key"
	"  -out node-$ca.csr &&"
	" printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\\n' >ext &&"
	" openssl x509 -req -in node-$ca.csr -CA $ca.pem -CAkey $ca.key -CAcreateserial -days 2 "
	"-extfile ext"
	"  -out node-$ca.pem || exit 1; done";

static char *path_of(const char *name, char *buf, size_t len)
{
	snprintf(buf, len, "%s/%s", folder, name);
	return buf;
}

static char *contents(const char *name)
{
	char path[160], *text = calloc(1, 16384);
	FILE *f = fopen(path_of(name, path, sizeof(path)), "r");

	assert_non_null(f);
	assert_true(fread(text, 1, 16383, f) > 0);
	fclose(f);
	return text;
}

/* ---- a server over TLS ---- */

static enum http_next whoami(struct http_req *req, void *arg)
{
	(void)arg;
	return http_reply_json(req, 200, json_pack("{s:s?}", "name", http_peer_name(req)));
}

static enum http_next moved(struct http_req *req, void *arg)
{
	(void)arg;
	http_add_header(req, "Location", "/whoami");
	return http_reply(req, 307, NULL, "go", 2);
}

static enum http_next echo_end(struct http_req *req, void *arg)
{
	size_t len;
	const void *body = http_body(req, &len);

	(void)arg;
	return http_reply(req, 200, NULL, body, len);
}

static enum http_next never(struct http_req *req, void *arg)
{
	(void)req, (void)arg;
	return HTTP_LATER;
}

static const struct http_route routes[] = {
	{ .methods = 1u << HTTP_GET, .path = "/whoami", .begin = whoami },
	{ .methods = 1u << HTTP_GET, .path = "/moved", .begin = moved },
	{ .methods = 1u << HTTP_POST, .path = "/echo", .body_max = 1 << 20, .end = echo_end },
	{ .methods = 1u << HTTP_GET, .path = "/never", .begin = never },
	{ .path = NULL },
};

static int start_server(void)
{
	struct httpd_options opt = { .name = "tls", .threads = 2 };
	struct addr_port at;
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	int fd, rc;

	assert_int_equal(addr_port_parse(&at, "127.0.0.1:0"), 0);
	fd = addr_bind(&at, SOCK_STREAM, 64, false, 0);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	snprintf(base, sizeof(base), "https://127.0.0.1:%d", ntohs(in.sin_port));
	opt.tls_cert = contents("node-ours.pem");
	opt.tls_key = contents("node-ours.key");
	opt.tls_client_ca = contents("ours.pem");
	rc = httpd_start(&server, &opt, &fd, 1, routes, NULL);
	free((char *)opt.tls_cert);
	free((char *)opt.tls_key);
	free((char *)opt.tls_client_ca);
	return rc;
}

static int begin(void **state)
{
	char command[2048];

	(void)state;
	unit_folder(folder, sizeof(folder));
	snprintf(command, sizeof(command), make_certificates, folder);
	assert_int_equal(system(command), 0);
	return start_server();
}

static int end(void **state)
{
	(void)state;
	httpd_stop(server, 100);
	unit_folder_remove(folder);
	return 0;
}

/* A client that trusts `ca` and shows the certificate of node-`name` (NULL: none). */
static struct httpc *client_of(const char *ca, const char *name)
{
	char ca_path[160], cert[160], key[160], file[64];
	struct httpc_options opt = { .connect_ms = 1000, .stall_ms = 1000 };
	struct httpc *c;

	snprintf(file, sizeof(file), "%s.pem", ca);
	opt.ca = path_of(file, ca_path, sizeof(ca_path));
	if (name) {
		snprintf(file, sizeof(file), "node-%s.pem", name);
		opt.cert = path_of(file, cert, sizeof(cert));
		snprintf(file, sizeof(file), "node-%s.key", name);
		opt.key = path_of(file, key, sizeof(key));
	}
	assert_int_equal(httpc_new(&c, &opt), 0);
	return c;
}

static int ask(struct httpc *c, const char *target, struct httpc_answer *answer)
{
	char url[256];
	struct httpc_call call = { .url = url };

	snprintf(url, sizeof(url), "%s%s", strchr(target, ':') ? "" : base, target);
	return httpc_do(c, &call, answer);
}

/* ---- tests ---- */

static void both_sides_are_checked(void **state)
{
	struct httpc_answer answer;
	struct httpc *c = client_of("ours", "ours");

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ask(c, "/whoami", &answer), 0);
		assert_string_equal(answer.body, "{\"name\":\"node-ours\"}");
		httpc_answer_free(&answer);
	}
	httpc_free(c);

	c = client_of("theirs", "ours"); /* the server is not of their authority */
	assert_int_equal(ask(c, "/whoami", &answer), -EPROTO);
	assert_true(*answer.error);
	httpc_answer_free(&answer);
	httpc_free(c);
}

static void strangers_are_refused(void **state)
{
	static const char *const names[] = { NULL, "theirs" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct httpc *c = client_of("ours", names[i]);
		struct httpc_answer answer;
		int rc = ask(c, "/whoami", &answer);

		if (rc == 0)
			assert_int_equal(answer.status, 403);
		else /* the handshake itself may fail */
			assert_true(rc == -EPROTO || rc == -ECONNRESET);
		httpc_answer_free(&answer);
		httpc_free(c);
	}
}

static void certificates_are_kept(void **state)
{
	struct httpc *c = client_of("ours", "ours");
	struct httpc_answer answer;
	char from[160], to[160];

	(void)state;
	rename(path_of("node-ours.key", from, sizeof(from)), path_of("gone", to, sizeof(to)));
	assert_int_equal(ask(c, "/whoami", &answer), 0);
	httpc_answer_free(&answer);
	rename(to, from);
	httpc_free(c);
	assert_int_equal(httpc_new(&c, &(struct httpc_options){ .ca = "/nonexistent" }), -ENOENT);
}

static void does_not_follow(void **state)
{
	struct httpc *c = client_of("ours", "ours");
	struct httpc_answer answer;

	(void)state;
	assert_int_equal(ask(c, "/moved", &answer), 0);
	assert_int_equal(answer.status, 307);
	httpc_answer_free(&answer);
	assert_int_equal(ask(c, "file:///etc/passwd", &answer), -EINVAL);
	httpc_answer_free(&answer);
	assert_int_equal(ask(c, "ftp://127.0.0.1/", &answer), -EINVAL);
	httpc_answer_free(&answer);
	httpc_free(c);
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void gives_up(void **state)
{
	struct httpc *c = client_of("ours", "ours");
	struct httpc_answer answer;
	struct httpc_call call = { .timeout_ms = 200 };
	char url[128];
	double start = now_s();

	(void)state;
	assert_int_equal(ask(c, "/never", &answer), -ETIMEDOUT); /* nothing for stall_ms */
	assert_int_equal(answer.status, 0);
	httpc_answer_free(&answer);
	assert_true(now_s() - start < 4);
	start = now_s();
	snprintf(url, sizeof(url), "%s/never", base);
	call.url = url;
	assert_int_equal(httpc_do(c, &call, &answer), -ETIMEDOUT);
	httpc_answer_free(&answer);
	assert_true(now_s() - start < 0.9);
	assert_int_equal(ask(c, "http://127.0.0.1:1/", &answer), -ECONNREFUSED);
	assert_true(*answer.error);
	httpc_answer_free(&answer);
	assert_int_equal(ask(c, "unix:/nonexistent/sock:/x", &answer), -ENOENT);
	httpc_answer_free(&answer);
	assert_int_equal(ask(c, "unix:/no-target", &answer), -EINVAL);
	httpc_answer_free(&answer);
	httpc_free(c);
}

/* ---- callbacks that stop a call ---- */

static int refuse_head(void *arg, const struct httpc_answer *head)
{
	*(long *)arg = head->status;
	return -EPERM;
}

static ssize_t fail_read(void *arg, char *buf, size_t max)
{
	(void)arg, (void)buf, (void)max;
	return -EIO;
}

static void callbacks_abort(void **state)
{
	struct httpc *c = client_of("ours", "ours");
	struct httpc_answer answer;
	char url[128];
	long status = 0;
	struct httpc_call call = { .url = url, .on_head = refuse_head, .arg = &status };

	(void)state;
	snprintf(url, sizeof(url), "%s/whoami", base);
	assert_int_equal(httpc_do(c, &call, &answer), -ECANCELED);
	assert_int_equal(status, 200);
	httpc_answer_free(&answer);
	snprintf(url, sizeof(url), "%s/echo", base);
	call = (struct httpc_call){
		.url = url, .method = "POST", .read = fail_read, .read_len = 10
	};
	assert_int_equal(httpc_do(c, &call, &answer), -ECANCELED);
	httpc_answer_free(&answer);
	httpc_free(c);
}

static void *many_calls(void *arg)
{
	char url[128], body[2000];
	struct httpc_call call = {
		.url = url, .method = "POST", .body = body, .body_len = sizeof(body)
	};

	snprintf(url, sizeof(url), "%s/echo", base);
	memset(body, 'm', sizeof(body));
	for (int i = 0; i < 30; i++) {
		struct httpc_answer answer;

		assert_int_equal(httpc_do(arg, &call, &answer), 0);
		assert_int_equal(answer.len, sizeof(body));
		assert_memory_equal(answer.body, body, sizeof(body));
		httpc_answer_free(&answer);
	}
	return NULL;
}

static void one_client_many_threads(void **state)
{
	struct httpc *c = client_of("ours", "ours");
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, many_calls, c), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	httpc_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_sides_are_checked),
		cmocka_unit_test(strangers_are_refused),
		cmocka_unit_test(certificates_are_kept),
		cmocka_unit_test(does_not_follow),
		cmocka_unit_test(gives_up),
		cmocka_unit_test(callbacks_abort),
		cmocka_unit_test(one_client_many_threads),
	};

	if (system("command -v openssl >/dev/null")) {
		puts("skip: openssl makes the certificates of this test and is not installed");
		return 77;
	}
	return cmocka_run_group_tests(tests, begin, end);
}
