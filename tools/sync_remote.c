/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_remote.c -- what a dataset has (sync.h): its listing, its files, by the redirects to endpoints.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "lib/hash.h"
#include "lib/httpd.h"
#include "tools/sync.h"

#define PAGE	   "1000"
#define LISTING_MS 30000

struct get {
	struct sync *s;
	char location[4096];
	int fd;
	uint64_t at;
	bool refused;
};

static void take_header(void *arg, const char *name, const char *value)
{
	struct get *g = arg;

	if (!strcasecmp(name, "Location"))
		snprintf(g->location, sizeof(g->location), "%s", value);
}

static int take_head(void *arg, const struct httpc_answer *head)
{
	struct get *g = arg;

	if (head->status == 200) /* the whole, whatever was asked for */
		g->at = 0;
	g->refused = head->status != 200 && head->status != 206;
	return 0;
}

static int take_data(void *arg, const void *data, size_t len)
{
	struct get *g = arg;
	const char *p = data;

	while (len && !g->refused) {
		size_t n = rate_take(g->s->rate, len < 65536 ? len : 65536, &g->s->stop);
		ssize_t wrote = n ? pwrite(g->fd, p, n, (off_t)g->at) : 0;

		if (!n || wrote <= 0)
			return n ? -EIO : -ECANCELED;
		g->at += (uint64_t)wrote;
		p += wrote;
		len -= (size_t)wrote;
	}
	return 0;
}

/* GET, and once more where it leads to: there the address says who asks. */
static int get(struct sync *s, const char *url, struct httpc_call *call, const char *range, const char *match,
	       struct get *g, struct httpc_answer *answer, struct tus_why *why)
{
	const char *headers[] = { web_authorization(s->o.web), NULL }, *there[3] = { NULL };
	struct httpc_call first = { .url = url,
				    .headers = headers,
				    .on_header = take_header,
				    .arg = g,
				    .timeout_ms = LISTING_MS,
				    .stop = &s->stop };
	int rc, n = 0;

	if (!url)
		return why->rc = -EAGAIN;
	g->location[0] = '\0';
	rc = httpc_do(web_client(s->o.web), &first, answer);
	if (rc || answer->status != 307 || !*g->location)
		return tus_judge(why, rc, answer) ? why->rc : (why->rc = -EINVAL);
	httpc_answer_free(answer);
	if (range)
		there[n++] = range;
	if (match)
		there[n++] = match;
	call->url = g->location;
	call->headers = there;
	call->arg = g;
	call->stop = &s->stop;
	rc = httpc_do(web_client(s->o.web), call, answer);
	return tus_judge(why, rc, answer);
}

/* Files that people see; the others are passed over as a block. "" : go on behind the page's last. */
static const char *behind(const char *key)
{
	return !strncmp(key, ".weir/", 6)    ? ".weir/\xf4\x8f\xbf\xbf"
	       : !strncmp(key, "derived/", 8) ? "derived/\xf4\x8f\xbf\xbf"
					      : "";
}

static int list_page(struct sync *s, char after[1024], json_t *all, bool *more, struct tus_why *why)
{
	char *a = http_percent_encode(after, false), *at = tus_url(s->o.web, "/b/", s->o.dataset, "/", ""), *url = NULL;
	struct httpc_call call = { .body_max = 16u << 20, .timeout_ms = LISTING_MS };
	struct httpc_answer answer = { 0 };
	struct get g = { .s = s };
	json_t *page = NULL, *o;
	const char *skip = "";
	size_t i;
	int rc;

	if (a && at && asprintf(&url, "%s?limit=" PAGE "&prefix=&after=%s", at, a) < 0)
		url = NULL;
	rc = get(s, url, &call, NULL, NULL, &g, &answer, why);
	*more = false;
	if (!rc)
		page = json_loadb(answer.body, answer.len, 0, NULL);
	if (rc == -ENOENT && why->status == 404 && !strcmp(why->code, "no_bucket"))
		rc = 0; /* nothing was stored yet */
	json_array_foreach (json_object_get(page, "objects"), i, o) {
		const char *key = js_text(o, "key", "");

		snprintf(after, 1024, "%s", key);
		skip = behind(key);
		if (*skip)
			break;
		json_object_set_new(all, key, json_pack("{s:s, s:O?}", "sha256", js_text(o, "sha256", ""), "size",
							json_object_get(o, "size")));
	}
	*more = *skip || json_is_string(json_object_get(page, "next"));
	if (*skip)
		snprintf(after, 1024, "%s", skip);
	json_decref(page);
	httpc_answer_free(&answer);
	free(url);
	free(at);
	free(a);
	return rc;
}

int sync_list(struct sync *s, json_t **out, struct tus_why *why)
{
	json_t *all = json_object();
	char after[1024] = "";
	bool more = true;
	int rc = 0;

	while (!rc && more)
		rc = list_page(s, after, all, &more, why);
	if (rc)
		json_decref(all);
	else
		*out = all;
	return why->rc = rc;
}

int sync_get(struct sync *s, const char *file, const char *sha256, int fd, uint64_t from, struct tus_why *why)
{
	char *url = tus_url(s->o.web, "/b/", s->o.dataset, "/", file), range[64], match[64];
	struct get g = { .s = s, .fd = fd, .at = from };
	struct httpc_call call = { .on_head = take_head, .on_data = take_data, .on_header = take_header };
	struct httpc_answer answer = { 0 };
	int rc;

	snprintf(range, sizeof(range), "Range: bytes=%llu-", (unsigned long long)from);
	snprintf(match, sizeof(match), "If-Match: \"%.32s\"", sha256);
	rc = get(s, url, &call, from ? range : NULL, match, &g, &answer, why);
	httpc_answer_free(&answer);
	free(url);
	return rc;
}

int sync_has(struct sync *s, const char *file, const char *sha256, struct tus_why *why)
{
	char *url = tus_url(s->o.web, "/_/datasets/", s->o.dataset, "/files/", file);
	const char *headers[] = { web_authorization(s->o.web), NULL };
	struct httpc_call call = { .url = url, .headers = headers, .timeout_ms = LISTING_MS, .body_max = 16u << 20, .stop = &s->stop };
	struct httpc_answer answer = { 0 };
	json_t *manifest = NULL;
	int rc = tus_judge(why, url ? httpc_do(web_client(s->o.web), &call, &answer) : -ENOMEM, &answer);

	if (!rc)
		manifest = json_loadb(answer.body, answer.len, 0, NULL);
	if (!rc)
		rc = !strcmp(js_text(manifest, "sha256", ""), sha256);
	else if (rc != -EAGAIN && rc != -ECANCELED)
		rc = 0;
	json_decref(manifest);
	httpc_answer_free(&answer);
	free(url);
	return rc;
}

int sync_copy(struct sync *s, const char *from, const char *to, const char *key, char id[TUS_ID_MAX], struct tus_why *why)
{
	struct tus_new n = { .dataset = s->o.dataset, .file = to, .key = key };
	char *url = tus_url(s->o.web, "/_/datasets/", s->o.dataset, "/replace/", from), *as = http_percent_encode(to, false),
	     *metadata = tus_metadata_header(&n), *whole = NULL;
	const char *headers[] = { metadata, web_authorization(s->o.web), NULL };
	struct httpc_call call = { .method = "POST", .headers = headers, .stop = &s->stop };
	struct httpc_answer answer = { 0 };
	json_t *said = NULL;
	int rc;

	if (url && as && metadata && asprintf(&whole, "%s?as=%s", url, as) < 0)
		whole = NULL;
	call.url = whole;
	rc = tus_judge(why, whole ? httpc_do(web_client(s->o.web), &call, &answer) : -ENOMEM, &answer);
	if (!rc)
		said = json_loadb(answer.body, answer.len, 0, NULL);
	snprintf(id, TUS_ID_MAX, "%s", js_text(said, "id", ""));
	json_decref(said);
	httpc_answer_free(&answer);
	free(whole);
	free(url);
	free(as);
	free(metadata);
	return rc;
}

int sync_delete(struct sync *s, const char *file, const char *sha256, struct tus_why *why)
{
	char *url = tus_url(s->o.web, "/b/", s->o.dataset, "/", file), match[64];
	const char *headers[] = { web_authorization(s->o.web), match, NULL };
	struct httpc_call call = { .method = "DELETE", .url = url, .headers = headers, .timeout_ms = LISTING_MS };
	struct httpc_answer answer = { 0 };
	int rc;

	snprintf(match, sizeof(match), "If-Match: \"%.32s\"", sha256);
	rc = tus_judge(why, url ? httpc_do(web_client(s->o.web), &call, &answer) : -ENOMEM, &answer);
	httpc_answer_free(&answer);
	free(url);
	return rc;
}

int sync_digest(struct sync *s, int fd, char sha256[65])
{
	size_t max = 256u << 10;
	char *buf = malloc(max);
	struct sha256 *h = sha256_new();
	uint8_t sum[32];
	off_t at = 0;
	ssize_t n = buf && h ? 1 : -1;

	while (n > 0 && !s->stop) {
		n = pread(fd, buf, max, at);
		if (n > 0)
			sha256_add(h, buf, (size_t)n);
		at += n > 0 ? n : 0;
	}
	free(buf);
	if (n) {
		sha256_drop(h);
		return n < 0 ? -EIO : -ECANCELED;
	}
	sha256_end(h, sum);
	hex_encode(sum, sizeof(sum), sha256);
	return 0;
}
