/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access.c -- see access.h.
 */
#include "lib/access.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/access_impl.h"
#include "lib/log.h"
#include "lib/policy.h"

#define BACKLOG 1024

/* 401, with what would be right (RFC 9110 section 11.6.1). */
enum http_next access_refuse(struct http_req *req, int rc)
{
	const char *why =
		rc == -ENOENT
			? "this needs a token (Authorization: Bearer) or a key (user and password)"
		: rc == -ETIME	? "the token has expired; get a new one"
		: rc == -EKEYREVOKED ? "this sign-in was ended; sign in again"
		: rc == -EACCES ? "the key is wrong, or its user is disabled or gone"
		: rc == -EBADMSG || rc == -ENOKEY
			? "the token's signature is not one of this installation"
			: "what stands in Authorization is neither a token nor a key";

	/* A browser asks for a password when a script of the page meets a Basic challenge: the
	 * console, which has its own form, says that it is one. */
	bool page = http_header(req, "X-Weir-Console") || http_query(req, "t") || access_is_cookie(req);

	http_add_header(req, "WWW-Authenticate",
			page ? "Bearer realm=\"weir\"" : "Basic realm=\"weir\", charset=\"UTF-8\"");
	return http_reply_error(req, 401, rc == -ETIME ? "expired" : "unauthorized", "%s", why);
}

static bool refuse(struct http_req *req, int rc)
{
	access_refuse(req, rc);
	return false;
}

static bool refuse_csrf(struct http_req *req)
{
	http_reply_error(req, 403, "csrf",
			 "a change by cookie needs the header X-Weir-CSRF with the word that /_/session tells, and "
			 "must come from a page of this host; load the page again");
	return false;
}

/* Who asks, by header, else by the query's token, else by cookie; -ENOENT when nothing is there. */
int access_identify(struct http_req *req, struct users *users, struct token_scope *who)
{
	const char *header = http_header(req, "Authorization"), *token = http_query(req, "t");
	char session[TOKEN_MAX];

	if (http_header_repeated(req, "Authorization"))
		return -EINVAL; /* two answers to one question */
	if (header)
		return users_authorize(users, header, time(NULL), who);
	if (token)
		return users_verify(users, token, time(NULL), who);
	return access_session_cookie(req, session) ? users_verify(users, session, time(NULL), who) : -ENOENT;
}

bool access_who_form(struct http_req *req, struct users *users, struct token_scope *who)
{
	int rc = access_identify(req, users, who);

	if (rc)
		return refuse(req, rc);
	return !access_is_cookie(req) || access_origin_own(req) || refuse_csrf(req);
}

bool access_who(struct http_req *req, struct users *users, struct token_scope *who)
{
	int rc = access_identify(req, users, who);

	if (rc)
		return refuse(req, rc);
	return !access_is_cookie(req) || access_csrf_fine(req, users, who) || refuse_csrf(req);
}

/* What a policy may want to know of the request. */
static void look(struct policy_ask *ask, void *arg)
{
	const struct http_req *req = arg;
	/* A policy asks for it so that nothing is overwritten. Only this one does that; here lists are taken, too, and empty ones. */
	const char *condition = http_header(req, "If-None-Match");
	char client[ADDR_PORT_STRLEN];

	if (addr_parse(&ask->source, access_client(req, client)))
		ask->source = http_peer(req)->addr;
	ask->https = access_is_https(req);
	ask->agent = http_header(req, "User-Agent");
	ask->referer = http_header(req, "Referer");
	ask->if_match = http_header(req, "If-Match");
	ask->if_none_match = condition && !strcmp(condition, "*") ? condition : NULL;
}

static bool allowed(struct http_req *req, struct users *users, const struct token_scope *who, unsigned int right,
		    const char *bucket, const char *key)
{
	struct policy_ask ask = { .right = right, .bucket = bucket, .key = key, .look = look, .look_arg = req };

	return users_may(users, who, &ask);
}

static const char *right_word(unsigned int right)
{
	return right == RIGHT_READ   ? "to read"
	       : right == RIGHT_WRITE  ? "to write"
	       : right == RIGHT_DELETE ? "to delete"
	       : right == RIGHT_LIST   ? "to list"
					 : "to administer";
}

bool access_check(struct http_req *req, struct users *users, unsigned int right, const char *bucket,
		  const char *key, struct token_scope *who)
{
	struct token_scope scope = { .bucket = "" };
	char letters[8];
	int rc = access_identify(req, users, &scope);
	bool cookie = access_is_cookie(req);

	*who = (struct token_scope){ .bucket = "" };
	/* A session that is over makes nobody of a browser, which sends its cookie whether one wants it or not. */
	if ((rc == -ENOENT || (rc && cookie)) &&
	    allowed(req, users, &(struct token_scope){ .bucket = "" }, right, bucket, key))
		return true;
	if (rc)
		return refuse(req, rc);
	*who = scope;
	if (cookie && !access_csrf_fine(req, users, &scope))
		return refuse_csrf(req);
	if (!allowed(req, users, &scope, right, bucket, key)) {
		http_reply_error(req, 403, "forbidden", "%s has not the right %s here (%s); the bucket's owner or an administrator gives it",
				 scope.user, rights_format(right, letters), right_word(right));
		return false;
	}
	return true;
}

bool access_check_action(struct http_req *req, struct users *users, const char *action, const char *bucket, const char *key,
			 const struct token_scope *who)
{
	struct policy_ask ask = { .action = action, .bucket = bucket, .key = key, .look = look, .look_arg = req };

	if (users_may(users, who, &ask))
		return true;
	if (!who->user[0])
		return refuse(req, -ENOENT);
	http_reply_error(req, 403, "forbidden", "%s may not %s here", who->user, action);
	return false;
}

bool access_role(struct http_req *req, struct users *users, enum role role, struct token_scope *who)
{
	struct token_scope scope;
	enum role has;

	if (!access_who(req, users, &scope))
		return false;
	has = users_role(users, &scope);
	if (has < role) {
		http_reply_error(req, 403, "forbidden", "this needs the role %s; %s has %s (weir group shows who gives it)",
				 role_names[role], scope.user, role_names[has]);
		return false;
	}
	*who = scope;
	return true;
}

static int bind_one(const struct addr_port *at, uid_t uid)
{
	int fd = addr_bind(at, SOCK_STREAM, 0, false, 0660), err;

	if (fd < 0 || !*at->path || geteuid() == uid || !lchown(at->path, uid, (gid_t)-1))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int access_bind(const struct addr_port *listen_on, size_t n, uid_t uid, int *fds)
{
	for (size_t i = 0; i < n; i++) {
		char text[ADDR_PORT_STRLEN];

		fds[i] = bind_one(&listen_on[i], uid);
		if (fds[i] >= 0)
			continue;
		log_error("cannot bind %s: %s", addr_port_format(&listen_on[i], text, sizeof(text)),
			  strerror(-fds[i]));
		for (size_t k = 0; k < i; k++)
			close(fds[k]);
		return fds[i];
	}
	return 0;
}

int access_listen_local(const struct addr_port *listen_on, size_t n, const int *fds)
{
	for (size_t i = 0; i < n; i++)
		if (addr_port_is_local(&listen_on[i]) && listen(fds[i], BACKLOG))
			return -errno;
	return 0;
}
