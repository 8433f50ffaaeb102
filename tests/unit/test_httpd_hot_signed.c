/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed requests in front of libmicrohttpd: all lines reach the verifier as they were sent, what was changed on its way is
 * refused, and each answer has an id of its own before bytes that are another answer's.
 */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "http/s3/sigv4.h"
#include "lib/httpd.h"
#include "lib/httpd_hot_head.h"

#define ID	"AKIDEXAMPLE"
#define SECRET	"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define STAMP	"20130524T000000Z"
#define NOW	1369353600 /* the same */

/* ---- what is read ---- */

static bool reads(struct http_hot_head *out, char *room, const char *lines)
{
	int n = snprintf(room, HTTP_HOT_HEAD_MAX, "GET /bucket/key HTTP/1.1\r\nHost: x\r\n%s\r\n", lines);

	return http_hot_head_read(out, room, (size_t)n);
}

static void keeps_lines(void **state)
{
	static const struct http_pair right[] = { { "Host", "x" }, { "x-AMZ-date", "1" }, { "Accept", "" }, { "accept", "a  b" },
						  { "Origin", "http://x" }, { "Authorization", "AWS4-HMAC-SHA256 a=b, c" } };
	char room[HTTP_HOT_HEAD_MAX];
	struct http_hot_head head;

	(void)state;
	assert_true(reads(&head, room,
			  "x-AMZ-date:1\r\nAccept:  \r\naccept:   a  b\r\nOrigin: http://x\r\nAuthorization: AWS4-HMAC-SHA256 a=b, c\r\n"));
	assert_int_equal(head.nlines, sizeof(right) / sizeof(right[0]));
	for (size_t i = 0; i < head.nlines; i++) {
		assert_string_equal(head.lines[i].name, right[i].name);
		assert_string_equal(head.lines[i].value, right[i].value);
	}
	assert_string_equal(head.origin, "http://x");
	assert_ptr_equal(head.authorization, head.lines[5].value);
}

/* Not its own to decide. */
static void leaves_lines(void **state)
{
	static const char *const others[] = {
		"x-amz-date: 1\r\nX-Amz-Date: 1\r\n",
		"x-amz-content-sha256: 1\r\nx-amz-content-sha256: 1\r\n",
		"x-amz-checksum-mode: ENABLED\r\nx-amz-checksum-mode: ENABLED\r\n",
		"Origin: a\r\nOrigin: b\r\n",
		"Authorization: a\r\nAuthorization: a\r\n",
		"x-amz-date:\r\n",
		"x-amz-security-token: 1\r\n",
		"x-amz-meta-a: 1\r\n",
		"x-amz-expected-bucket-owner: 1\r\n",
		"Date: Fri, 24 May 2013 00:00:00 GMT\r\n",
		"Range: bytes=0-1\r\n",
		"x-amz-date : 1\r\n",
		"x-amz-date: 1 \r\n",
	};
	char room[HTTP_HOT_HEAD_MAX];
	struct http_hot_head head;

	(void)state;
	assert_true(reads(&head, room, ""));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (reads(&head, room, others[i]))
			fail_msg("read: %s", others[i]);
}

/* ---- what is verified ---- */

static struct sigv4_request request_of(const struct http_hot_head *head)
{
	return (struct sigv4_request){ head->is_head ? "HEAD" : "GET", head->target, NULL, head->lines, head->nlines };
}

static bool verifies(char *bytes, size_t len)
{
	struct http_hot_head head;
	struct sigv4_request req;
	struct sigv4 sig;
	uint8_t key[32];

	if (!http_hot_head_read(&head, bytes, len))
		return false;
	req = request_of(&head);
	if (sigv4_read(&sig, &req, NOW, NULL) || sig.kind != SIGV4_HEADER || strcmp(sig.id, ID) != 0)
		return false;
	sigv4_key(SECRET, sig.date, sig.region, "s3", key);
	return sigv4_check(&sig, &req, key) == S3_OK;
}

static size_t write_signed(char out[HTTP_HOT_HEAD_MAX])
{
	static const struct http_pair pairs[] = { { "Host", "bucket.example:8080" }, { "X-Amz-Date", STAMP },
						  { "x-amz-content-sha256", NOTHING }, { "amz-sdk-request", "attempt=1" } };
	struct sigv4_request req = { "GET", "/bucket/some-key", NULL, pairs, 4 };
	uint8_t key[32];
	char *text;
	int n;

	sigv4_key(SECRET, "20130524", "us-east-1", "s3", key);
	text = sigv4_authorize(&req, ID, key, "us-east-1");
	assert_non_null(text);
	n = snprintf(out, HTTP_HOT_HEAD_MAX, "GET /bucket/some-key HTTP/1.1\r\n");
	for (size_t i = 0; i < 4; i++)
		n += snprintf(out + n, HTTP_HOT_HEAD_MAX - (size_t)n, "%s: %s\r\n", pairs[i].name, pairs[i].value);
	n += snprintf(out + n, HTTP_HOT_HEAD_MAX - (size_t)n, "Authorization: %s\r\n\r\n", text);
	free(text);
	return (size_t)n;
}

/* Where a change of one character says nothing else: blanks before a value, the case of names, what parts Authorization. */
static bool says_nothing(const char *bytes, size_t at, char to)
{
	const char *line = bytes + at;
	size_t name;

	while (line > bytes && line[-1] != '\n')
		line--;
	if (line == bytes)
		return false;
	name = strcspn(line, ":");
	if (line + name >= bytes + at)
		return (bytes[at] | 0x20) == (to | 0x20);
	return bytes[at] == ' ' || (!strncmp(line, "Authorization", 13) && (bytes[at] == ',' || to == ',' || to == ' '));
}

static void changes_are_refused(void **state)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ/;:=,. \r\n\t";
	char right[HTTP_HOT_HEAD_MAX], bytes[HTTP_HOT_HEAD_MAX];
	unsigned int tried = 0;
	size_t len;

	(void)state;
	len = write_signed(right);
	memcpy(bytes, right, len);
	assert_true(verifies(bytes, len));
	for (size_t at = 0; at < len; at++) {
		for (const char *to = letters; *to; to++) {
			if (*to == right[at] || says_nothing(right, at, *to))
				continue;
			memcpy(bytes, right, len);
			bytes[at] = *to;
			if (verifies(bytes, len))
				fail_msg("accepted with '%c' at %zu", *to, at);
			tried++;
		}
	}
	assert_true(tried > 10000);
}

/* ---- what is sent ---- */

#define LARGE 60000
#define BODY  "the body"

static const char *const ids[] = { "x-amz-request-id", "X-Request-Id", NULL };
static struct http_cached *small, *large, *small_over, *large_over;
static struct addr_port where;

static enum http_next begin(struct http_req *req, void *arg)
{
	(void)arg;
	return http_reply_error(req, 404, "none", "nothing here");
}

static const struct http_route routes[] = { { .methods = 1u << HTTP_GET, .path = "/:name", .begin = begin }, { .path = NULL } };

static struct http_cached *hot(const struct http_hot_ask *ask, const struct http_route **route, struct http_warm *warm, void *arg)
{
	(void)warm;
	(void)arg;
	assert_int_equal(ask->nlines, 1);
	assert_string_equal(ask->lines[0].name, "Host");
	assert_ptr_equal(ask->lines[0].value, ask->host);
	*route = routes;
	return http_cached_hold(!strcmp(ask->target, "/large") ? large_over : small_over);
}

static struct httpd *start(void)
{
	struct httpd_options opt = { .name = "hot", .threads = 1, .hot = hot };
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct httpd *server;
	char *bytes = malloc(LARGE);
	int fd;

	memset(bytes, 'l', LARGE);
	small = http_cached_new(200, "text/html", BODY, strlen(BODY), (const char *const[]){ "ETag", "\"plain\"", NULL });
	large = http_cached_new(200, NULL, bytes, LARGE, NULL);
	free(bytes);
	small_over = http_cached_over(small, "text/plain", (const char *const[]){ "ETag", "\"own\"", NULL }, ids);
	large_over = http_cached_over(large, "text/plain", NULL, ids);
	assert_true(small_over && large_over);
	assert_int_equal(http_cached_len(large_over), LARGE);
	http_cached_free(small); /* it is kept */
	http_cached_free(large);
	assert_int_equal(addr_port_parse(&where, "127.0.0.1:0"), 0);
	fd = addr_bind(&where, SOCK_STREAM, 64, false, 0);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	addr_from_sockaddr(&where, (struct sockaddr *)&ss);
	assert_int_equal(httpd_start(&server, &opt, &fd, 1, routes, NULL), 0);
	return server;
}

static int dial(int room)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_port_sockaddr(&where, &ss);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (room)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
	return fd;
}

static void ask(int fd, const char *what)
{
	char text[128];
	int n = snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: x\r\n\r\n", what);

	assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
}

/* Takes one answer: its head must be right, its id is told. */
static void take(int fd, const char *tag, size_t len, char body, char id[17])
{
	char head[512], want[512], *at, date[30];
	size_t n = 0;
	char c = 0;

	while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) {
		assert_true(n < sizeof(head) - 1);
		assert_int_equal(recv(fd, head + n++, 1, MSG_WAITALL), 1);
	}
	head[n] = '\0';
	at = strstr(head, "X-Request-Id: ");
	assert_non_null(at);
	snprintf(id, 17, "%s", at + 14);
	at = strstr(head, "Date: ");
	assert_non_null(at);
	snprintf(date, sizeof(date), "%s", at + 6);
	snprintf(want, sizeof(want),
		 "HTTP/1.1 200 OK\r\nDate: %s\r\nx-amz-request-id: %s\r\nX-Request-Id: %s\r\nContent-Type: text/plain\r\n%s"
		 "Content-Length: %zu\r\n\r\n",
		 date, id, id, tag, body == 'l' ? (size_t)LARGE : strlen(BODY));
	assert_string_equal(head, want);
	for (n = 0; n < len; n++) {
		assert_int_equal(recv(fd, &c, 1, MSG_WAITALL), 1);
		assert_int_equal(c, body == 'l' ? 'l' : BODY[n]);
	}
}

static void has_ids_of_its_own(void **state)
{
	struct httpd *server = start();
	char id[5][17];
	int fd = dial(4096);

	(void)state;
	ask(fd, "GET /small");
	ask(fd, "HEAD /small");
	ask(fd, "GET /large"); /* more than there is room for: its rest goes later */
	ask(fd, "HEAD /large");
	ask(fd, "GET /small");
	take(fd, "ETag: \"own\"\r\n", strlen(BODY), 's', id[0]);
	take(fd, "ETag: \"own\"\r\n", 0, 's', id[1]);
	take(fd, "", LARGE, 'l', id[2]);
	take(fd, "", 0, 'l', id[3]);
	take(fd, "ETag: \"own\"\r\n", strlen(BODY), 's', id[4]);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(strspn(id[i], "0123456789abcdef"), 16);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(id[i], id[j]);
	}
	close(fd);
	httpd_stop(server, 0);
	http_cached_free(small_over);
	http_cached_free(large_over);
}

/* Lines of ids have a place of a certain size. */
static void takes_few_ids(void **state)
{
	static const char *const many[] = { "x-amz-request-id", "x-amz-request-id", "x-amz-request-id", "x-amz-request-id", NULL };
	struct http_cached *body = http_cached_new(200, NULL, "", 0, NULL);

	(void)state;
	assert_non_null(body);
	assert_null(http_cached_over(body, NULL, NULL, many));
	http_cached_free(body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_lines),	      cmocka_unit_test(leaves_lines),  cmocka_unit_test(changes_are_refused),
		cmocka_unit_test(has_ids_of_its_own), cmocka_unit_test(takes_few_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
