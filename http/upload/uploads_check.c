/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads_check.c -- an upload's worker: what it gets, what it tells, how it ends.
 *
 * A worker begins with the upload's first byte. One whose upload gets no bytes while others wait for a worker is set
 * aside: it is cancelled, and begins anew when bytes come. Checking is the same each time, so what was told before is
 * passed over.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/upload/check.h"
#include "http/upload/objects.h"
#include "http/upload/uploads_int.h"
#include "lib/log.h"

#define FDS_MAX	    64
#define LOST_MAX    3	/* workers of one upload that were taken away by no fault of the file */

struct rules *record_rules(const json_t *record)
{
	const json_t *json = json_object_get(record, "rules");
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	struct rules *rules = NULL;

	if (text && rules_parse(&rules, text, strlen(text), json_string_value(json_object_get(record, "name")), NULL))
		rules = NULL;
	free(text);
	return rules;
}

/* ---- what the worker says; on its thread ---- */

static void take_finding(struct upload *up, const json_t *value)
{
	if (up->told++ < json_array_size(up->findings))
		return;
	if (json_array_size(up->findings) >= FINDINGS_SHOWN)
		return;
	json_array_append_new(up->findings, json_deep_copy(value));
	up->nfindings = json_array_size(up->findings);
	metric_inc(up->u->m_findings, 1);
	if (up->nfindings == 1)
		hold_finding(up);
	upload_tell(up, "finding", value);
}

/* {"bytes"|"checked","rows"} of the worker becomes the upload's own. */
static void take_progress(struct upload *up, const json_t *value)
{
	const json_t *bytes = json_object_get(value, "checked"), *rows = json_object_get(value, "rows");

	if (!bytes)
		bytes = json_object_get(value, "bytes");
	if (json_is_integer(bytes))
		up->checked = (uint64_t)json_integer_value(bytes);
	if (json_is_integer(rows))
		up->rows = (uint64_t)json_integer_value(rows);
	upload_tell_progress(up);
}

static void on_event(void *arg, const char *name, const json_t *value)
{
	struct upload *up = arg;

	pthread_mutex_lock(&up->lock);
	if (!strcmp(name, "finding")) {
		take_finding(up, value);
	} else if (!strcmp(name, "progress")) {
		take_progress(up, value);
	} else if (!strcmp(name, "type") || !strcmp(name, "columns")) {
		json_t **kept = *name == 't' ? &up->type : &up->columns;
		bool same = *kept && json_equal(*kept, value);

		if (!same) {
			json_decref(*kept);
			*kept = json_deep_copy(value);
			upload_tell(up, name, value);
		}
	}
	pthread_mutex_unlock(&up->lock);
}

/* Says so often that who is held goes on without a stop. */
static void on_checked(void *arg, uint64_t bytes)
{
	struct upload *up = arg;

	pthread_mutex_lock(&up->lock);
	up->checked = bytes < up->received ? bytes : up->received;
	hold_release(up);
	pthread_mutex_unlock(&up->lock);
}

static int on_open(void *arg, const char *name)
{
	struct upload *up = arg;
	char suffix[32];
	json_t *o;
	int fd, n;

	pthread_mutex_lock(&up->lock);
	n = (int)json_array_size(up->outputs);
	o = n < 300 ? json_pack("{s:s, s:i}", "name", name, "n", n) : NULL;
	fd = o && !json_array_append_new(up->outputs, o) ? 0 : -EMFILE;
	pthread_mutex_unlock(&up->lock);
	if (fd)
		return fd;
	snprintf(suffix, sizeof(suffix), "out.%d", n);
	fd = spool_file(up->u->spool, up->id, suffix, SPOOL_MAKE);
	if (fd >= 0 && ftruncate(fd, 0)) { /* a worker that was set aside wrote there */
		n = -errno;
		close(fd);
		return n;
	}
	return fd;
}

static void on_done(void *arg, json_t *result, const char *why)
{
	struct upload *up = arg;

	pthread_mutex_lock(&up->lock);
	json_decref(up->over_result);
	up->over_result = json_incref(result);
	snprintf(up->over_why, sizeof(up->over_why), "%s", why ? why : "");
	up->check_over = true;
	hold_release(up);
	pthread_mutex_unlock(&up->lock);
	uploads_kick(up->u);
}

/* ---- started ---- */

/* Files for a worker, closed when it has them. */
struct hand {
	struct worker_job job;
	int key_fds[FDS_MAX];
	const char *key_columns[FDS_MAX];
};

static void hand_close(struct hand *h)
{
	for (size_t i = 0; i < h->job.nspill; i++)
		close(h->job.spill_fds[i]);
	for (size_t i = 0; i < h->job.nkeysets; i++)
		if (h->job.keyset_fds[i] >= 0)
			close(h->job.keyset_fds[i]);
	for (size_t i = 0; i < h->job.nkeys; i++)
		close(h->key_fds[i]);
	if (h->job.file_fd >= 0)
		close(h->job.file_fd);
}

static int hand_files(struct hand *h, struct upload *up, const struct rules *rules)
{
	struct uploads *u = up->u;
	size_t spills = check_spills(rules);

	for (size_t i = 0; i < spills && i < FDS_MAX; i++) {
		int fd = spool_temporary(u->spool);

		if (fd < 0)
			return fd;
		h->job.spill_fds[h->job.nspill++] = fd;
	}
	for (size_t i = 0; i < rules->nfields && h->job.nkeysets < FDS_MAX; i++) {
		const struct field *f = &rules->fields[i];
		int fd = -1, rc;

		if (!f->reference_dataset)
			continue;
		rc = objects_keys(u, f->reference_dataset, f->reference_column, up->by, &fd);
		if (rc && rc != -ENOENT)
			return -EAGAIN;
		h->job.keyset_fds[h->job.nkeysets++] = fd;
	}
	return 0;
}

/* Columns of this dataset that others refer to: a file each. */
static int hand_keys(struct hand *h, struct upload *up)
{
	json_t *columns = objects_referred(up->u, up->dataset), *column;
	size_t i;

	pthread_mutex_lock(&up->lock);
	json_decref(up->keys);
	up->keys = columns;
	pthread_mutex_unlock(&up->lock);
	json_array_foreach (columns, i, column) {
		char suffix[32];
		int fd;

		if (i == FDS_MAX)
			break;
		snprintf(suffix, sizeof(suffix), "key.%zu", i);
		fd = spool_file(up->u->spool, up->id, suffix, SPOOL_MAKE);
		if (fd < 0)
			return fd;
		if (ftruncate(fd, 0)) {
			close(fd);
			return -EIO;
		}
		h->key_fds[h->job.nkeys] = fd;
		h->key_columns[h->job.nkeys++] = json_string_value(column);
	}
	return 0;
}

static int start_worker(struct upload *up, const json_t *record, const struct rules *rules)
{
	struct hand h = { .job = { .rules = json_object_get(record, "rules"),
				   .on_event = on_event,
				   .on_checked = on_checked,
				   .on_open = on_open,
				   .on_done = on_done,
				   .arg = up } };
	struct worker *w = NULL;
	int rc;

	h.job.key_fds = h.key_fds;
	h.job.key_columns = h.key_columns;
	h.job.file_fd = spool_file(up->u->spool, up->id, "data", SPOOL_READ);
	rc = h.job.file_fd < 0 ? h.job.file_fd : hand_files(&h, up, rules);
	if (!rc)
		rc = hand_keys(&h, up);
	if (!rc)
		rc = worker_start(&w, up->u->nursery, &h.job);
	hand_close(&h);
	if (rc)
		return rc;
	pthread_mutex_lock(&up->lock);
	up->worker = w;
	up->starting = false;
	up->worker_ms = now_ms();
	up->worker_received = up->received;
	worker_available(w, up->received, up->received == up->size);
	if (upload_over(up))
		worker_cancel(w);
	pthread_mutex_unlock(&up->lock);
	return 0;
}

static void begin_anew(struct upload *up)
{
	pthread_mutex_lock(&up->lock);
	up->told = 0;
	up->checked = 0;
	up->check_over = up->aside = false;
	json_decref(up->outputs);
	up->outputs = json_array();
	pthread_mutex_unlock(&up->lock);
}

static void later(struct upload *up, int rc)
{
	log_limited(LOG_LEVEL_WARN, 10, "upload of %s/%s: it cannot be checked yet: %s%s%s", up->dataset, up->file,
		    strerror(-rc), *objects_error() ? "; " : "", objects_error());
	pthread_mutex_lock(&up->lock);
	up->starting = false;
	up->wants_worker = true;
	up->due_ms = now_ms() + 500;
	hold_release(up);
	pthread_mutex_unlock(&up->lock);
	atomic_fetch_sub(&up->u->workers, 1);
}

/* The dataset's record: NULL and 0, when it is gone for certain; -errno when the registry does not say. */
static int find_record(struct upload *up, json_t **record)
{
	char key[128];
	struct reg_kv kv;
	int rc;

	*record = users_dataset_record(up->u->opt.users, up->dataset);
	if (*record)
		return 0;
	snprintf(key, sizeof(key), REG_DATASETS "%s", up->dataset);
	rc = registry_get(up->u->opt.registry, key, &kv);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	*record = json_loadb(kv.value, kv.value_len, 0, NULL);
	reg_kv_free(&kv);
	return 0;
}

/* A mover's; `starting` is set. */
void check_start(struct upload *up)
{
	json_t *record = NULL;
	struct rules *rules;
	int rc = find_record(up, &record);

	begin_anew(up);
	if (rc) {
		later(up, rc);
		return;
	}
	rules = record_rules(record);
	if (!rules) {
		pthread_mutex_lock(&up->lock);
		up->starting = false;
		atomic_fetch_sub(&up->u->workers, 1);
		if (!upload_over(up))
			upload_become(up, UP_FAILED, record ? "the dataset's rules cannot be read" : "the dataset is gone");
		pthread_mutex_unlock(&up->lock);
		upload_save(up);
		json_decref(record);
		return;
	}
	pthread_mutex_lock(&up->lock); /* who cancels it saves it, with these */
	json_decref(up->rules);
	up->rules = json_incref(json_object_get(record, "rules"));
	up->rules_generation = json_integer_value(json_object_get(record, "generation"));
	pthread_mutex_unlock(&up->lock);
	rc = start_worker(up, record, rules);
	if (rc)
		later(up, rc);
	rules_free(rules);
	json_decref(record);
}

/* ---- ended ---- */

/* The worker died: that is the file's fault, as far as anybody can tell. */
static json_t *dead_result(struct upload *up, const char *why)
{
	json_t *finding = json_pack("{s:s, s:i, s:s, s:i, s:i, s:i, s:s, s:s, s:s+, s:s}", "level", "reject", "row", 0,
				    "column", "", "offset", 0, "row_offset", 0, "row_length", 0, "rule", "limits",
				    "value", "", "message", "the file could not be read within its limits: ", why,
				    "mend", "make it smaller or simpler, or ask who runs this for larger limits");

	json_array_append(up->findings, finding);
	up->nfindings++;
	upload_tell(up, "finding", finding);
	json_decref(finding);
	return json_pack("{s:s, s:I, s:[{s:s, s:s, s:i}]}", "verdict", "rejected", "findings",
			 (json_int_t)up->nfindings, "summary", "rule", "limits", "column", "", "count", 1);
}

/* Under the lock: a verdict and all bytes are there. */
static void verdict(struct upload *up)
{
	const char *said = json_string_value(json_object_get(up->result, "verdict"));

	if (said && !strcmp(said, "accepted")) {
		up->store_began_ms = now_ms();
		up->due_ms = 0;
		upload_become(up, UP_STORING, NULL);
	} else {
		upload_become(up, UP_REJECTED, "the file does not keep the dataset's rules");
	}
}

static void take_result(struct upload *up)
{
	json_t *n;

	json_decref(up->result);
	up->result = up->over_result ? json_incref(up->over_result) : dead_result(up, up->over_why);
	n = json_object_get(up->result, "findings");
	if (json_is_integer(n))
		up->nfindings = (uint64_t)json_integer_value(n);
	n = json_object_get(up->result, "rows");
	if (json_is_integer(n))
		up->rows = (uint64_t)json_integer_value(n);
	if (json_is_object(json_object_get(up->result, "type"))) {
		json_decref(up->type);
		up->type = json_incref(json_object_get(up->result, "type"));
	}
	if (up->state == UP_CHECKING)
		up->checked = up->received;
}

static int sync_file(struct upload *up, const char *kind, size_t n)
{
	char suffix[32];
	int fd, rc;

	snprintf(suffix, sizeof(suffix), "%s.%zu", kind, n);
	fd = spool_file(up->u->spool, up->id, suffix, SPOOL_READ);
	rc = fd < 0 ? fd : fdatasync(fd) ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return rc;
}

/* A state that says "storing" is believed after a loss of power, too: what is stored has to be there. 0 or -errno. */
static int sync_files(struct upload *up)
{
	int rc = fdatasync(up->fd) ? -errno : 0;

	for (size_t i = 0; i < json_array_size(up->outputs) && !rc; i++)
		rc = sync_file(up, "out", (size_t)json_integer_value(json_object_get(json_array_get(up->outputs, i), "n")));
	for (size_t i = 0; i < json_array_size(up->keys) && i < FDS_MAX && !rc; i++)
		rc = sync_file(up, "key", i);
	return rc;
}

void check_finish(struct upload *up)
{
	bool over, rejected, failed = false;
	struct worker *w;
	int fault = 0;

	pthread_mutex_lock(&up->lock);
	w = up->worker;
	up->worker = NULL;
	pthread_mutex_unlock(&up->lock);
	if (w) {
		fault = worker_fault(w);
		worker_free(w);
		atomic_fetch_sub(&up->u->workers, 1);
	}
	pthread_mutex_lock(&up->lock);
	if (up->check_over && w && !upload_over(up)) {
		if (up->aside) {
			up->aside = up->check_over = false;
			up->wants_worker = up->state == UP_CHECKING;
		} else if (!up->over_result && fault == -EPIPE && up->lost < LOST_MAX) {
			up->lost++;
			up->check_over = false;
			up->wants_worker = true;
			up->due_ms = now_ms() + 500;
		} else if (!up->over_result && fault == -ENOSPC) { /* the file is as good as any */
			failed = true;
			upload_become(up, UP_FAILED, up->over_why);
		} else {
			take_result(up);
			if (up->state != UP_CHECKING) /* bytes still come: what is known is told now */
				upload_tell(up, "result", up->result);
		}
	}
	if (up->state == UP_CHECKING && up->check_over && up->result)
		verdict(up);
	over = upload_over(up) || up->state == UP_STORING;
	rejected = up->state == UP_REJECTED;
	pthread_mutex_unlock(&up->lock);
	if (rejected || failed)
		uploads_audit_upload(up, up->replaced ? "replace" : "upload", "failed", failed ? up->why : "rejected");
	pthread_mutex_lock(&up->lock); /* many that were rejected may wait to be mended */
	if (upload_over(up) && !up->worker && !up->writer && up->fd >= 0) {
		close(up->fd);
		up->fd = -1;
	}
	pthread_mutex_unlock(&up->lock);
	if (over && up->state == UP_STORING && sync_files(up))
		return; /* its file says what it said: a new start checks anew */
	if (over)
		upload_save(up);
}

void check_cancel(struct upload *up)
{
	up->wants_worker = false;
	if (up->worker)
		worker_cancel(up->worker);
}

bool upload_cancel(struct upload *up, const char *why)
{
	bool stored;

	pthread_mutex_lock(&up->lock);
	stored = up->state == UP_STORING;
	if (up->state < UP_STORING) {
		check_cancel(up);
		upload_become(up, UP_CANCELLED, why);
	}
	pthread_mutex_unlock(&up->lock);
	uploads_kick(up->u);
	return !stored;
}
