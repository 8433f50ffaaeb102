/* SPDX-License-Identifier: Apache-2.0 */
/*
 * login.h -- what `weir login` keeps: which gateway, and the token that it gave.
 *
 * $XDG_CONFIG_HOME/weir/login.json (default ~/.config/weir), readable by its owner alone, replaced
 * as a whole:
 * {"url","token","user","expires","ca"?}.
 */
#ifndef WEIR_TOOLS_LOGIN_H
#define WEIR_TOOLS_LOGIN_H

#include <limits.h>
#include <stdint.h>

struct login {
	char *url; /* without a '/' at its end */
	char *token, *user;
	char *ca; /* absolute path of the certificates that the gateway's is checked by, or NULL:
		     the system's */
	int64_t expires; /* unix seconds */
};

/* NULL: neither XDG_CONFIG_HOME nor HOME is set. */
const char *login_path(char buf[PATH_MAX]);
/* 0, -ENOENT: not signed in, -EINVAL: the file is broken, or -errno. The caller frees with
 * login_free(). */
int login_read(struct login *out);
/* 0 or -errno. */
int login_write(const struct login *login);
int login_remove(void); /* -ENOENT: there was none */
void login_free(struct login *login);

/* What a token says of itself, unverified (the gateway verifies): user (64 bytes) and expiry; 0 or
 * -EINVAL. */
int login_token_says(const char *token, char user[64], int64_t *expires);

#endif
