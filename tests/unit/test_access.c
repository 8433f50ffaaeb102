/* SPDX-License-Identifier: Apache-2.0 */
/* Requests against the rights: 401, 403 and 200 for headers, keys, redirect tokens and public
 * buckets; who listens where. */
#include "tests/unit/registry_here.h"

#include <curl/curl.h>

#include "lib/access.h"
#include "lib/user_edit.h"

static struct registry_here here;
static struct users *users;
static struct httpd *server;
static char url[64], key_pair[128];

static enum http_next object(struct http_req *req, void *arg)
{
	struct token_scope who;

	(void)arg;
	if (!access_check(req, users, http_method(req) == HTTP_PUT ? RIGHT_WRITE : RIGHT_READ,
			  http_param(req, "bucket"), http_param(req, "key"), &who))
		return HTTP_ANSWERED;
	return http_reply(req, 200, "text/plain", who.user, strlen(who.user));
}

static enum http_next everything(struct http_req *req, void *arg)
{
	struct token_scope who;

	(void)arg;
	if (!access_check(req, users, RIGHT_LIST, NULL, NULL, &who))
		return HTTP_ANSWERED;
	return http_reply(req, 200, "text/plain", "", 0);
}

/* Changes something: needs the word when identity comes by cookie. */
static enum http_next change(struct http_req *req, void *arg)
{
	struct token_scope who;

	(void)arg;
	if (!access_who(req, users, &who))
		return HTTP_ANSWERED;
	return http_reply(req, 200, "text/plain", who.user, strlen(who.user));
}

static enum http_next form(struct http_req *req, void *arg)
{
	struct token_scope who;

	(void)arg;
	if (!access_who_form(req, users, &who))
		return HTTP_ANSWERED;
	if (access_is_cookie(req) && !access_csrf_matches(users, &who, http_query(req, "csrf")))
		return http_reply_error(req, 403, "csrf", "the field csrf is wrong");
	return http_reply(req, 200, "text/plain", who.user, strlen(who.user));
}

static const struct http_route routes[] = {
	{ .methods = 1u << HTTP_GET, .path = "/b/:bucket/*key", .begin = object },
	{ .methods = 1u << HTTP_GET, .path = "/all", .begin = everything },
	{ .methods = 1u << HTTP_POST | 1u << HTTP_DELETE | 1u << HTTP_PUT, .path = "/change", .body_max = 10, .end = change },
	{ .methods = 1u << HTTP_POST, .path = "/form", .body_max = 10, .end = form },
	{ .path = NULL },
};

static int setup(void **state)
{
	struct httpd_options options = { .name = "test", .threads = 1 };
	struct user_grant grant = { "data", "", "rl" };
	struct user_key key;
	struct addr_port ap;
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	int fd;

	(void)state;
	registry_here_start(&here);
	assert_int_equal(users_open(&users, here.reg, NULL, NULL), 0);
	assert_int_equal(user_add(here.reg, "ann", &grant, &key), 0);
	snprintf(key_pair, sizeof(key_pair), "%s:%s", key.id, key.secret);
	assert_int_equal(
		registry_put(here.reg, REG_BUCKETS "pub", "{\"name\":\"pub\",\"public\":true}", 0),
		0);
	eventually(users_count(users) == 1 && users_bucket_public(users, "pub"));
	assert_int_equal(addr_port_parse(&ap, "127.0.0.1:1"), 0);
	ap.port = 0;
	assert_int_equal(access_bind(&ap, 1, geteuid(), &fd), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	assert_int_equal(access_listen_local(&ap, 1, &fd), 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", ntohs(in.sin_port));
	assert_int_equal(httpd_start(&server, &options, &fd, 1, routes, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	httpd_stop(server, 100);
	users_close(users);
	registry_here_stop(&here);
	return 0;
}

struct asked {
	char headers[2048], body[1024];
	size_t headers_len, body_len;
};

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct asked *a = arg;

	if (a->headers_len + size * n < sizeof(a->headers)) {
		memcpy(a->headers + a->headers_len, data, size * n);
		a->headers_len += size * n;
	}
	return size * n;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct asked *a = arg;

	if (a->body_len + size * n < sizeof(a->body)) {
		memcpy(a->body + a->body_len, data, size * n);
		a->body_len += size * n;
	}
	return size * n;
}

/* The status; header and second may be NULL. */
static long ask(const char *method, const char *path, const char *header, const char *second, const char *third,
		const char *userpwd, struct asked *a)
{
	struct curl_slist *list = header ? curl_slist_append(NULL, header) : NULL;
	CURL *h = curl_easy_init();
	char target[TOKEN_MAX + 256];
	long status = 0;

	memset(a, 0, sizeof(*a));
	if (second)
		list = curl_slist_append(list, second);
	if (third)
		list = curl_slist_append(list, third);
	if (strcmp(method, "GET")) {
		curl_easy_setopt(h, CURLOPT_POSTFIELDS, "");
		curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
	}
	snprintf(target, sizeof(target), "%s%s", url, path);
	curl_easy_setopt(h, CURLOPT_URL, target);
	curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(h, CURLOPT_HTTPHEADER, list);
	curl_easy_setopt(h, CURLOPT_TIMEOUT, 5L);
	if (userpwd)
		curl_easy_setopt(h, CURLOPT_USERPWD, userpwd);
	curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(h, CURLOPT_HEADERDATA, a);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, a);
	assert_int_equal(curl_easy_perform(h), 0);
	curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(h);
	curl_slist_free_all(list);
	return status;
}

static long get(const char *path, const char *header, const char *second, const char *userpwd, struct asked *a)
{
	return ask("GET", path, header, second, NULL, userpwd, a);
}

static void test_nobody(void **state)
{
	struct asked a;

	(void)state;
	assert_int_equal(get("/b/data/k", NULL, NULL, NULL, &a), 401);
	assert_non_null(strcasestr(a.headers, "WWW-Authenticate: "));
	assert_non_null(strstr(a.body, "\"message\""));
	assert_int_equal(get("/all", NULL, NULL, NULL, &a), 401);
	assert_int_equal(get("/b/pub/k", NULL, NULL, NULL, &a), 200);
	assert_string_equal(a.body, "");
}

static void test_key(void **state)
{
	struct asked a;

	(void)state;
	assert_int_equal(get("/b/data/k", NULL, NULL, key_pair, &a), 200);
	assert_string_equal(a.body, "ann");
	assert_int_equal(get("/b/other/k", NULL, NULL, key_pair, &a), 403);
	assert_int_equal(get("/all", NULL, NULL, key_pair, &a), 403);
	assert_int_equal(get("/b/data/k", NULL, NULL, "ann:wrong", &a), 401);
	/* wrong credentials are not nobody's */
	assert_int_equal(get("/b/pub/k", NULL, NULL, "ann:wrong", &a), 401);
	assert_int_equal(get("/b/pub/k", NULL, NULL, key_pair, &a), 200);
}

static void test_token(void **state)
{
	struct token_scope s = { .user = "ann",
				 .bucket = "data",
				 .prefix = "k",
				 .exact = true,
				 .rights = RIGHT_READ,
				 .expires = time(NULL) + 60 };
	char token[TOKEN_MAX], header[TOKEN_MAX + 32], path[TOKEN_MAX + 64];
	struct asked a;

	(void)state;
	eventually(!users_sign(users, &s, token));
	snprintf(header, sizeof(header), "Authorization: Bearer %s", token);
	assert_int_equal(get("/b/data/k", header, NULL, NULL, &a), 200);
	assert_int_equal(get("/b/data/k2", header, NULL, NULL, &a), 403);
	snprintf(path, sizeof(path), "/b/data/k?t=%s", token);
	assert_int_equal(get(path, NULL, NULL, NULL, &a), 200);
	/* the header counts, not the query */
	assert_int_equal(get(path, "Authorization: Bearer weir1.x.y", NULL, NULL, &a), 401);
	assert_int_equal(get("/b/data/k", header, "Authorization: Basic YTpi", NULL, &a), 401);
	s.expires = time(NULL) - 1;
	assert_int_equal(users_sign(users, &s, token), 0);
	snprintf(path, sizeof(path), "/b/data/k?t=%s", token);
	assert_int_equal(get(path, NULL, NULL, NULL, &a), 401);
	assert_non_null(strstr(a.body, "expired"));
}

static void test_cookie(void **state)
{
	struct token_scope s = { .user = "ann", .bucket = "*", .rights = RIGHT_READ, .expires = time(NULL) + 60,
				 .issued = time(NULL), .id = "5123456789abcdef" };
	char token[TOKEN_MAX], cookie[TOKEN_MAX + 64], word[65], csrf[100], other[100], path[200];
	struct asked a;

	(void)state;
	eventually(!users_sign(users, &s, token));
	assert_int_equal(users_verify(users, token, time(NULL), &s), 0);
	snprintf(cookie, sizeof(cookie), "Cookie: theme=dark; weir=%s; x=y", token);
	assert_int_equal(get("/b/data/k", cookie, NULL, NULL, &a), 401); /* endpoints take none */
	access_cookies(true);
	assert_int_equal(get("/b/data/k", cookie, NULL, NULL, &a), 200);
	assert_string_equal(a.body, "ann");
	assert_int_equal(get("/b/other/k", cookie, NULL, NULL, &a), 403);
	/* changes need the word of this session */
	access_csrf(users, &s, word);
	assert_int_equal(strlen(word), 64);
	snprintf(csrf, sizeof(csrf), "X-Weir-CSRF: %s", word);
	memcpy(other, csrf, sizeof(csrf));
	other[20] = other[20] == '0' ? '1' : '0';
	assert_int_equal(ask("POST", "/change", cookie, NULL, NULL, NULL, &a), 403);
	assert_non_null(strstr(a.body, "\"csrf\""));
	assert_int_equal(ask("DELETE", "/change", cookie, other, NULL, NULL, &a), 403);
	assert_int_equal(ask("PUT", "/change", cookie, "X-Weir-CSRF: ", NULL, NULL, &a), 403);
	assert_int_equal(ask("POST", "/change", cookie, csrf, NULL, NULL, &a), 200);
	/* and an origin that is ours */
	assert_int_equal(ask("POST", "/change", cookie, csrf, "Origin: https://evil.example", NULL, &a), 403);
	assert_int_equal(ask("POST", "/change", cookie, csrf, "Origin: null", NULL, &a), 403);
	assert_int_equal(ask("POST", "/change", cookie, csrf, "Sec-Fetch-Site: cross-site", NULL, &a), 403);
	snprintf(path, sizeof(path), "Origin: %s", url);
	assert_int_equal(ask("POST", "/change", cookie, csrf, path, NULL, &a), 200);
	/* forms carry it in a field */
	assert_int_equal(ask("POST", "/form", cookie, NULL, NULL, NULL, &a), 403);
	snprintf(path, sizeof(path), "/form?csrf=%s", word);
	assert_int_equal(ask("POST", path, cookie, NULL, NULL, NULL, &a), 200);
	assert_int_equal(ask("POST", path, cookie, "Origin: http://evil.example", NULL, NULL, &a), 403);
	/* another session's word is another one; tokens in a header need none */
	memcpy(s.id, "6", 1);
	access_csrf(users, &s, word);
	assert_string_not_equal(word, csrf + 13);
	snprintf(cookie, sizeof(cookie), "Authorization: Bearer %s", token);
	assert_int_equal(ask("POST", "/change", cookie, NULL, NULL, NULL, &a), 200);
	access_cookies(false);
}

/* A session that is over: 401, but what everybody may read stays readable. */
static void test_cookie_over(void **state)
{
	struct token_scope s = { .user = "ann", .bucket = "*", .rights = RIGHT_READ, .expires = time(NULL) - 1 };
	char token[TOKEN_MAX], cookie[TOKEN_MAX + 64];
	struct asked a;

	(void)state;
	eventually(!users_sign(users, &s, token));
	snprintf(cookie, sizeof(cookie), "Cookie: weir=%s", token);
	access_cookies(true);
	assert_int_equal(get("/b/data/k", cookie, NULL, NULL, &a), 401);
	assert_non_null(strstr(a.body, "expired"));
	assert_null(strcasestr(a.headers, "Basic")); /* no dialog of the browser */
	assert_int_equal(get("/b/pub/k", cookie, NULL, NULL, &a), 200);
	assert_string_equal(a.body, "");
	assert_int_equal(get("/b/data/k", "Cookie: weir=nonsense", NULL, NULL, &a), 401);
	assert_int_equal(get("/b/data/k", "Cookie: weirdo=x; =; ;;", NULL, NULL, &a), 401);
	access_cookies(false);
}

/* A socket off loopback is bound but does not listen until told. */
static void test_listen(void **state)
{
	struct addr_port both[2];
	int fds[2], listens = -1;
	socklen_t len = sizeof(listens);

	(void)state;
	assert_int_equal(addr_port_parse(&both[0], "0.0.0.0:1"), 0);
	assert_int_equal(addr_port_parse(&both[1], "127.0.0.1:1"), 0);
	both[0].port = both[1].port = 0;
	assert_int_equal(access_bind(both, 2, geteuid(), fds), 0);
	assert_int_equal(access_listen_local(both, 2, fds), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(getsockopt(fds[i], SOL_SOCKET, SO_ACCEPTCONN, &listens, &len), 0);
		assert_int_equal(listens, i);
		close(fds[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_key),
		cmocka_unit_test(test_token),
		cmocka_unit_test(test_cookie),
		cmocka_unit_test(test_cookie_over),
		cmocka_unit_test(test_listen),
	};

	return cmocka_run_group_tests_name("access", tests, setup, teardown);
}
