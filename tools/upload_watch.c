/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload_watch.c -- see upload_watch.h.
 *
 * Listening is given up and begun anew when the connection breaks; the gateway then tells everything from the
 * beginning, and what was told before is passed over.
 */
#include "tools/upload_watch.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/tus.h"

#define LINE_MOST (1u << 20) /* of an event: bytes */
#define AGAIN_MS  500	     /* before another connection */
#define DRAW_S	  0.1

struct watch {
	struct web *w;
	struct watch_options opt;
	char id[TUS_ID_MAX], name[256];
	pthread_t thread;
	pthread_mutex_t lock; /* all that follows, and the terminal */
	pthread_cond_t changed;
	volatile bool quit;
	bool bar;
	char state[16];
	size_t told, replayed; /* findings printed; of this connection */
	uint64_t sent, checked, rows, begun_at;
	struct timespec begun, drawn;
	/* the event that is being read; the thread's own */
	char *line, event[32];
	size_t len;
};

/* ---- printing -------------------------------------------------------------------------------- */

void watch_json(const char *event, const char *file, json_t *value)
{
	json_t *o = json_pack("{s:s, s:s}", "event", event, "file", file);

	if (json_is_object(value))
		json_object_update_missing(o, value);
	json_decref(value);
	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(o);
}

void watch_print_finding(const char *file, const json_t *f)
{
	const char *level = js_text(f, "level", "?"), *column = js_text(f, "column", ""),
		   *value = js_text(f, "value", ""), *mend = js_text(f, "mend", "");
	bool bad = strcmp(level, "warn");

	printf("%s%s%s: ", cmd_color(bad ? "\033[31m" : "\033[33m"), web_safe(level), cmd_color("\033[0m"));
	printf("%s", web_safe(file));
	if (js_num(f, "row") > 0)
		printf(": row %s", js_show(f, "row", 0));
	if (*column)
		printf(", column %s", web_safe(column));
	printf(": %s: %s", web_safe(js_text(f, "rule", "?")), web_safe(js_text(f, "message", "")));
	if (*value)
		printf(" (found: %s)", web_safe(value));
	if (*mend)
		printf("\n    to mend: %s", web_safe(mend));
	putchar('\n');
	fflush(stdout);
}

static double seconds_since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

static void wipe(const struct watch *x)
{
	if (x->bar)
		fputs("\r\033[K", stderr);
}

/* Under the lock. */
static void draw(struct watch *x, bool now)
{
	char sent[16], size[16], checked[16], rate[16];
	uint64_t all = x->opt.size;
	int cells;

	if (!x->bar || (!now && seconds_since(&x->drawn) < DRAW_S))
		return;
	clock_gettime(CLOCK_MONOTONIC, &x->drawn);
	cells = all && all != UINT64_MAX ? (int)(20.0 * (double)x->sent / (double)all) : 0;
	cells = cells > 20 ? 20 : cells;
	fprintf(stderr, "\r[%.*s%*s] sent %s", cells, "====================", 20 - cells, "", cmd_bytes(x->sent, sent));
	if (all != UINT64_MAX)
		fprintf(stderr, " of %s", cmd_bytes(all, size));
	fprintf(stderr, ", checked %s, %s/s, %zu finding%s\033[K", cmd_bytes(x->checked, checked),
		cmd_bytes((uint64_t)((double)(x->sent - x->begun_at) / fmax(seconds_since(&x->begun), 0.01)), rate),
		x->told, x->told == 1 ? "" : "s");
}

/* ---- events ---------------------------------------------------------------------------------- */

static void take_finding(struct watch *x, const json_t *value)
{
	if (x->replayed++ < x->told)
		return;
	x->told++;
	if (x->opt.json) {
		watch_json("finding", x->name, json_copy((json_t *)value));
	} else {
		wipe(x);
		watch_print_finding(x->name, value);
		draw(x, true);
	}
	if (x->opt.stop_at_first && x->opt.stop && strcmp(js_text(value, "level", ""), "warn"))
		*x->opt.stop = true;
}

static void take_event(struct watch *x, const char *event, const json_t *value)
{
	pthread_mutex_lock(&x->lock);
	if (!strcmp(event, "finding")) {
		take_finding(x, value);
	} else if (!strcmp(event, "progress")) {
		x->checked = (uint64_t)fmax(0, js_num(value, "checked"));
		x->rows = (uint64_t)fmax(0, js_num(value, "rows"));
		if (x->opt.json)
			watch_json(event, x->name, json_copy((json_t *)value));
		draw(x, false);
	} else if (!strcmp(event, "state")) {
		snprintf(x->state, sizeof(x->state), "%.15s", js_text(value, "state", ""));
		if (x->opt.stop && tus_over(x->state) && strcmp(x->state, "accepted"))
			*x->opt.stop = true; /* no more bytes are of use */
		pthread_cond_broadcast(&x->changed);
	}
	pthread_mutex_unlock(&x->lock);
}

static void take_line(struct watch *x, const char *line)
{
	json_t *value;

	if (!strncmp(line, "event: ", 7)) {
		snprintf(x->event, sizeof(x->event), "%.31s", line + 7);
	} else if (!strncmp(line, "data: ", 6) && *x->event) {
		value = json_loads(line + 6, JSON_DECODE_ANY, NULL);
		take_event(x, x->event, value);
		json_decref(value);
	} else if (!*line) {
		x->event[0] = '\0';
	}
}

static int on_data(void *arg, const void *data, size_t len)
{
	struct watch *x = arg;
	const char *p = data;

	for (size_t i = 0; i < len; i++) {
		if (p[i] != '\n' && x->len < LINE_MOST) {
			x->line[x->len++] = p[i];
			continue;
		}
		x->line[x->len] = '\0';
		x->len = 0;
		take_line(x, x->line);
	}
	return x->quit || tus_over(x->state) ? -ECANCELED : 0;
}

static int on_head(void *arg, const struct httpc_answer *head)
{
	(void)arg;
	return head->status == 200 ? 0 : -EACCES;
}

static bool goes_on(struct watch *x)
{
	struct timespec until;
	bool on;

	pthread_mutex_lock(&x->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += AGAIN_MS * 1000000l;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	if (!x->quit && !tus_over(x->state))
		pthread_cond_timedwait(&x->changed, &x->lock, &until);
	on = !x->quit && !tus_over(x->state);
	x->replayed = 0;
	pthread_mutex_unlock(&x->lock);
	return on;
}

static void *listen_thread(void *arg)
{
	struct watch *x = arg;
	const char *headers[] = { "Accept: text/event-stream", web_authorization(x->w), NULL };
	char *url = tus_url(x->w, "/_/uploads/", x->id, "/events", "");

	do {
		struct httpc_answer answer;
		struct httpc_call call = {
			.url = url, .headers = headers, .on_head = on_head, .on_data = on_data, .arg = x, .stop = &x->quit
		};

		x->len = 0;
		x->event[0] = '\0';
		httpc_do(web_client(x->w), &call, &answer);
		httpc_answer_free(&answer);
	} while (goes_on(x));
	free(url);
	return NULL;
}

/* ---- from outside ---------------------------------------------------------------------------- */

struct watch *watch_new(struct web *w, const char *id, const struct watch_options *opt)
{
	struct watch *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->w = w;
	x->opt = *opt;
	snprintf(x->id, sizeof(x->id), "%s", id);
	snprintf(x->name, sizeof(x->name), "%s", opt->name);
	x->line = malloc(LINE_MOST + 1);
	x->bar = !opt->json && isatty(STDERR_FILENO);
	clock_gettime(CLOCK_MONOTONIC, &x->begun);
	pthread_mutex_init(&x->lock, NULL);
	pthread_cond_init(&x->changed, NULL);
	if (!x->line || pthread_create(&x->thread, NULL, listen_thread, x)) {
		free(x->line);
		free(x);
		return NULL;
	}
	return x;
}

void watch_sent(struct watch *x, uint64_t bytes)
{
	if (!x)
		return;
	pthread_mutex_lock(&x->lock);
	x->sent += bytes;
	draw(x, false);
	pthread_mutex_unlock(&x->lock);
}

void watch_at(struct watch *x, uint64_t offset)
{
	if (!x)
		return;
	pthread_mutex_lock(&x->lock);
	if (!x->sent)
		x->begun_at = offset;
	x->sent = offset;
	draw(x, false);
	pthread_mutex_unlock(&x->lock);
}

bool watch_is_over(struct watch *x)
{
	bool over;

	pthread_mutex_lock(&x->lock);
	over = tus_over(x->state);
	pthread_mutex_unlock(&x->lock);
	return over;
}

bool watch_wait(struct watch *x, unsigned int seconds)
{
	struct timespec until;
	bool over;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	pthread_mutex_lock(&x->lock);
	while (!tus_over(x->state) && rc != ETIMEDOUT)
		rc = seconds ? pthread_cond_timedwait(&x->changed, &x->lock, &until) :
			       pthread_cond_wait(&x->changed, &x->lock);
	over = tus_over(x->state);
	pthread_mutex_unlock(&x->lock);
	return over;
}

size_t watch_free(struct watch *x, char state[16])
{
	size_t told;

	pthread_mutex_lock(&x->lock);
	x->quit = true;
	pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->lock);
	pthread_join(x->thread, NULL);
	wipe(x);
	if (state)
		memcpy(state, x->state, sizeof(x->state));
	told = x->told;
	pthread_mutex_destroy(&x->lock);
	pthread_cond_destroy(&x->changed);
	free(x->line);
	free(x);
	return told;
}
