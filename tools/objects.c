/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects.c -- `weir put`, `get`, `ls`, `rm`: objects through a gateway, by libcurl.
 *
 * The gateway answers with a redirect to an endpoint; the token for it is in the redirect, so that
 * ours never goes to another host. A download goes to FILE.part and takes its name when size and
 * SHA-256 are right.
 */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/hash.h"
#include "tools/dataset.h"
#include "tools/web.h"

#define ANSWER_MAX (16u << 20)

struct transfer {
	CURL *curl;
	struct curl_slist *headers;
	struct web_place place; /* gateway and token */
	char url[4096], error[CURL_ERROR_SIZE];
	bool bar, upload; /* a progress bar; which direction counts */
	bool json;	  /* what is refused is told as JSON too */
	bool by_hash;	  /* the asker knows the digest, whatever the answer says */
	struct timespec begun, drawn;
	int fd;	      /* the file sent or written; -1: the answer is gathered */
	char *answer; /* gathered text */
	size_t len;
	char sha256[65];       /* asked for, else X-Weir-Sha256 of the answer */
	struct sha256 *digest; /* of what was written */
};

/* ---- one transfer ---------------------------------------------------------------------------- */

static size_t take_header(char *line, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t len = size * n;

	if (!t->by_hash && len > 15 + 64 && !strncasecmp(line, "X-Weir-Sha256: ", 15))
		snprintf(t->sha256, sizeof(t->sha256), "%.64s", line + 15);
	return len;
}

static size_t gather(struct transfer *t, const char *data, size_t len)
{
	char *more;

	if (t->len + len > ANSWER_MAX)
		return 0;
	more = realloc(t->answer, t->len + len + 1);
	if (!more)
		return 0;
	t->answer = more;
	memcpy(more + t->len, data, len);
	t->len += len;
	more[t->len] = '\0';
	return len;
}

static size_t take_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t len = size * n;
	long status = 0;

	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	if (t->fd < 0 || t->upload || status != 200) /* errors are texts, whatever was asked for */
		return gather(t, data, len);
	for (size_t done = 0; done < len;) {
		ssize_t wrote = write(t->fd, data + done, len - done);

		if (wrote < 0)
			return 0;
		done += (size_t)wrote;
	}
	sha256_add(t->digest, data, len);
	return len;
}

static size_t give_body(char *buf, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	ssize_t got = read(t->fd, buf, size * n);

	return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

static int rewind_body(void *arg, curl_off_t offset, int origin)
{
	struct transfer *t = arg;

	return lseek(t->fd, offset, origin) < 0 ? CURL_SEEKFUNC_CANTSEEK : CURL_SEEKFUNC_OK;
}

static double seconds_since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

static int draw(void *arg, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal,
		curl_off_t ulnow)
{
	struct transfer *t = arg;
	curl_off_t total = t->upload ? ultotal : dltotal, now = t->upload ? ulnow : dlnow;
	char done[16], all[16], rate[16];
	int cells;

	if (total <= 0 || (now < total && seconds_since(&t->drawn) < 0.1))
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &t->drawn);
	cells = (int)(30 * now / total);
	fprintf(stderr, "\r[%.*s%*s] %3d%%  %s of %s  %s/s\033[K", cells,
		"==============================", 30 - cells, "", (int)(100 * now / total),
		cmd_bytes((uint64_t)now, done), cmd_bytes((uint64_t)total, all),
		cmd_bytes((uint64_t)((double)now / fmax(seconds_since(&t->begun), 0.001)), rate));
	return 0;
}

static int transfer_open(struct transfer *t, const struct cmd_options *opt,
			 const struct web_flags *flags)
{
	char *header;

	*t = (struct transfer){ .fd = -1 };
	if (web_find(&t->place, opt, flags, true))
		return CMD_FAILED;
	t->curl = curl_easy_init();
	if (!t->curl)
		return cmd_fail("libcurl cannot start");
	header = web_place_header(&t->place);
	if (header) {
		t->headers = curl_slist_append(t->headers, header);
		free(header);
	}
	curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, t->error);
	if (t->place.ca)
		curl_easy_setopt(t->curl, CURLOPT_CAINFO, t->place.ca);
	curl_easy_setopt(t->curl, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(t->curl, CURLOPT_MAXREDIRS, 4L);
	curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(t->curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT, 5L);
	curl_easy_setopt(t->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(t->curl, CURLOPT_LOW_SPEED_TIME, 30L);
	curl_easy_setopt(t->curl, CURLOPT_HEADERFUNCTION, take_header);
	curl_easy_setopt(t->curl, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, draw);
	curl_easy_setopt(t->curl, CURLOPT_XFERINFODATA, t);
	clock_gettime(CLOCK_MONOTONIC, &t->begun);
	return CMD_OK;
}

static void transfer_close(struct transfer *t)
{
	sha256_drop(t->digest);
	if (t->curl)
		curl_easy_cleanup(t->curl);
	curl_slist_free_all(t->headers);
	if (t->fd >= 0)
		close(t->fd);
	web_place_free(&t->place);
	free(t->answer);
}

/* "BUCKET/KEY" or "BUCKET/" into t->url, percent-encoded; false when it is neither. */
static bool set_url(struct transfer *t, const char *name)
{
	const char *slash = strchr(name, '/');
	char *key = slash ? curl_easy_escape(t->curl, slash + 1, 0) : NULL;
	size_t n;

	if (!slash || slash == name || strlen(name) > 1024) {
		curl_free(key);
		return false;
	}
	n = (size_t)snprintf(t->url, sizeof(t->url), "%s/b/%.*s/", t->place.url, (int)(slash - name),
			     name);
	for (const char *p = key; *p && n + 1 < sizeof(t->url); n++) {
		bool is_slash = !strncmp(p, "%2F", 3);

		t->url[n] = is_slash ? '/' : *p;
		p += is_slash ? 3 : 1;
	}
	t->url[n < sizeof(t->url) ? n : sizeof(t->url) - 1] = '\0';
	curl_free(key);
	curl_easy_setopt(t->curl, CURLOPT_URL, t->url);
	return true;
}

/* Performs; CMD_OK when the status is 2xx, else it was said why. */
static int transfer_run(struct transfer *t, const char *doing)
{
	long status = 0;
	json_t *said;
	CURLcode rc;

	curl_easy_setopt(t->curl, CURLOPT_NOPROGRESS, t->bar ? 0L : 1L);
	rc = curl_easy_perform(t->curl);
	if (t->bar)
		fputs("\r\033[K", stderr);
	if (rc == CURLE_SSL_CONNECT_ERROR) /* certificates have a number of their own */
		return cmd_fail("cannot %s: what answers at %s does not speak TLS as we do: http://… instead of https://…? (%s)", doing, t->url,
				*t->error ? t->error : curl_easy_strerror(rc));
	if (rc != CURLE_OK)
		return cmd_fail("cannot %s: %s (%s)", doing,
				*t->error ? t->error : curl_easy_strerror(rc), t->url);
	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status / 100 == 2)
		return CMD_OK;
	said = t->answer ? json_loads(t->answer, 0, NULL) : NULL;
	if (t->upload && t->json && said)
		cmd_print_json(json_incref(said));
	else if (t->upload) /* a dataset's */
		dataset_print_findings(json_object_get(said, "findings"));
	cmd_fail("cannot %s: %ld, %s%s", doing, status,
		 web_safe(js_text(said, "message", "no reason was given")),
		 status == 401 && !t->place.token
			 ? "; sign in (weir login URL), give --token-file, or set WEIR_TOKEN (weir token NAME makes one)"
			 : "");
	json_decref(said);
	return CMD_FAILED;
}

/* ---- the commands ---------------------------------------------------------------------------- */

static int put_one(struct transfer *t, const char *file, const char *name, bool as_json)
{
	struct stat st;
	json_t *said;
	int rc;

	t->fd = open(file, O_RDONLY | O_CLOEXEC);
	if (t->fd < 0 || fstat(t->fd, &st))
		return cmd_fail("%s: %s", file, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return cmd_fail("%s is not a regular file", file);
	t->upload = true;
	t->json = as_json;
	t->bar = isatty(STDERR_FILENO) && !as_json;
	curl_easy_setopt(t->curl, CURLOPT_UPLOAD, 1L);
	/* a dataset's file is answered when it was checked and stored */
	curl_easy_setopt(t->curl, CURLOPT_LOW_SPEED_TIME, 300L);
	curl_easy_setopt(t->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)st.st_size);
	curl_easy_setopt(t->curl, CURLOPT_READFUNCTION, give_body);
	curl_easy_setopt(t->curl, CURLOPT_READDATA, t);
	curl_easy_setopt(t->curl, CURLOPT_SEEKFUNCTION, rewind_body);
	curl_easy_setopt(t->curl, CURLOPT_SEEKDATA, t);
	/* The redirect comes before the body: nothing is sent twice. */
	t->headers = curl_slist_append(t->headers, "Expect: 100-continue");
	curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, t->headers);
	rc = transfer_run(t, "put");
	said = rc ? NULL : json_loads(t->answer ? t->answer : "", 0, NULL);
	if (rc)
		return rc;
	if (as_json && said)
		return cmd_print_json(said);
	if (json_object_get(said, "dataset")) {
		dataset_print_findings(json_object_get(said, "findings"));
		printf("%s  %s bytes  %s, version %s, %s rows\n", name, js_show(said, "size", 0),
		       js_text(said, "state", "?"), js_show(said, "version", 0), js_show(said, "rows", 0));
		json_decref(said);
		return CMD_OK;
	}
	printf("%s  %s  sha256 %s, %s copies%s%s\n", name, js_show(said, "size", 0),
	       js_text(said, "sha256", "?"), js_show(said, "copies", 0),
	       *js_text(said, "note", "") ? "; " : "", js_text(said, "note", ""));
	json_decref(said);
	return CMD_OK;
}

int cmd_put(const struct cmd *cmd, int argc, char **argv)
{
	struct web_flags flags = { 0 };
	const struct cmd_flag own[] = { WEB_FLAGS(flags), { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc;
	struct transfer t;
	char name[2048];
	const char *base;

	if (n < 0)
		return cmd_exit_of(n);
	if (n != 2)
		return cmd_usage(cmd, "wants a file and BUCKET/KEY");
	base = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
	snprintf(name, sizeof(name), "%s%s", argv[1],
		 argv[1][0] && argv[1][strlen(argv[1]) - 1] == '/' ? base : "");
	rc = transfer_open(&t, &opt, &flags);
	if (!rc && !set_url(&t, name))
		rc = cmd_usage(cmd, "%s is not BUCKET/KEY", argv[1]);
	if (!rc)
		rc = put_one(&t, argv[0], name, opt.json);
	transfer_close(&t);
	return rc;
}

/* The digest is checked when the whole object came. */
static int finish_download(struct transfer *t, const char *part, const char *file, bool as_json)
{
	uint8_t sum[32];
	char hex[65];

	sha256_end(t->digest, sum);
	t->digest = NULL;
	hex_encode(sum, sizeof(sum), hex);
	if (*t->sha256 && strcasecmp(hex, t->sha256)) {
		unlink(part);
		return cmd_fail("%s: sha256 is %s, but should be %s; nothing was kept", file, hex,
				t->sha256);
	}
	if (!strcmp(file, "-"))
		return CMD_OK;
	if (fsync(t->fd) || rename(part, file)) {
		unlink(part);
		return cmd_fail("%s: %s", file, strerror(errno));
	}
	if (as_json)
		return cmd_print_json(json_pack("{s:s, s:s, s:b}", "file", file, "sha256", hex,
						"verified", *t->sha256 != 0));
	printf("%s  sha256 %s%s\n", file, hex, *t->sha256 ? ", verified" : "");
	return CMD_OK;
}

static int get_one(struct transfer *t, const char *file, bool as_json)
{
	bool to_stdout = !strcmp(file, "-");
	char part[PATH_MAX];
	int rc;

	if (snprintf(part, sizeof(part), "%s.part", file) >= (int)sizeof(part))
		return cmd_fail("%s: the name is too long", file);
	t->fd = to_stdout ? dup(STDOUT_FILENO)
			  : open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (t->fd < 0)
		return cmd_fail("%s: %s", part, strerror(errno));
	t->digest = sha256_new();
	t->bar = isatty(STDERR_FILENO) && !as_json && !to_stdout;
	rc = transfer_run(t, "get");
	if (rc && !to_stdout)
		unlink(part);
	return rc ? rc : finish_download(t, part, file, as_json);
}

int cmd_get(const struct cmd *cmd, int argc, char **argv)
{
	struct web_flags flags = { 0 };
	const struct cmd_flag own[] = { WEB_FLAGS(flags), { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc;
	struct transfer t;
	const char *file;

	if (n < 0)
		return cmd_exit_of(n);
	if (n < 1 || n > 2)
		return cmd_usage(cmd, "wants BUCKET/KEY or sha256:HEX, and perhaps a file");
	file = n == 2 ? argv[1] : strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
	rc = transfer_open(&t, &opt, &flags);
	if (!rc && !strncmp(argv[0], "sha256:", 7)) {
		t.by_hash = true;
		snprintf(t.sha256, sizeof(t.sha256), "%.64s", argv[0] + 7);
		snprintf(t.url, sizeof(t.url), "%s/o/%s", t.place.url, argv[0] + 7);
		curl_easy_setopt(t.curl, CURLOPT_URL, t.url);
	} else if (!rc && (!set_url(&t, argv[0]) || !*file)) {
		rc = cmd_usage(cmd, "%s is not BUCKET/KEY", argv[0]);
	}
	if (!rc)
		rc = get_one(&t, file, opt.json);
	transfer_close(&t);
	return rc;
}

/* Appends one page; *after is the next start (malloc'ed) or NULL at the end. */
static int list_page(struct transfer *t, const char *bucket, const char *prefix, char **after,
		     json_t *all)
{
	char *escaped_prefix = curl_easy_escape(t->curl, prefix, 0);
	char *escaped_after = curl_easy_escape(t->curl, *after ? *after : "", 0);
	json_t *page;
	int rc;

	snprintf(t->url, sizeof(t->url), "%s/b/%s/?limit=1000&prefix=%s&after=%s", t->place.url, bucket,
		 escaped_prefix, escaped_after);
	curl_free(escaped_prefix);
	curl_free(escaped_after);
	free(*after);
	*after = NULL;
	t->len = 0;
	curl_easy_setopt(t->curl, CURLOPT_URL, t->url);
	rc = transfer_run(t, "list");
	if (rc)
		return rc;
	page = json_loads(t->answer ? t->answer : "", 0, NULL);
	json_array_extend(all, json_object_get(page, "objects"));
	if (json_is_string(json_object_get(page, "next")))
		*after = strdup(js_text(page, "next", ""));
	rc = json_is_array(json_object_get(page, "objects"))
		     ? CMD_OK
		     : cmd_fail("%s did not answer with a list", t->url);
	json_decref(page);
	return rc;
}

static void print_list(json_t *all)
{
	struct table *table = table_new("KEY|SIZE>|MODIFIED|SHA256");
	json_t *o;
	size_t i;

	json_array_foreach (all, i, o) {
		time_t at = (time_t)js_num(o, "modified");
		char size[16], when[32] = "-", sha[17];
		struct tm tm;

		if (localtime_r(&at, &tm))
			strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
		snprintf(sha, sizeof(sha), "%.16s", js_text(o, "sha256", "-"));
		table_row(table, js_text(o, "key", "?"),
			  cmd_bytes((uint64_t)fmax(0, js_num(o, "size")), size), when, sha, NULL);
	}
	table_print(table);
}

int cmd_ls(const struct cmd *cmd, int argc, char **argv)
{
	struct web_flags flags = { 0 };
	const struct cmd_flag own[] = { WEB_FLAGS(flags), { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc;
	json_t *all = json_array();
	char *after = NULL, *slash;
	struct transfer t;

	if (n != 1) {
		json_decref(all);
		return n < 0 ? cmd_exit_of(n) : cmd_usage(cmd, "wants BUCKET or BUCKET/PREFIX");
	}
	slash = strchr(argv[0], '/');
	if (slash)
		*slash = '\0';
	rc = transfer_open(&t, &opt, &flags);
	if (!rc) {
		do
			rc = list_page(&t, argv[0], slash ? slash + 1 : "", &after, all);
		while (!rc && after);
	}
	free(after);
	if (!rc && opt.json)
		cmd_print_json(json_incref(all));
	else if (!rc)
		print_list(all);
	json_decref(all);
	transfer_close(&t);
	return rc;
}

int cmd_rm(const struct cmd *cmd, int argc, char **argv)
{
	struct web_flags flags = { 0 };
	const struct cmd_flag own[] = { WEB_FLAGS(flags), { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc = CMD_OK;

	if (n < 0)
		return cmd_exit_of(n);
	if (n < 1)
		return cmd_usage(cmd, "wants BUCKET/KEY, one or several");
	for (int i = 0; i < n && !rc; i++) {
		struct transfer t;

		rc = transfer_open(&t, &opt, &flags);
		if (!rc && (!set_url(&t, argv[i]) || strchr(argv[i], '/')[1] == '\0'))
			rc = cmd_usage(cmd, "%s is not BUCKET/KEY", argv[i]);
		if (!rc) {
			curl_easy_setopt(t.curl, CURLOPT_CUSTOMREQUEST, "DELETE");
			rc = transfer_run(&t, "delete");
		}
		if (!rc && !opt.json)
			printf("deleted %s\n", argv[i]);
		transfer_close(&t);
	}
	if (!rc && opt.json)
		cmd_print_json(json_pack("{s:i}", "deleted", n));
	return rc;
}
