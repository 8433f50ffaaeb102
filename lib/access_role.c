/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_role.c -- what somebody may do beside data (see access.h).
 */
#include "lib/access.h"

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
