/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload.h -- the parts of `weir upload`. All functions say what went wrong and return the command's exit code.
 */
#ifndef WEIR_TOOLS_UPLOAD_H
#define WEIR_TOOLS_UPLOAD_H

#include <sys/stat.h>

#include "tools/rate.h"
#include "tools/tus.h"
#include "tools/upload_watch.h"

struct upload_options {
	struct web *web;
	struct rate *rate; /* NULL: as fast as it goes */
	bool json, stop_at_first, no_wait;
	unsigned int retry_s; /* how long a gateway may be away */
};

int upload_file(const struct upload_options *o, const char *path, const char *dataset, const char *name);
/* Prints how an upload ended; frees the watch. 0 when it was accepted. */
int upload_finish(const struct upload_options *o, const char *id, const char *name, const char *dataset,
		  struct watch *watch);
/* Replaces rows or bytes of a rejected upload (its id), or of an accepted file (DATASET/FILE). */
int upload_mend(const struct upload_options *o, const char *what, const char *rows, const char *bytes,
		const char *path);
const char *upload_base_name(const char *path);

/* ---- what was begun: one small file each, named by gateway, user, dataset, file and path ---- */
char *upload_state_path(const char *url, const char *user, const char *dataset, const char *name,
			const char *path); /* malloc'ed */
/* False: nothing, or of another state of the file. */
bool upload_state_read(const char *state, const struct stat *st, char id[TUS_ID_MAX]);
void upload_state_write(const char *state, const struct stat *st, const char *id);
/* $XDG_STATE_HOME/weir/NAME, made; false: it cannot be. */
bool upload_state_folder(char out[4096], const char *name);

#endif
