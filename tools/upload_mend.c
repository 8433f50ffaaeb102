/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload_mend.c -- a part of a file is sent again, and what was begun is remembered (upload.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/hash.h"
#include "lib/httpd.h"
#include "tools/upload.h"

/* ---- state ----------------------------------------------------------------------------------- */

static bool make_folders(char *path)
{
	for (char *at = path + 1; *at; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		if (mkdir(path, 0700) && errno != EEXIST) {
			*at = '/';
			return false;
		}
		*at = '/';
	}
	return !mkdir(path, 0700) || errno == EEXIST;
}

bool upload_state_folder(char out[4096], const char *name)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

	if (state && *state == '/')
		snprintf(out, 4096, "%.3000s/weir/%s", state, name);
	else
		snprintf(out, 4096, "%.3000s/.local/state/weir/%s", home ? home : "/var/tmp", name);
	return make_folders(out);
}

char *upload_state_path(const char *url, const char *user, const char *dataset, const char *name, const char *path)
{
	char folder[4096], real[PATH_MAX], hex[65], *text = NULL, *out = NULL;
	uint8_t sum[32];
	int n;

	if (!realpath(path, real))
		snprintf(real, sizeof(real), "%s", path);
	n = asprintf(&text, "%s\n%s\n%s\n%s\n%s", url, user, dataset, name, real);
	if (n < 0)
		return NULL;
	sha256_once(text, (size_t)n, sum);
	free(text);
	hex_encode(sum, 16, hex);
	upload_state_folder(folder, "uploads"); /* what cannot be remembered begins anew */
	return asprintf(&out, "%s/%s.json", folder, hex) < 0 ? NULL : out;
}

static json_t *stamp(const struct stat *st)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "size", (json_int_t)st->st_size, "inode", (json_int_t)st->st_ino, "mtime",
			 (json_int_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec, "ctime",
			 (json_int_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec);
}

bool upload_state_read(const char *state, const struct stat *st, char id[TUS_ID_MAX])
{
	json_t *o = json_load_file(state, 0, NULL), *now = stamp(st);
	bool same = o && json_equal(json_object_get(o, "of"), now);

	if (same)
		snprintf(id, TUS_ID_MAX, "%s", js_text(o, "id", ""));
	json_decref(o);
	json_decref(now);
	return same && *id;
}

void upload_state_write(const char *state, const struct stat *st, const char *id)
{
	json_t *o = json_pack("{s:s, s:o}", "id", id, "of", stamp(st));
	char part[4200];

	snprintf(part, sizeof(part), "%s.%d", state, (int)getpid());
	if (json_dump_file(o, part, JSON_COMPACT) || rename(part, state))
		unlink(part);
	json_decref(o);
}

/* ---- mending --------------------------------------------------------------------------------- */

struct mending {
	int fd;
	uint64_t size, at;
	struct rate *rate;
};

static ssize_t give(void *arg, char *buf, size_t max)
{
	struct mending *m = arg;
	uint64_t rest = m->size - m->at;
	size_t n = rest < max ? (size_t)rest : max;
	ssize_t got = pread(m->fd, buf, m->rate ? rate_take(m->rate, n, NULL) : n, (off_t)m->at);

	if (got < 0 || (!got && rest))
		return got < 0 ? -errno : -ENODATA;
	m->at += (uint64_t)got;
	return got;
}

/* "DATASET/FILE" is an accepted file, anything else an upload's id. */
static char *address(const struct upload_options *o, const char *what, const char *rows, const char *bytes)
{
	const char *slash = strchr(what, '/');
	char *range = http_percent_encode(rows ? rows : bytes, false), *url = NULL, *whole = NULL;
	char dataset[64];

	snprintf(dataset, sizeof(dataset), "%.*s", slash ? (int)(slash - what) : 0, what);
	url = slash ? tus_url(o->web, "/_/datasets/", dataset, "/replace/", slash + 1) :
		      tus_url(o->web, "/_/uploads/", what, "/replace", "");
	if (url && range && asprintf(&whole, "%s?%s=%s", url, rows ? "rows" : "bytes", range) < 0)
		whole = NULL;
	free(url);
	free(range);
	return whole;
}

int upload_mend(const struct upload_options *o, const char *what, const char *rows, const char *bytes, const char *path)
{
	const char *headers[] = { "Content-Type: application/octet-stream", "Accept: application/json",
				  web_authorization(o->web), NULL };
	struct mending m = { .fd = open(path, O_RDONLY | O_CLOEXEC), .rate = o->rate };
	char *url = address(o, what, rows, bytes);
	struct httpc_answer answer = { 0 };
	struct httpc_call call = { .method = "POST", .url = url, .headers = headers, .read = give, .arg = &m };
	struct watch_options w = { .name = upload_base_name(path), .json = o->json, .size = UINT64_MAX };
	struct watch *watch;
	struct tus_why why;
	struct stat st;
	json_t *said = NULL, *shown = NULL;
	int rc;

	if (m.fd < 0 || fstat(m.fd, &st) || !url) {
		rc = cmd_fail("%s: %s", path, strerror(errno));
		goto out;
	}
	m.size = call.read_len = (uint64_t)st.st_size;
	rc = tus_judge(&why, httpc_do(web_client(o->web), &call, &answer), &answer);
	said = answer.body ? json_loadb(answer.body, answer.len, 0, NULL) : NULL;
	if (rc) {
		rc = cmd_fail("cannot mend %s: %s", what, why.text);
		goto out;
	}
	if (tus_show(o->web, js_text(said, "id", ""), 0, NULL, &shown, &why)) {
		rc = cmd_fail("cannot ask about it: %s", why.text);
		goto out;
	}
	w.name = js_text(shown, "file", w.name);
	watch = watch_new(o->web, js_text(said, "id", ""), &w);
	if (watch)
		watch_wait(watch, 0);
	rc = watch ? upload_finish(o, js_text(said, "id", ""), w.name, js_text(shown, "dataset", "?"), watch) :
		     cmd_fail("out of memory");
out:
	if (m.fd >= 0)
		close(m.fd);
	json_decref(said);
	json_decref(shown);
	httpc_answer_free(&answer);
	free(url);
	return rc;
}
