/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web.c -- see web.h.
 */
#include "tools/web.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/daemon.h" /* WEIR_VERSION */
#include "lib/hash.h"
#include "lib/httpd.h"
#include "lib/token.h"
#include "tools/aws.h"
#include "tools/login.h"

#define ANSWER_MAX (64u << 20) /* bytes: a catalogue, a page of the audit log */
#define CONNECT_MS 5000
#define STALL_MS   60000

struct web {
	struct httpc *client;
	struct web_place place;
	char user[64];
	char authorization[TOKEN_MAX + 32];
};

/* ---- where and who --------------------------------------------------------------------------- */

/* A gateway that this node's file names: its first listener. */
static char *url_of_conf(const char *path)
{
	char text[ADDR_PORT_STRLEN], *url = NULL;
	struct conf *conf = NULL;
	struct addr_port at;

	if (access(path, R_OK) || conf_load(&conf, path, NULL))
		return NULL;
	if (conf->gateway.enabled && conf->gateway.nlisten && !*conf->gateway.listen[0].path) {
		at = conf->gateway.listen[0];
		at.proto = 0;
		addr_port_format(&at, text, sizeof(text));
		if (!strncmp(text, "0.0.0.0:", 8) &&
		    asprintf(&url, "http://127.0.0.1:%s", text + 8) < 0)
			url = NULL;
		else if (!url && asprintf(&url, "http://%s", text) < 0)
			url = NULL;
	}
	conf_free(conf);
	return url;
}

/* The first line. */
static char *read_token(const char *path)
{
	FILE *in = fopen(path, "re");
	char line[TOKEN_MAX], *token = NULL;

	if (!in)
		return NULL;
	if (fgets(line, sizeof(line), in)) {
		line[strcspn(line, "\r\n")] = '\0';
		token = strdup(line);
	}
	fclose(in);
	OPENSSL_cleanse(line, sizeof(line));
	return token;
}

static char *read_default_token(void)
{
	const char *home = getenv("HOME");
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/.config/weir/token", home ? home : "");
	return read_token(path);
}

static void trim(char *url)
{
	while (url && *url && url[strlen(url) - 1] == '/')
		url[strlen(url) - 1] = '\0';
}

static char *find_url(const struct cmd_options *opt, const struct web_flags *flags,
		      const struct login *login, const struct aws_keys *aws, bool conf_first)
{
	const char *given = flags->url		 ? flags->url
			    : getenv("WEIR_URL") ? getenv("WEIR_URL")
						 : getenv("WEIR_GATEWAY");
	char *url;

	if (given && *given)
		return strdup(given);
	if (flags->profile && aws->url)
		return strdup(aws->url);
	url = conf_first || !login->url ? url_of_conf(opt->conf) : NULL;
	if (!url && login->url)
		return strdup(login->url);
	return url || !aws->url ? url : strdup(aws->url);
}

static char *key_text(const struct aws_keys *aws)
{
	char *both = NULL, *encoded;

	if (asprintf(&both, "%s:%s", aws->id, aws->secret) < 0)
		return NULL;
	encoded = base64_encode(both, strlen(both));
	OPENSSL_cleanse(both, strlen(both));
	free(both);
	return encoded;
}

/* The first of those that are there, in the order of web.h. */
static int find_who(struct web_place *out, const struct web_flags *flags, const struct login *login, const struct aws_keys *aws)
{
	const char *given = getenv("WEIR_TOKEN");

	if (flags->token_file) {
		out->token = read_token(flags->token_file);
		return out->token ? CMD_OK
				  : cmd_fail("%s: cannot read a token: %s", flags->token_file, strerror(errno));
	}
	if (flags->profile && !aws->id)
		return aws->foreign ? cmd_fail("the key %s of profile %s is not one of weir's (`weir user key add` makes them)",
					       aws->foreign, flags->profile)
				    : cmd_fail("there is no profile %s with a key in ~/.aws/credentials or ~/.aws/config",
					       flags->profile);
	if (!flags->profile && given && *given)
		out->token = strdup(given);
	else if (!flags->profile && out->login)
		out->token = strdup(login->token);
	else if (!aws->id || !aws->chosen)
		out->token = read_default_token();
	if (out->token || !aws->id)
		return CMD_OK;
	if (strncmp(out->url, "http://", 7) && strncmp(out->url, "https://", 8))
		return cmd_fail("%s is no address of a gateway: http://HOST:PORT or https://HOST", out->url);
	if (!aws_secret_may_go(out->url))
		return cmd_fail("%s is not encrypted, and the secret of an access key goes to https or to this machine alone; "
				"sign in instead (weir login), or use an S3 client, which does not send it",
				out->url);
	out->key = true;
	out->token = key_text(aws);
	return out->token ? CMD_OK : cmd_fail("out of memory");
}

int web_find(struct web_place *out, const struct cmd_options *opt, const struct web_flags *flags,
	     bool conf_first)
{
	struct aws_keys aws;
	struct login login;
	int rc = login_read(&login);

	*out = (struct web_place){ .ca = flags->ca ? strdup(flags->ca) : NULL };
	if (rc == -EINVAL)
		cmd_fail("what `weir login` kept is broken; sign in again: weir login URL");
	if (aws_find(&aws, flags->profile)) {
		login_free(&login);
		return cmd_fail("out of memory");
	}
	out->url = find_url(opt, flags, &login, &aws, conf_first);
	trim(out->url);
	out->login = out->url && login.url && !strcmp(out->url, login.url);
	rc = out->url ? find_who(out, flags, &login, &aws)
		      : cmd_fail("no gateway is known: sign in (weir login https://HOST), give --url, set "
				 "WEIR_URL, or -c FILE of a node that has one");
	if (!out->ca && out->login && login.ca)
		out->ca = strdup(login.ca);
	login_free(&login);
	aws_free(&aws);
	if (rc)
		web_place_free(out);
	return rc;
}

char *web_place_header(const struct web_place *place)
{
	char *header = NULL;

	return !place->token || asprintf(&header, "Authorization: %s %s", place->key ? "Basic" : "Bearer", place->token) < 0
		       ? NULL
		       : header;
}

void web_place_free(struct web_place *place)
{
	if (place->token)
		OPENSSL_cleanse(place->token, strlen(place->token));
	free(place->token);
	free(place->url);
	free(place->ca);
	*place = (struct web_place){ 0 };
}

/* ---- the client ------------------------------------------------------------------------------ */

void web_set_token(struct web *w, const char *token)
{
	int64_t expires;

	w->user[0] = '\0';
	w->authorization[0] = '\0';
	w->place.key = false;
	if (!token || !*token)
		return;
	snprintf(w->authorization, sizeof(w->authorization), "Authorization: Bearer %s", token);
	if (login_token_says(token, w->user, &expires))
		w->user[0] = '\0';
}

static void set_place(struct web *w)
{
	char *header;

	if (!w->place.key) {
		web_set_token(w, w->place.token);
		return;
	}
	header = web_place_header(&w->place);
	snprintf(w->authorization, sizeof(w->authorization), "%s", header ? header : "");
	if (header)
		OPENSSL_cleanse(header, strlen(header));
	free(header);
}

int web_open(struct web **out, const struct cmd_options *opt, const struct web_flags *flags,
	     bool anonymous)
{
	struct httpc_options options = { .connect_ms = CONNECT_MS,
					 .stall_ms = STALL_MS,
					 .user_agent = "weir/" WEIR_VERSION };
	struct web *w = calloc(1, sizeof(*w));
	int rc = w ? web_find(&w->place, opt, flags, false) : cmd_fail("out of memory");

	if (rc) {
		free(w);
		return rc;
	}
	set_place(w);
	options.ca = w->place.ca;
	if (!anonymous && !w->place.token)
		rc = cmd_fail(
			"you are not signed in at %s: weir login %s (or give --token-file, "
			"set WEIR_TOKEN, or have an access key of weir's in AWS_ACCESS_KEY_ID or ~/.aws/credentials)",
			w->place.url, w->place.url);
	else if ((rc = httpc_new(&w->client, &options)))
		rc = cmd_fail("%s: cannot read certificates: %s", options.ca ? options.ca : "TLS",
			      strerror(-rc));
	if (rc)
		web_close(w);
	else
		*out = w;
	return rc;
}

void web_close(struct web *w)
{
	if (!w)
		return;
	httpc_free(w->client);
	web_place_free(&w->place);
	OPENSSL_cleanse(w->authorization, sizeof(w->authorization));
	free(w);
}

const char *web_base(const struct web *w)
{
	return w->place.url;
}

const char *web_token(const struct web *w)
{
	return *w->authorization && !w->place.key ? w->authorization + strlen("Authorization: Bearer ") : "";
}

const char *web_user(const struct web *w)
{
	return w->user;
}

struct httpc *web_client(struct web *w)
{
	return w->client;
}

const char *web_authorization(const struct web *w)
{
	return *w->authorization ? w->authorization : NULL;
}

char *web_url(const struct web *w, const char *path)
{
	char *url = NULL;

	return asprintf(&url, "%s%s", w->place.url, path) < 0 ? NULL : url;
}

const char *web_part(const char *text, bool slash)
{
	static __thread char ring[8][4096];
	static __thread unsigned int next;
	char *buf = ring[next++ % 8], *encoded = http_percent_encode(text, slash);

	snprintf(buf, sizeof(ring[0]), "%s", encoded ? encoded : "");
	free(encoded);
	return buf;
}

const char *web_safe(const char *text)
{
	static __thread char ring[32][512];
	static __thread unsigned int next;
	char *buf = ring[next++ % 32];
	size_t n = 0;

	for (const unsigned char *at = (const unsigned char *)text; *at && n + 1 < 512; at++) {
		bool c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0;

		buf[n++] = c1 || *at < 0x20 || *at == 0x7f ? '?' : (char)*at;
		at += c1;
	}
	buf[n] = '\0';
	return buf;
}

/* ---- one call -------------------------------------------------------------------------------- */

int web_fail(const struct web *w, const char *doing, int rc, long status, const json_t *words,
	     const char *error)
{
	const char *code = js_text(words, "error", ""),
		   *message = web_safe(js_text(words, "message", "no reason was given"));

	if (rc == -EPROTO)
		return cmd_fail(
			"cannot %s: %s: %s; is its certificate signed by an authority that this "
			"machine knows? (--ca FILE)",
			doing, w->place.url, error);
	if (rc)
		return cmd_fail("cannot %s: no answer from %s: %s", doing, w->place.url, error);
	if (status == 401 && !*w->authorization)
		return cmd_fail("cannot %s: you are not signed in at %s: weir login %s", doing,
				w->place.url, w->place.url);
	if (status == 401)
		return cmd_fail("cannot %s: %s; sign in again: weir login %s", doing,
				strcmp(code, "expired") ? message : "the login has expired",
				w->place.url);
	if (status == 404 && !words)
		return cmd_fail(
			"cannot %s: %s does not know this (404); is it a weir gateway of this "
			"version?",
			doing, w->place.url);
	return cmd_fail("cannot %s: %s (%ld%s%s%s)", doing, message, status, *code ? " " : "",
			web_safe(code), status / 100 == 5 ? "; try again" : "");
}

int web_ask(struct web *w, const struct web_call *call, struct web_answer *out)
{
	char *text = call->json ? json_dumps(call->json, JSON_COMPACT) : NULL, type[128];
	const char *headers[16] = { web_authorization(w) };
	char *url = web_url(w, call->path);
	struct httpc_answer answer;
	size_t n = headers[0] != NULL;
	struct httpc_call c = { .method = call->method,
				.url = url,
				.headers = headers,
				.body = text ? text : call->body,
				.body_len = text ? strlen(text) : call->len,
				.body_max = ANSWER_MAX,
				.timeout_ms = call->timeout_ms ? call->timeout_ms : 30000 };
	int rc;

	json_decref(call->json);
	*out = (struct web_answer){ 0 };
	headers[n++] = "Accept: application/json";
	if (call->type) {
		snprintf(type, sizeof(type), "Content-Type: %s", call->type);
		headers[n++] = type;
	}
	for (size_t i = 0; call->headers && call->headers[i] && n < 15; i++)
		headers[n++] = call->headers[i];
	headers[n] = NULL;
	rc = httpc_do(w->client, &c, &answer);
	free(url);
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
	if (rc) {
		rc = web_fail(w, call->doing, rc, 0, NULL, answer.error);
		httpc_answer_free(&answer);
		return rc;
	}
	out->status = answer.status;
	out->text = answer.body;
	out->json = answer.body ? json_loadb(answer.body, answer.len, 0, NULL) : NULL;
	memcpy(out->etag, answer.etag, sizeof(out->etag));
	return CMD_OK;
}

void web_answer_free(struct web_answer *answer)
{
	json_decref(answer->json);
	if (answer->text)
		OPENSSL_cleanse(answer->text, strlen(answer->text));
	free(answer->text);
	*answer = (struct web_answer){ 0 };
}

int web_json(struct web *w, const struct web_call *call, json_t **out)
{
	struct web_answer answer;
	int rc = web_ask(w, call, &answer);

	if (rc)
		return rc;
	if (answer.status / 100 != 2)
		rc = web_fail(w, call->doing, 0, answer.status, answer.json, NULL);
	else if (out)
		*out = json_incref(answer.json);
	web_answer_free(&answer);
	return rc;
}
