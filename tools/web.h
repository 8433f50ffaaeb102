/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web.h -- a gateway's HTTP API for commands: which gateway, who asks, JSON in and out, and
 * sentences that say what to do when it does not work.
 *
 * Which gateway: --url (or --gateway), $WEIR_URL, $WEIR_GATEWAY, the login (`weir login`), the
 * gateway of -c FILE, that of the AWS profile or variables (aws.h). Who: --token-file, the key of
 * --profile, $WEIR_TOKEN, the login, the key of AWS variables, ~/.config/weir/token, the key of the
 * AWS profile. The login's token goes to the login's gateway alone, the secret of a key to HTTPS or
 * loopback alone. Everything here that fails has said so on standard
 * error.
 */
#ifndef WEIR_TOOLS_WEB_H
#define WEIR_TOOLS_WEB_H

#include <stdint.h>

#include "lib/httpc.h"
#include "tools/cmd.h"

struct web_flags {
	const char *url, *token_file, *ca, *profile;
};
/* Rows of a command's own flags. */
#define WEB_FLAGS(f)                                                                               \
	{ "--url", &(f).url, NULL }, { "--gateway", &(f).url, NULL },                              \
		{ "--token-file", &(f).token_file, NULL }, { "--profile", &(f).profile, NULL },    \
	{                                                                                          \
		"--ca", &(f).ca, NULL                                                              \
	}

/* Where and who, without a connection. Strings are malloc'ed or NULL; free with web_place_free().
 * conf_first: the file of -c goes before the login (commands that were there before it). CMD_OK
 * also when no token was found. */
struct web_place {
	char *url, *ca;
	char *token; /* or, when key, base64 of an access key's id and secret */
	bool key;
	bool login; /* the login's gateway and token */
};
/* "Authorization: …", malloc'ed; NULL: nobody in particular. */
char *web_place_header(const struct web_place *place);
int web_find(struct web_place *out, const struct cmd_options *opt, const struct web_flags *flags,
	     bool conf_first);
void web_place_free(struct web_place *place);

struct web;
/* CMD_OK, or CMD_FAILED. Without a token it is an error unless anonymous. */
int web_open(struct web **out, const struct cmd_options *opt, const struct web_flags *flags,
	     bool anonymous);
void web_close(struct web *w);		    /* accepts NULL */
const char *web_base(const struct web *w);  /* "https://HOST", no '/' at its end */
const char *web_token(const struct web *w); /* "" : none */
const char *web_user(const struct web *w);  /* whose the token says it is; "" */
void web_set_token(struct web *w, const char *token);
/* For calls with callbacks of one's own: the client, and "Authorization: Bearer …" (NULL: no
 * token). */
struct httpc *web_client(struct web *w);
const char *web_authorization(const struct web *w);
/* base + path; parts of the path from elsewhere go through web_part() before. malloc'ed. */
char *web_url(const struct web *w, const char *path);
/* Percent-encoded into one of 8 rotating buffers of the thread; slash: '/' stays. */
const char *web_part(const char *text, bool slash);

struct web_call {
	const char *doing;  /* "list the datasets": for the sentence */
	const char *method; /* GET when NULL */
	const char *path;
	json_t *json;	  /* body; the reference is taken; or */
	const void *body; /* … bytes of this type */
	size_t len;
	const char *type;
	const char *const *headers; /* more; may be NULL */
	unsigned int timeout_ms;    /* 0: 30 s */
};
struct web_answer {
	long status;
	json_t *json; /* NULL: no JSON */
	char *text;   /* as it came */
	char etag[80];
};
/* CMD_OK when an answer came, whatever its status. */
int web_ask(struct web *w, const struct web_call *call, struct web_answer *out);
void web_answer_free(struct web_answer *answer);
/* Says why, from the status and the gateway's own words, and what to do; CMD_FAILED. rc: of
 * httpc_do, 0 when there was an answer; words: the answer's JSON or NULL. */
int web_fail(const struct web *w, const char *doing, int rc, long status, const json_t *words,
	     const char *error);
/* Both: the answer's JSON when the status is 2xx (a new reference, may be NULL for an empty one).
 */
int web_json(struct web *w, const struct web_call *call, json_t **out);

/* Control characters (also C1) of a text from elsewhere as '?', into one of 32 rotating buffers of
 * 512 bytes. */
const char *web_safe(const char *text);

#endif
