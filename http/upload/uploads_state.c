/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads_state.c -- one upload: how it is made, saved and loaded, what it tells, what is shown of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "http/upload/uploads_int.h"
#include "lib/log.h"

#define PROGRESS_MS 200 /* between two events of progress */

const char *const upload_state_names[UP_STATES] = { "receiving", "checking", "storing", "accepted",
						    "rejected",	 "failed",   "cancelled" };

bool upload_over(const struct upload *up)
{
	return up->state >= UP_ACCEPTED;
}

/* ---- made ---- */

static struct upload *upload_alloc(struct uploads *u)
{
	struct upload *up = calloc(1, sizeof(*up));

	if (!up)
		return NULL;
	up->u = u;
	up->refs = 1;
	up->fd = -1;
	up->size = up->hold = UINT64_MAX;
	up->findings = json_array();
	up->outputs = json_array();
	pthread_mutex_init(&up->lock, NULL);
	pthread_mutex_init(&up->save_lock, NULL);
	return up;
}

void upload_free(struct upload *up)
{
	if (up->fd >= 0)
		close(up->fd);
	atomic_fetch_sub(&up->u->used, up->reserved);
	http_topic_free(up->topic);
	free(up->metadata);
	free(up->if_match);
	free(up->if_none_match);
	json_decref(up->replaced);
	json_decref(up->findings);
	json_decref(up->outputs);
	json_decref(up->type);
	json_decref(up->columns);
	json_decref(up->result);
	json_decref(up->over_result);
	json_decref(up->rules);
	json_decref(up->keys);
	pthread_mutex_destroy(&up->lock);
	pthread_mutex_destroy(&up->save_lock);
	free(up);
}

/* So many bytes of the spool are this upload's. Under its lock, or before it is known. 0 or -ENOSPC. */
int upload_reserve(struct upload *up, uint64_t bytes)
{
	uint64_t more;

	if (bytes <= up->reserved)
		return 0;
	more = bytes - up->reserved;
	if (atomic_fetch_add(&up->u->used, more) + more > up->u->conf.spool) {
		atomic_fetch_sub(&up->u->used, more);
		return -ENOSPC;
	}
	up->reserved = bytes;
	return 0;
}

static void take_begin_values(struct upload *up, const struct upload_begin *b)
{
	snprintf(up->dataset, sizeof(up->dataset), "%s", b->dataset ? b->dataset : "");
	snprintf(up->file, sizeof(up->file), "%s", b->file ? b->file : "");
	snprintf(up->by, sizeof(up->by), "%s", b->by);
	snprintf(up->from, sizeof(up->from), "%s", b->from ? b->from : "");
	snprintf(up->how, sizeof(up->how), "%s", b->how);
	snprintf(up->request, sizeof(up->request), "%s", b->request ? b->request : "");
	up->metadata = strdup(b->metadata ? b->metadata : "");
	up->if_match = b->if_match ? strdup(b->if_match) : NULL;
	up->if_none_match = b->if_none_match ? strdup(b->if_none_match) : NULL;
	up->replaced = json_incref(b->replaced);
	up->concat = b->concat;
	up->size = b->size;
	up->max_size = b->max_size;
	up->begun = up->changed = time(NULL);
	up->active_ms = now_ms();
	up->expires = up->begun + (int64_t)(up->u->conf.expire_us / 1000000);
}

int upload_new(struct upload **out, struct uploads *u, const struct upload_begin *begin)
{
	struct upload *up;
	int rc = 0;

	if (uploads_of_user(u, begin->by) >= u->conf.per_user)
		return -EDQUOT;
	up = upload_alloc(u);
	if (!up)
		return -ENOMEM;
	take_begin_values(up, begin);
	spool_id(u->spool, up->id);
	if (begin->size != UINT64_MAX)
		rc = upload_reserve(up, begin->size);
	if (!rc && begin->size != UINT64_MAX && begin->size > spool_free_bytes(u->spool))
		rc = -ENOSPC;
	if (!rc) {
		up->fd = spool_file(u->spool, up->id, "data", SPOOL_MAKE);
		rc = up->fd < 0 ? up->fd : upload_save(up);
	}
	if (rc) {
		spool_remove(u->spool, up->id, true);
		upload_free(up);
		return rc;
	}
	uploads_enter(u, up);
	*out = up;
	return 0;
}

/* ---- saved and loaded ---- */

static json_t *state_json(struct upload *up)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "dataset",
			      up->dataset, "file", up->file, "by", up->by, "from", up->from, "how", up->how, "request",
			      up->request, "metadata", up->metadata, "why", up->why, "state", up->state, "concat",
			      up->concat, "size", up->size == UINT64_MAX ? (json_int_t)-1 : (json_int_t)up->size,
			      "max_size", (json_int_t)up->max_size, "begun", (json_int_t)up->begun, "changed",
			      (json_int_t)up->changed, "expires", (json_int_t)up->expires, "version",
			      (json_int_t)up->version, "rules_generation", (json_int_t)up->rules_generation);

	if (!o)
		return NULL;
	if (up->hold != UINT64_MAX)
		json_object_set_new(o, "hold", json_integer((json_int_t)up->hold));
	if (up->if_match)
		json_object_set_new(o, "if_match", json_string(up->if_match));
	if (up->if_none_match)
		json_object_set_new(o, "if_none_match", json_string(up->if_none_match));
	if (up->state == UP_STORING || upload_over(up)) {
		json_object_set(o, "result", up->result ? up->result : json_null());
		json_object_set(o, "findings", up->findings);
		json_object_set(o, "outputs", up->outputs);
		json_object_set(o, "keys", up->keys ? up->keys : json_null());
		json_object_set(o, "columns", up->columns ? up->columns : json_null());
		json_object_set(o, "rules", up->rules ? up->rules : json_null());
		json_object_set_new(o, "received", json_integer((json_int_t)up->received));
		json_object_set_new(o, "rows", json_integer((json_int_t)up->rows));
	}
	if (up->replaced)
		json_object_set(o, "replaced", up->replaced);
	return o;
}

int upload_save(struct upload *up)
{
	json_t *o;
	int rc;

	pthread_mutex_lock(&up->save_lock);
	if (up->removed) {
		pthread_mutex_unlock(&up->save_lock);
		return 0;
	}
	pthread_mutex_lock(&up->lock);
	o = state_json(up);
	/* What is in it may grow while it is written. */
	if (o) {
		json_t *copy = json_deep_copy(o);

		json_decref(o);
		o = copy;
	}
	pthread_mutex_unlock(&up->lock);
	rc = o ? spool_save(up->u->spool, up->id, o) : -ENOMEM;
	json_decref(o);
	pthread_mutex_unlock(&up->save_lock);
	if (rc)
		log_limited(LOG_LEVEL_ERROR, 10, "upload %.8s…: its state cannot be saved: %s", up->id + 8, strerror(-rc));
	return rc;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

static uint64_t number_of(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n < 0 ? UINT64_MAX : (uint64_t)n;
}

static json_t *value_of(const json_t *o, const char *key)
{
	json_t *value = json_object_get(o, key);

	return value && !json_is_null(value) ? json_incref(value) : NULL;
}

static void load_values(struct upload *up, const json_t *o)
{
	const json_t *match = json_object_get(o, "if_match"), *none = json_object_get(o, "if_none_match");
	struct upload_begin b = {
		.dataset = text_of(o, "dataset"),
		.file = text_of(o, "file"),
		.by = text_of(o, "by"),
		.from = text_of(o, "from"),
		.how = text_of(o, "how"),
		.request = text_of(o, "request"),
		.metadata = text_of(o, "metadata"),
		.size = number_of(o, "size"),
		.max_size = number_of(o, "max_size"),
		.concat = (enum tus_concat)number_of(o, "concat"),
		.if_match = json_string_value(match),
		.if_none_match = json_string_value(none),
		.replaced = json_object_get(o, "replaced"),
	};

	take_begin_values(up, &b);
	up->begun = (int64_t)number_of(o, "begun");
	up->changed = (int64_t)number_of(o, "changed");
	up->expires = (int64_t)number_of(o, "expires");
	up->version = number_of(o, "version");
	up->state = (enum upload_state)number_of(o, "state");
	up->rules_generation = (int64_t)number_of(o, "rules_generation");
	snprintf(up->why, sizeof(up->why), "%s", text_of(o, "why"));
	up->result = value_of(o, "result");
	up->keys = value_of(o, "keys");
	up->columns = value_of(o, "columns");
	up->rules = value_of(o, "rules");
	up->rows = number_of(o, "rows");
	if (json_is_array(json_object_get(o, "findings"))) {
		json_decref(up->findings);
		up->findings = value_of(o, "findings");
	}
	if (json_is_array(json_object_get(o, "outputs"))) {
		json_decref(up->outputs);
		up->outputs = value_of(o, "outputs");
	}
	up->nfindings = number_of(up->result, "findings");
	if (up->result)
		up->type = value_of(up->result, "type");
}

/* What a former process left: false when nothing can be made of it. */
static bool take_up(struct upload *up, const json_t *o)
{
	uint64_t hold = json_object_get(o, "hold") ? number_of(o, "hold") : UINT64_MAX;
	struct stat st;

	if (up->state >= UP_STATES)
		return false;
	if (up->state == UP_ACCEPTED || up->state == UP_CANCELLED) {
		up->received = number_of(o, "received");
		return true;
	}
	up->fd = spool_file(up->u->spool, up->id, "data", SPOOL_WRITE);
	if (up->fd < 0 || fstat(up->fd, &st))
		return false;
	up->received = (uint64_t)st.st_size;
	if (upload_over(up)) {
		close(up->fd);
		up->fd = -1;
		up->reserved = up->received;
		atomic_fetch_add(&up->u->used, up->reserved);
		return true;
	}
	/* A loss of power took some of it. */
	if (up->state != UP_RECEIVING && up->received < up->size) {
		if (strcmp(up->how, "tus") || up->concat == TUS_FINAL)
			return false;
		up->state = UP_RECEIVING;
	}
	up->hold = hold;
	if (up->received > hold && !ftruncate(up->fd, (off_t)hold))
		up->received = hold;
	/* Nobody can go on with a PUT or a form whose connection is gone, nor with parts that were being joined. */
	if (up->state == UP_RECEIVING && (strcmp(up->how, "tus") || up->concat == TUS_FINAL))
		return false;
	up->store_began_ms = now_ms();
	up->reserved = up->size != UINT64_MAX ? up->size : up->received;
	atomic_fetch_add(&up->u->used, up->reserved);
	up->wants_worker = up->concat != TUS_PARTIAL &&
			   (up->state == UP_CHECKING || (up->state == UP_RECEIVING && up->received));
	if (up->state == UP_RECEIVING && up->received == up->size)
		upload_whole(up);
	return true;
}

void upload_loaded(void *arg, const char *id, json_t *state)
{
	struct uploads *u = arg;
	struct upload *up = upload_alloc(u);

	if (!up)
		return;
	memcpy(up->id, id, sizeof(up->id));
	load_values(up, state);
	if (!take_up(up, state)) {
		spool_remove(u->spool, id, true);
		upload_free(up);
		return;
	}
	uploads_enter(u, up);
	upload_drop(up);
}

/* ---- told ---- */

void upload_tell(struct upload *up, const char *event, const json_t *value)
{
	char *text;

	if (!up->topic || !value)
		return;
	text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	if (text)
		http_topic_send(up->topic, event, text);
	free(text);
}

static json_t *progress_json(const struct upload *up)
{
	return json_pack("{s:I, s:I, s:o, s:I}", "received", (json_int_t)up->received, "checked",
			 (json_int_t)up->checked, "size",
			 up->size == UINT64_MAX ? json_null() : json_integer((json_int_t)up->size), "rows",
			 (json_int_t)up->rows);
}

static json_t *state_event(const struct upload *up)
{
	return json_pack("{s:s, s:s, s:I}", "state", upload_state_names[up->state], "why", up->why, "version",
			 (json_int_t)up->version);
}

void upload_tell_progress(struct upload *up)
{
	int64_t now = now_ms();
	json_t *value;

	if (!up->topic || now - up->progress_ms < PROGRESS_MS)
		return;
	up->progress_ms = now;
	value = progress_json(up);
	upload_tell(up, "progress", value);
	json_decref(value);
}

void upload_tell_state(struct upload *up)
{
	json_t *value = state_event(up);

	upload_tell(up, "state", value);
	json_decref(value);
}

void upload_say_why(struct upload *up, const char *why)
{
	json_t *text;

	snprintf(up->why, sizeof(up->why), "%s", why ? why : "");
	text = json_string(up->why);
	for (char *c = up->why; !text && *c; c++) /* a name that was cut within a character */
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	json_decref(text);
}

void upload_become(struct upload *up, enum upload_state state, const char *why)
{
	json_t *value;

	up->state = state;
	upload_say_why(up, why);
	up->changed = time(NULL);
	/* How long it is kept counts from now. */
	up->expires = up->changed + (int64_t)(up->u->conf.expire_us / 1000000);
	value = progress_json(up);
	upload_tell(up, "progress", value);
	json_decref(value);
	if (upload_over(up)) {
		upload_tell(up, "result", up->result);
		metric_inc(up->u->m_state[state], 1);
	}
	upload_tell_state(up);
	waiters_answer(up);
	hold_release(up);
}

static void replay_add(FILE *out, const char *event, const json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL, *wire;
	size_t len = 0;

	wire = text ? http_event_format(event, text, &len) : NULL;
	if (wire)
		fwrite(wire, 1, len, out);
	free(wire);
	free(text);
}

char *upload_replay(struct upload *up, size_t *len)
{
	json_t *state = state_event(up), *progress = progress_json(up), *finding;
	char *text = NULL;
	FILE *out = open_memstream(&text, len);
	size_t i;

	if (out) {
		replay_add(out, "state", state);
		replay_add(out, "type", up->type);
		replay_add(out, "columns", up->columns);
		json_array_foreach (up->findings, i, finding)
			replay_add(out, "finding", finding);
		replay_add(out, "progress", progress);
		if (upload_over(up) || up->check_over)
			replay_add(out, "result", up->result);
		if (upload_over(up)) /* who waits for its end hears it last */
			replay_add(out, "state", state);
		if (fclose(out)) {
			free(text);
			text = NULL;
		}
	}
	json_decref(state);
	json_decref(progress);
	return text;
}

/* ---- shown ---- */

json_t *upload_json(struct upload *up, bool full)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:s, s:I, s:I, s:I}", "id", up->id,
			      "dataset", up->dataset, "file", up->file, "by", up->by, "how", up->how, "state",
			      upload_state_names[up->state], "size",
			      up->size == UINT64_MAX ? json_null() : json_integer((json_int_t)up->size), "received",
			      (json_int_t)up->received, "checked", (json_int_t)up->checked, "rows", (json_int_t)up->rows,
			      "version", (json_int_t)up->version, "why", up->why, "begun", (json_int_t)up->begun,
			      "changed", (json_int_t)up->changed, "expires", (json_int_t)up->expires);
	static const char *const counts[] = { "rows", "good", "bad", "quarantine", "findings" };
	json_t *c = json_object();

	if (!o) {
		json_decref(c);
		return NULL;
	}
	json_object_set_new(c, "findings", json_integer((json_int_t)up->nfindings));
	json_object_set_new(c, "rows", json_integer((json_int_t)up->rows));
	for (size_t i = 0; up->result && i < sizeof(counts) / sizeof(*counts); i++)
		if (json_is_integer(json_object_get(up->result, counts[i])))
			json_object_set(c, counts[i], json_object_get(up->result, counts[i]));
	json_object_set_new(o, "counts", c);
	if (!full)
		return o;
	json_object_set_new(o, "findings", json_deep_copy(up->findings));
	json_object_set(o, "type", up->type ? up->type : json_null());
	json_object_set(o, "columns", up->columns ? up->columns : json_null());
	json_object_set_new(o, "summary", json_deep_copy(json_object_get(up->result, "summary")));
	if (!json_object_get(o, "summary"))
		json_object_set_new(o, "summary", json_array());
	json_object_set_new(o, "result", up->result ? json_deep_copy(up->result) : json_null());
	if (up->replaced)
		json_object_set(o, "replaced", up->replaced);
	return o;
}

/* ---- names and who sees ---- */

static bool segment_is(const char *segment, size_t len, const char *text)
{
	return strlen(text) == len && !memcmp(segment, text, len);
}

/* Not all that UTF-8 can be: jansson refuses what is none. */
bool file_name_valid(const char *name)
{
	size_t len = strlen(name);
	json_t *text = len && len <= FILE_NAME_MAX ? json_string(name) : NULL;
	const char *segment = name;

	if (!text)
		return false;
	json_decref(text);
	for (const char *c = name; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return false;
	for (;;) {
		size_t n = strcspn(segment, "/");

		if (!n || segment_is(segment, n, ".") || segment_is(segment, n, ".."))
			return false;
		/* Keys of ours: these at the beginning; ".weir/a/keys/x" is of "a", not the manifest's place of "a/keys/x". */
		if (segment == name ? segment_is(segment, n, ".weir") || segment_is(segment, n, "derived")
				    : segment_is(segment, n, "keys") || segment_is(segment, n, "versions"))
			return false;
		if (!segment[n])
			return true;
		segment += n + 1;
	}
}

bool upload_visible(struct uploads *u, const struct token_scope *who, const struct upload *up)
{
	if (users_role(u->opt.users, who) >= ROLE_STEWARD)
		return true;
	/* A narrow token sees no more than what it is for. */
	return !strcmp(who->user, up->by) &&
	       (!who->bucket[0] || !strcmp(who->bucket, "*") || !strcmp(who->bucket, up->dataset));
}
