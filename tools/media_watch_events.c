/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_watch_events.c -- the stream of instructions. Each is complete in itself and signed for this session: one with a
 * wrong MAC is told and ignored, a gap in the sequence or an epoch that goes back asks for all of it again.
 */
#include "tools/media_watch.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/hash.h"

#define LINE_MAX_BYTES (256u << 10)
#define AGAIN_MS       700

const struct viewer_instruction *viewer_told(const struct viewer *v)
{
	static const struct viewer_instruction alone = { .role = VIEWER_ALONE, .source = VIEWER_SERVER };

	return v->told.given && v->told.until > viewer_unix() ? &v->told : &alone;
}

/* ---- what it says ---------------------------------------------------------------------------- */

static int word_of(const json_t *o, const char *key, const char *const *words)
{
	const char *text = js_text(o, key, "");

	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], text))
			return i;
	return -1;
}

static void ids_of(const json_t *list, struct viewer_ids *out)
{
	const json_t *id;
	size_t i;

	json_array_foreach (list, i, id)
		if (out->n < VIEWER_PEERS && !viewer_id_of(id, out->id[out->n]))
			out->n++;
}

static void ranges_of(const json_t *list, struct viewer_instruction *out)
{
	const json_t *range;
	size_t i;

	json_array_foreach (list, i, range) {
		json_int_t r = json_integer_value(json_array_get(range, 0)), a = json_integer_value(json_array_get(range, 1)),
			   b = json_integer_value(json_array_get(range, 2));

		if (json_array_size(range) == 3 && out->nhold < VIEWER_RANGES && r >= 0 && r < 1000 && a >= 0 && b >= a && b < UINT32_MAX)
			out->hold[out->nhold++] = (struct viewer_range){ (uint32_t)r, (uint32_t)a, (uint32_t)b };
	}
}

static int payload_of(struct viewer_instruction *out, int64_t *report_ms, const char *text)
{
	json_t *o = json_loads(text, JSON_ALLOW_NUL, NULL);
	int state = word_of(o, "state", viewer_states), role = word_of(o, "role", viewer_roles),
	    source = word_of(o, "source", viewer_sources);

	if (json_integer_value(json_object_get(o, "v")) != 1 || state < 0 || role < 0 || source < 0) {
		json_decref(o);
		return -EINVAL;
	}
	*out = (struct viewer_instruction){ .given = true,
					    .seq = json_integer_value(json_object_get(o, "seq")),
					    .epoch = json_integer_value(json_object_get(o, "epoch")),
					    .until = (int64_t)json_number_value(json_object_get(o, "until")),
					    .group = json_integer_value(json_object_get(o, "group")),
					    .cap = json_number_value(json_object_get(o, "cap")),
					    .state = (enum viewer_state)state,
					    .role = (enum viewer_role)role,
					    .source = (enum viewer_source)source };
	ids_of(json_object_get(o, "share"), &out->share);
	ids_of(json_object_get(o, "from"), &out->from);
	ranges_of(json_object_get(o, "hold"), out);
	if (json_integer_value(json_object_get(o, "report")) >= 100)
		*report_ms = json_integer_value(json_object_get(o, "report"));
	json_decref(o);
	return 0;
}

int viewer_instruction_take(struct viewer_instruction *out, int64_t *report_ms, const char *data, const uint8_t *key,
			    size_t key_len)
{
	json_t *o = json_loads(data, 0, NULL);
	const char *p = js_text(o, "p", ""), *m = js_text(o, "m", "");
	uint8_t want[32], got[48];
	int rc = -EBADMSG;

	hmac_sha256(key, key_len, p, strlen(p), want);
	if (base64_decode(m, strlen(m), got, sizeof(got)) == sizeof(want) && !CRYPTO_memcmp(want, got, sizeof(want)))
		rc = payload_of(out, report_ms, p);
	json_decref(o);
	return rc;
}

/* ---- the stream ------------------------------------------------------------------------------ */

struct stream {
	struct viewer *v;
	char event[32], *line;
	size_t len;
	bool heard, over; /* it was said that the session is */
};

/* Under the lock: is there anybody from whom we should be fed, and cannot ask? */
static bool misses_somebody(struct viewer *v)
{
	for (size_t i = 0; i < v->told.from.n; i++) {
		const struct viewer_peer *p = viewer_peer_by_id(v, v->told.from.id[i]);

		if (!p || (!*p->address && !p->bad))
			return true;
	}
	return false;
}

static void take_instruction(struct viewer *v, const char *data)
{
	struct viewer_instruction in;
	int64_t report_ms = 0;
	int rc = viewer_instruction_take(&in, &report_ms, data, v->key, v->key_len);

	viewer_trace(v, "instruction", "in", data, strlen(data));
	pthread_mutex_lock(&v->lock);
	if (rc) {
		v->count.forged += rc == -EBADMSG;
		cmd_fail("an instruction was ignored: %s", rc == -EBADMSG ? "it is not signed for this session" :
									    "it is none of this version");
	} else if (v->told.given && (in.epoch < v->told.epoch || (in.epoch == v->told.epoch && in.seq <= v->told.seq))) {
		v->resync = v->resync || in.epoch < v->told.epoch;
	} else {
		v->resync = v->resync || (v->told.given && in.epoch == v->told.epoch && in.seq != v->told.seq + 1);
		v->told = in;
		if (report_ms)
			v->report_ms = report_ms;
		if (misses_somebody(v))
			viewer_track_again(v);
	}
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
}

static void take_line(struct stream *s, const char *line)
{
	if (!strncmp(line, "event: ", 7))
		snprintf(s->event, sizeof(s->event), "%.31s", line + 7);
	else if (!strncmp(line, "data: ", 6) && !strcmp(s->event, "instruction"))
		take_instruction(s->v, line + 6);
	else if (!*line)
		s->event[0] = '\0';
}

static int on_data(void *arg, const void *data, size_t len)
{
	struct stream *s = arg;
	const char *p = data;

	for (size_t i = 0; i < len; i++) {
		if (p[i] != '\n' && s->len < LINE_MAX_BYTES) {
			s->line[s->len++] = p[i];
			continue;
		}
		s->line[s->len] = '\0';
		s->len = 0;
		take_line(s, s->line);
	}
	return s->v->quit ? -ECANCELED : 0;
}

static int on_head(void *arg, const struct httpc_answer *head)
{
	struct stream *s = arg;

	s->heard = head->status == 200;
	return s->heard ? 0 : -EACCES;
}

void *viewer_events_thread(void *arg)
{
	struct viewer *v = arg;
	struct stream s = { .v = v, .line = malloc(LINE_MAX_BYTES + 1) };
	const char *headers[] = { "Accept: text/event-stream", NULL };
	const struct timespec pause = { .tv_nsec = AGAIN_MS * 1000000l };

	while (s.line && !v->quit) {
		struct httpc_answer answer;
		size_t at;
		char *url = viewer_route(viewer_gateway(v, &at), "/_/peers/events", v->token);
		struct httpc_call call = {
			.url = url, .headers = headers, .on_head = on_head, .on_data = on_data, .arg = &s, .stop = &v->quit
		};

		s.len = 0;
		s.event[0] = '\0';
		s.heard = false;
		httpc_do(web_client(v->web), &call, &answer);
		free(url);
		if (!v->quit && !s.heard && answer.status == 401 && !s.over)
			s.over = cmd_fail("the gateway refuses the session (401): it has expired; start again");
		if (!v->quit && !s.heard)
			viewer_gateway_failed(v, at);
		httpc_answer_free(&answer);
		if (!v->quit)
			nanosleep(&pause, NULL);
	}
	free(s.line);
	return NULL;
}
