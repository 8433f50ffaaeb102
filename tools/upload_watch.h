/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload_watch.h -- what a gateway tells of an upload while it arrives: its events are listened to on a thread
 * of their own; findings are printed as they come, and a bar shows how far sending and checking are.
 */
#ifndef WEIR_TOOLS_UPLOAD_WATCH_H
#define WEIR_TOOLS_UPLOAD_WATCH_H

#include "tools/web.h"

struct watch;

struct watch_options {
	const char *name;   /* of the file, for the lines */
	bool json;	    /* JSON lines on standard output */
	bool stop_at_first; /* *stop is set at the first finding that is more than a warning */
	volatile bool *stop;
	uint64_t size; /* UINT64_MAX: not known */
};

/* Begins to listen; NULL without memory. */
struct watch *watch_new(struct web *w, const char *id, const struct watch_options *opt);
/* Bytes that were sent; draws the bar. */
void watch_sent(struct watch *watch, uint64_t bytes);
void watch_at(struct watch *watch, uint64_t offset); /* so many are there (of an earlier run too) */
/* Waits for the upload's end, at most so long (0: without end); false: it did not come. */
bool watch_wait(struct watch *watch, unsigned int seconds);
bool watch_is_over(struct watch *watch);
/* Ends listening, wipes the bar; the state it saw last into state. The number of findings. */
size_t watch_free(struct watch *watch, char state[16]);

/* One JSON line on standard output: {"event": name, "file": file, …}; takes value. */
void watch_json(const char *event, const char *file, json_t *value);
/* A finding as people read it. */
void watch_print_finding(const char *file, const json_t *finding);

#endif
