/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl.h -- the control socket: RUN/ROLE.sock, one JSON line asked, one JSON line answered.
 *
 * Only root and the daemon's own user may connect (SO_PEERCRED). `status` and `reload` exist in
 * every daemon; a daemon adds its own commands. Commands run on the main thread. A request is at
 * most 64 KiB, an answer 16 MiB; a peer that is silent for 5 s is dropped.
 */
#ifndef WEIR_CTL_H
#define WEIR_CTL_H

#include <jansson.h>

#include "lib/loop.h"

struct ctl;

/* Returns the answer's members (a new reference to an object; "ok": true is added), or NULL after
 * writing a sentence into err (at most err_len bytes), which becomes {"ok":false,"error":…}. */
typedef json_t *ctl_fn(void *arg, const json_t *request, char *err, size_t err_len);

struct ctl_command {
	const char *name;
	ctl_fn *fn;
};

/* Binds path (its folder must exist) and serves on the loop. commands ends with a NULL name and is
 * kept, not copied. 0 or -errno. ctl_bind() may be called while privileged: the socket is made with
 * mode 0600 and given to uid. */
int ctl_bind(struct ctl **out, const char *path, uid_t uid);
int ctl_serve(struct ctl *ctl, struct loop *loop, const struct ctl_command *commands, void *arg);
void ctl_free(struct ctl *ctl);                 /* accepts NULL; removes the socket file */

/* Client. Asks the daemon at path; *answer is a new reference that the caller drops. Returns 0, or
 * -errno (-ENOENT, -ECONNREFUSED: not running; -EACCES: not allowed; -ETIMEDOUT; -EPROTO), or
 * -EREMOTEIO when the daemon answered with an error: then *answer holds {"ok":false,"error":…}. */
int ctl_call(const char *path, const json_t *request, json_t **answer, unsigned int timeout_ms);

#endif
