/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd.h -- what the commands of `weir` share: options, where the configuration is, tables, JSON,
 * progress, asking daemons.
 *
 * Every command prints for people on a terminal, and one JSON text with --json. Results go to
 * standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 wrong use.
 */
#ifndef WEIR_CMD_H
#define WEIR_CMD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/conf.h"
#include "lib/registry.h"

enum cmd_exit { CMD_OK = 0, CMD_FAILED = 1, CMD_USAGE = 2 };

struct cmd {
	const char *name;
	const char *args;    /* after the name in the usage line */
	const char *summary; /* one line */
	const char *help;    /* options and an example, lines ended */
	int (*run)(const struct cmd *cmd, int argc, char **argv);
};

/* The commands, one table in weir.c. */
int cmd_up(const struct cmd *cmd, int argc, char **argv);
int cmd_check(const struct cmd *cmd, int argc, char **argv);
int cmd_status(const struct cmd *cmd, int argc, char **argv);
int cmd_top(const struct cmd *cmd, int argc, char **argv);
int cmd_trace(const struct cmd *cmd, int argc, char **argv);
int cmd_weights(const struct cmd *cmd, int argc, char **argv);
int cmd_fsck(const struct cmd *cmd, int argc, char **argv);
int cmd_scrub(const struct cmd *cmd, int argc, char **argv);
int cmd_sealing(const struct cmd *cmd, int argc, char **argv);
int cmd_filter(const struct cmd *cmd, int argc, char **argv);
int cmd_rescue(const struct cmd *cmd, int argc, char **argv);
int cmd_drain(const struct cmd *cmd, int argc, char **argv);
int cmd_put(const struct cmd *cmd, int argc, char **argv);
int cmd_get(const struct cmd *cmd, int argc, char **argv);
int cmd_ls(const struct cmd *cmd, int argc, char **argv);
int cmd_du(const struct cmd *cmd, int argc, char **argv);
int cmd_rm(const struct cmd *cmd, int argc, char **argv);
int cmd_user(const struct cmd *cmd, int argc, char **argv);
int cmd_token(const struct cmd *cmd, int argc, char **argv);
int cmd_bucket(const struct cmd *cmd, int argc, char **argv);
int cmd_group(const struct cmd *cmd, int argc, char **argv);
int cmd_dataset(const struct cmd *cmd, int argc, char **argv);
int cmd_upload(const struct cmd *cmd, int argc, char **argv);
int cmd_sync(const struct cmd *cmd, int argc, char **argv);
int cmd_audit(const struct cmd *cmd, int argc, char **argv);
int cmd_catalogue(const struct cmd *cmd, int argc, char **argv);
int cmd_media(const struct cmd *cmd, int argc, char **argv);
int cmd_login(const struct cmd *cmd, int argc, char **argv);
int cmd_logout(const struct cmd *cmd, int argc, char **argv);
int cmd_whoami(const struct cmd *cmd, int argc, char **argv);
int cmd_ca(const struct cmd *cmd, int argc, char **argv);
int cmd_lab(const struct cmd *cmd, int argc, char **argv);
int cmd_tunnel(const struct cmd *cmd, int argc, char **argv);
int cmd_peers(const struct cmd *cmd, int argc, char **argv);

/* ---- options ---- */
/* The options that every command may have; a command's own go through `own`. */
struct cmd_options {
	const char *conf; /* -c; CONF_DEFAULT_PATH */
	bool json;
};
struct cmd_flag {
	const char *name;   /* "--ttl" */
	const char **value; /* takes a value, or */
	bool *set;	    /* is only set */
};
/* Takes options out of argv (also after positional arguments; "--" ends them), leaves the
 * positional ones in argv[0 … return-1]. own ends with a NULL name, or is NULL. On --help prints
 * and returns -1; on a wrong option says so and returns -2: cmd_exit_of() turns these into exit
 * codes. */
int cmd_parse(const struct cmd *cmd, int argc, char **argv, struct cmd_options *opt,
	      const struct cmd_flag *own);
/* Before that, for an option that may be given several times: takes all "NAME VALUE" and "NAME=VALUE"
 * out of argv, lowers *argc, and returns how many there were (at most max are kept). */
size_t cmd_take_all(int *argc, char **argv, const char *name, const char **values, size_t max);
int cmd_exit_of(int parsed);
void cmd_help(const struct cmd *cmd);
int cmd_usage(const struct cmd *cmd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- saying ---- */
int cmd_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* returns CMD_FAILED */
int cmd_print_json(json_t *value);	/* takes the reference; CMD_OK */
const char *cmd_color(const char *sgr); /* "\033[…m", or "" when standard output is no terminal or
					   NO_COLOR is set */

/* A table: columns by '|' in head ("NAME|SLOTS>"; '>' aligns right). Cells are copied. */
struct table;
struct table *table_new(const char *head);
void table_row(struct table *t, ...)
	__attribute__((sentinel)); /* as many strings as columns, NULL */
void table_print(struct table *t); /* and frees it */

char *cmd_bytes(uint64_t bytes, char buf[16]);	    /* "1.5 MiB" */
char *cmd_duration(uint64_t seconds, char buf[16]); /* "3 h 20 m" */
/* "90s", "5m", "1h", "7d"; 0 when malformed. */
uint64_t cmd_parse_duration(const char *text);
/* "500MiB", "2TiB", "7"; false when malformed. */
bool cmd_parse_size(const char *text, uint64_t *out);

/* Waits so many seconds, or for a key on a terminal; false when the user wants to go (q). */
bool cmd_rest(unsigned int seconds);

/* What `weir status` prints, once; true: every role answers. */
bool show_status(const struct conf *conf, bool json);

/* ---- reaching ---- */
/* Loads the configuration or says its faults; NULL then. */
struct conf *cmd_conf(const struct cmd_options *opt);
/* Opens the registry of conf, or says why not; NULL then. */
struct registry *cmd_registry(const struct conf *conf);

#define CMD_ROLES 9
struct cmd_role {
	const char *role, *program;
	const char *mode; /* the program's first argument, or NULL */
	bool enabled;
};
/* The roles that conf names, in the order in which they start; the array ends with a NULL role. */
void cmd_roles(const struct conf *conf, struct cmd_role roles[CMD_ROLES]);
/* Asks a role's control socket, {"do": what} or a request of one's own (the reference is taken); a new
 * reference, or NULL after filling why. */
json_t *cmd_ask_with(const struct conf *conf, const char *role, json_t *request, char *why,
		     size_t why_len);
json_t *cmd_ask(const struct conf *conf, const char *role, const char *what, char *why,
		size_t why_len);

/* Text and numbers out of a JSON object, with a fallback. */
const char *js_text(const json_t *o, const char *key, const char *fallback);
double js_num(const json_t *o, const char *key);
/* A number as text into one of 16 rotating buffers: decimals digits after the point. */
const char *js_show(const json_t *o, const char *key, int decimals);

/* `weir weights show|freeze|thaw|rollback …` (weights.c). */
int weights_edit(const struct cmd *cmd, const struct cmd_options *opt, int n, char **argv);

#endif
