/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signon.c -- the routes of the sign-on service (http/identity), by the gateway.
 */
#include "http/gateway/gateway.h"

#define ROUTE(name, function)                                                                      \
	enum http_next name(struct http_req *req, void *arg)                                       \
	{                                                                                          \
		return function(req, ((struct gateway *)arg)->identity);                           \
	}

ROUTE(signon_start, identity_login_start)
ROUTE(signon_callback, identity_login_callback)
ROUTE(signon_password, identity_login_password)
ROUTE(signon_device, identity_device)
ROUTE(signon_device_token, identity_device_token)
ROUTE(signon_logout, identity_logout)
ROUTE(signon_session, identity_session)
ROUTE(signon_tokens, identity_tokens)
ROUTE(signon_people, identity_people)
ROUTE(signon_audit, identity_audit)
