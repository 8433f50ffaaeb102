/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel.h -- the sub-commands of `weir tunnel` among themselves.
 *
 * tunnel.c has the table, those that make a tunnel (tunnel_wish.c reads what it shall be) and those
 * that change it; tunnel_show.c reads the registry, tunnel_watch.c asks the edge; tunnel_enroll.c and
 * tunnel_origin.c run where an origin runs, without registry or configuration. argc and argv are what
 * follows the sub-command's name; exit codes as in cmd.h.
 */
#ifndef WEIR_TOOLS_TUNNEL_H
#define WEIR_TOOLS_TUNNEL_H

#include <stddef.h>

#include "lib/tunnels.h"
#include "tools/cmd.h"

/* enroll TOKEN|- --edge HOST:PORT [--dir DIR]: a key, and a certificate for it, into DIR. */
int tunnel_enroll(int argc, char **argv);
/* run [NAME] --hostname H --to URL … [--dir DIR]: becomes `weir-tunnel origin`, in the foreground.
 */
int tunnel_run(int argc, char **argv);

/* Where the credentials of tunnels lie: /var/lib/weir/tunnels, or ~/.config/weir/tunnels for those
 * who are not root. */
char *tunnel_folders(char *buf, size_t len);
/* Makes a folder and those above it. 0 or -errno. */
int tunnel_make_folder(const char *path);

/* ---- tunnel_wish.c ---- */
/* The options of create and set, as they were written. */
struct tunnel_wishes {
	const char *hostnames[TUNNEL_HOSTNAMES_MAX], *ports[TUNNEL_PORTS_MAX],
		*allow[TUNNEL_PREFIXES_MAX], *deny[TUNNEL_PREFIXES_MAX];
	size_t nhostnames, nports, nallow, ndeny;
	const char *owner, *client_ca, *ttl;
	bool tls_pass, no_wait;
	struct cmd_options opt;
};
/* Takes all options out of argv; what cmd_parse() returns, or -2 after a message. */
int tunnel_wishes_take(const struct cmd *cmd, int argc, char **argv, struct tunnel_wishes *w);
/* Changes what was wished for; lists that were given replace. An exit code; what is wrong was said. */
int tunnel_wishes_set(const struct tunnel_wishes *w, struct tunnel *t);

/* ---- tunnel_show.c ---- */
int tunnel_list(const struct cmd *cmd, int argc, char **argv);
int tunnel_info(const struct cmd *cmd, int argc, char **argv);
/* The tunnel for people's programs: no secrets, its addresses and ports as text. A new reference. */
json_t *tunnel_json(const struct tunnel *t);
/* {"at","silent":[NODE…]} of published/NAME when it is of revision or later; a new reference, or NULL
 * when it is not there yet, or the registry does not answer. */
json_t *tunnel_published(struct registry *reg, const char *name, int64_t revision);
/* "80/http 443/https" */
char *tunnel_ports_text(const struct tunnel *t, char *buf, size_t len);

/* ---- tunnel_watch.c ---- */
int tunnel_top(const struct cmd *cmd, int argc, char **argv);
int tunnel_logs(const struct cmd *cmd, int argc, char **argv);

/* ---- tunnel_status.c: a role's part of `weir status` ---- */
void tunnel_print_edge(const json_t *edge);
void tunnel_print_origin(const json_t *origin);
void tunnel_print_authority(const json_t *authority);

#endif
