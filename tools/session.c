/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c -- `weir login`, `logout`, `whoami`: a token of this person's own, from a gateway.
 *
 * With an OpenID provider the device flow (RFC 8628): a URL and a code are shown, the person signs
 * in anywhere, and the gateway is asked until it has a token. Else user and password. The token is
 * kept by login.h.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/token.h"
#include "tools/login.h"
#include "tools/prompt.h"
#include "tools/web.h"

#define POLL_S	   5
#define POLL_MAX_S 60

struct login_flags {
	struct web_flags web;
	const char *user;
	bool device, from_stdin, json;
};

/* ---- signing in ------------------------------------------------------------------------------ */

static char *own(const char *text)
{
	return text ? strdup(text) : NULL;
}

/* Keeps what the gateway gave, and says so. */
static int keep(struct web *w, const char *token, const struct login_flags *flags)
{
	char user[64], left[16], *ca = flags->web.ca ? realpath(flags->web.ca, NULL) : NULL;
	struct login login = {
		.url = own(web_base(w)), .token = own(token), .user = user, .ca = ca
	};
	int64_t now = time(NULL);
	int rc;

	if (login_token_says(token, user, &login.expires))
		rc = cmd_fail("%s gave no token that weir knows; is it a weir gateway?",
			      web_base(w));
	else if ((rc = login_write(&login)))
		rc = cmd_fail("cannot keep the login: %s", strerror(-rc));
	else if (flags->json)
		rc = cmd_print_json(json_pack("{s:s, s:s, s:I}", "url", login.url, "user", user,
					      "expires", (json_int_t)login.expires));
	else
		printf("signed in at %s as %s, for %s\n", login.url, web_safe(user),
		       cmd_duration(login.expires > now ? (uint64_t)(login.expires - now) : 0,
				    left));
	free(login.url);
	OPENSSL_cleanse(login.token, login.token ? strlen(login.token) : 0);
	free(login.token);
	free(ca);
	return rc;
}

static int by_password(struct web *w, const struct login_flags *flags)
{
	char password[1100], user[128];
	struct web_call call = { .doing = "sign in",
				 .method = "POST",
				 .path = "/_/login/password" };
	struct web_answer answer;
	int rc;

	if (flags->user)
		snprintf(user, sizeof(user), "%s", flags->user);
	else if (prompt_line("user: ", user, sizeof(user)))
		return cmd_fail("whose login? give --user NAME");
	if (prompt_secret("password: ", flags->from_stdin, password, sizeof(password)))
		return cmd_fail(
			"no password came; on a terminal it is asked for, else give --stdin");
	call.json = json_pack("{s:s, s:s, s:b}", "user", user, "password", password, "token", 1);
	OPENSSL_cleanse(password, sizeof(password));
	if (!call.json)
		return cmd_fail("user and password are UTF-8");
	rc = web_ask(w, &call, &answer);
	if (rc)
		return rc;
	if (answer.status == 401)
		rc = cmd_fail("user or password is wrong");
	else if (answer.status / 100 != 2)
		rc = web_fail(w, call.doing, 0, answer.status, answer.json, NULL);
	else
		rc = keep(w, js_text(answer.json, "token", ""), flags);
	web_answer_free(&answer);
	return rc;
}

static void show_code(const json_t *device)
{
	const char *all = json_string_value(json_object_get(device, "verification_uri_complete"));

	fprintf(stderr, "open  %s\nenter %s\n", web_safe(js_text(device, "verification_uri", "?")),
		web_safe(js_text(device, "user_code", "?")));
	if (all)
		fprintf(stderr, "or at once: %s\n", web_safe(all));
	fputs("waiting for you to sign in there …\n", stderr);
}

/* One question. 1: not yet; *interval may grow. */
static int poll_device(struct web *w, const char *handle, unsigned int *interval, char **token)
{
	struct web_call call = { .doing = "sign in",
				 .method = "POST",
				 .path = "/_/login/device/token",
				 .json = json_pack("{s:s}", "handle", handle) };
	struct web_answer answer;
	int rc = web_ask(w, &call, &answer);

	if (rc)
		return rc;
	if (answer.status == 202) {
		if (!strcmp(js_text(answer.json, "error", ""), "slow_down"))
			*interval += 5; /* RFC 8628 section 3.5 */
		*interval = *interval > POLL_MAX_S ? POLL_MAX_S : *interval;
		rc = -1;
	} else if (answer.status == 410) {
		rc = cmd_fail("the code has expired; weir login again");
	} else if (answer.status == 429 || answer.status == 503) { /* busy: later */
		rc = -1;
	} else if (answer.status / 100 != 2) {
		rc = web_fail(w, "sign in", 0, answer.status, answer.json, NULL);
	} else {
		*token = strdup(js_text(answer.json, "token", ""));
	}
	web_answer_free(&answer);
	return rc;
}

static int by_device(struct web *w, const struct login_flags *flags)
{
	struct web_call call = { .doing = "sign in", .method = "POST", .path = "/_/login/device" };
	json_t *device = NULL;
	unsigned int interval;
	char *token = NULL;
	double asked;
	int rc = web_json(w, &call, &device);

	if (rc)
		return rc;
	show_code(device);
	asked = js_num(device, "interval");
	interval = asked >= 1 && asked <= POLL_MAX_S ? (unsigned int)asked : POLL_S;
	do {
		sleep(interval);
		rc = poll_device(w, js_text(device, "handle", ""), &interval, &token);
	} while (rc < 0);
	if (!rc)
		rc = keep(w, token, flags);
	if (token)
		OPENSSL_cleanse(token, strlen(token));
	free(token);
	json_decref(device);
	return rc;
}

/* What does the gateway offer? */
static int choose(struct web *w, const struct login_flags *flags)
{
	struct web_call call = { .doing = "sign in", .path = "/_/session" };
	json_t *session = NULL;
	bool provider;
	int rc;

	if (flags->web.token_file)
		return keep(w, web_token(w), flags);
	if (flags->device)
		return by_device(w, flags);
	if (flags->user)
		return by_password(w, flags);
	rc = web_json(w, &call, &session);
	if (rc)
		return rc;
	provider = json_is_true(json_object_get(session, "provider"));
	json_decref(session);
	return provider ? by_device(w, flags) : by_password(w, flags);
}

static bool in_the_clear(const char *url)
{
	char host[64];
	struct addr a;
	size_t len;

	if (strncmp(url, "http://", 7))
		return false;
	url += 7;
	len = *url == '[' ? strcspn(++url, "]") : strcspn(url, ":/");
	snprintf(host, sizeof(host), "%.*s", (int)(len < 63 ? len : 63), url);
	return strcmp(host, "localhost") && (addr_parse(&a, host) || !addr_is_loopback(&a));
}

int cmd_login(const struct cmd *cmd, int argc, char **argv)
{
	struct login_flags flags = { .json = false };
	const struct cmd_flag own_flags[] = { WEB_FLAGS(flags.web),
					      { "--user", &flags.user, NULL },
					      { "--device", NULL, &flags.device },
					      { "--stdin", NULL, &flags.from_stdin },
					      { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own_flags), rc;
	struct web *w = NULL;

	if (n < 0)
		return cmd_exit_of(n);
	if (n > 1 || (flags.device && flags.user))
		return cmd_usage(cmd, "wants a gateway's URL, and one way to sign in");
	flags.json = opt.json;
	if (n == 1)
		flags.web.url = argv[0];
	if (flags.web.url && strncmp(flags.web.url, "http://", 7) &&
	    strncmp(flags.web.url, "https://", 8))
		return cmd_usage(cmd, "%s is no URL; it begins with https://", flags.web.url);
	rc = web_open(&w, &opt, &flags.web, true);
	if (rc)
		return rc;
	if (in_the_clear(web_base(w)))
		fputs("weir: this is http: the token travels in the clear; use https where others "
		      "listen\n",
		      stderr);
	if (!flags.web.token_file)
		web_set_token(w, NULL); /* who signs in has none */
	rc = choose(w, &flags);
	web_close(w);
	return rc;
}

/* ---- signing out, who am I ------------------------------------------------------------------- */

int cmd_logout(const struct cmd *cmd, int argc, char **argv)
{
	struct web_call call = { .doing = "end the login", .method = "POST", .path = "/_/logout" };
	struct web_flags flags = { 0 };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, NULL), rc;
	struct login login;
	struct web *w = NULL;

	if (n < 0)
		return cmd_exit_of(n);
	if (n)
		return cmd_usage(cmd, "takes no arguments");
	rc = login_read(&login);
	if (rc == -ENOENT)
		return cmd_fail("you are not signed in (weir login URL)");
	flags.url = login.url;
	rc = rc ? CMD_FAILED : web_open(&w, &opt, &flags, true);
	if (!rc) {
		web_set_token(w, login.token);
		rc = web_json(w, &call, NULL);
	}
	web_close(w);
	login_free(&login);
	if (login_remove())
		return cmd_fail("cannot remove the login's file: %s", strerror(errno));
	if (rc)
		return cmd_fail(
			"the login is forgotten here, but its token is good until it expires");
	puts("signed out");
	return CMD_OK;
}

static void print_session(const struct web *w, const json_t *session)
{
	double expires = js_num(session, "expires"), left = expires - (double)time(NULL);
	const json_t *groups = json_object_get(session, "groups"), *group;
	char text[16];
	size_t i;

	printf("%s at %s\nrole     %s\ngroups   ", web_safe(js_text(session, "user", "?")),
	       web_base(w), web_safe(js_text(session, "role", "?")));
	if (json_is_string(groups))
		fputs(web_safe(json_string_value(groups)), stdout);
	json_array_foreach (groups, i, group)
		printf("%s%s", i ? ", " : "", web_safe(json_string_value(group) ?: "?"));
	puts(json_array_size(groups) || json_string_length(groups) ? "" : "none");
	printf("until    %s\n", left > 0 ? cmd_duration((uint64_t)left, text) : "?");
}

int cmd_whoami(const struct cmd *cmd, int argc, char **argv)
{
	struct web_call call = { .doing = "ask who you are", .path = "/_/session" };
	struct web_flags flags = { 0 };
	const struct cmd_flag own_flags[] = { WEB_FLAGS(flags), { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own_flags), rc;
	json_t *session = NULL;
	struct web *w = NULL;

	if (n < 0)
		return cmd_exit_of(n);
	if (n)
		return cmd_usage(cmd, "takes no arguments");
	rc = web_open(&w, &opt, &flags, false);
	if (!rc)
		rc = web_json(w, &call, &session);
	if (!rc && !json_is_string(json_object_get(session, "user")))
		rc = cmd_fail("%s does not know the token any more; sign in again: weir login %s",
			      web_base(w), web_base(w));
	if (!rc && opt.json)
		cmd_print_json(json_incref(session));
	else if (!rc)
		print_session(w, session);
	json_decref(session);
	web_close(w);
	return rc;
}
