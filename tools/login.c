/* SPDX-License-Identifier: Apache-2.0 */
/*
 * login.c -- see login.h.
 */
#include "tools/login.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/hash.h"
#include "lib/token.h"

const char *login_path(char buf[PATH_MAX])
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	int n;

	if (config && *config == '/')
		n = snprintf(buf, PATH_MAX, "%s/weir/login.json", config);
	else if (home && *home == '/')
		n = snprintf(buf, PATH_MAX, "%s/.config/weir/login.json", home);
	else
		return NULL;
	return n < PATH_MAX ? buf : NULL;
}

static char *take(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? strdup(text) : NULL;
}

int login_read(struct login *out)
{
	char path[PATH_MAX];
	json_error_t error;
	FILE *file;
	json_t *o;

	memset(out, 0, sizeof(*out));
	if (!login_path(path))
		return -ENOENT;
	file = fopen(path, "re");
	if (!file)
		return errno == ENOTDIR ? -ENOENT : -errno;
	o = json_loadf(file, JSON_REJECT_DUPLICATES, &error);
	fclose(file);
	out->url = take(o, "url");
	out->token = take(o, "token");
	out->user = take(o, "user");
	out->ca = take(o, "ca");
	out->expires = json_integer_value(json_object_get(o, "expires"));
	json_decref(o);
	if (out->url && out->token && out->user)
		return 0;
	login_free(out);
	return -EINVAL;
}

void login_free(struct login *login)
{
	if (login->token)
		OPENSSL_cleanse(login->token, strlen(login->token));
	free(login->url);
	free(login->token);
	free(login->user);
	free(login->ca);
	memset(login, 0, sizeof(*login));
}

/* mkdir -p of the folder that path lies in. */
static int make_folder(const char *path)
{
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%s", path);
	for (char *at = strchr(folder + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		if (mkdir(folder, 0700) && errno != EEXIST)
			return -errno;
		*at = '/';
	}
	return 0;
}

/* Takes fd. */
static int write_all(int fd, const char *text)
{
	size_t len = strlen(text), done = 0;
	int rc = 0;

	while (done < len && !rc) {
		ssize_t n = write(fd, text + done, len - done);

		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno != EINTR)
			rc = -errno;
	}
	if (!rc && fsync(fd))
		rc = -errno;
	close(fd);
	return rc;
}

/* A file of its own, made 0600 whatever the umask says, then the name. */
static int replace(const char *path, const char *text)
{
	char part[PATH_MAX];
	int fd, rc;

	if (snprintf(part, sizeof(part), "%s.XXXXXX", path) >= (int)sizeof(part))
		return -ENAMETOOLONG;
	fd = mkostemp(part, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = fchmod(fd, 0600) ? -errno : 0;
	if (rc)
		close(fd);
	else
		rc = write_all(fd, text);
	if (!rc && rename(part, path))
		rc = -errno;
	if (rc)
		unlink(part);
	return rc;
}

int login_write(const struct login *login)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:s*}", "url", login->url, "token",
			      login->token, "user", login->user, "expires",
			      (json_int_t)login->expires, "ca", login->ca);
	char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL, path[PATH_MAX];
	int rc = text ? 0 : -ENOMEM;

	json_decref(o);
	if (!rc && !login_path(path))
		rc = -ENOENT;
	if (!rc)
		rc = make_folder(path);
	if (!rc)
		rc = replace(path, text);
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
	return rc;
}

int login_remove(void)
{
	char path[PATH_MAX];

	if (!login_path(path))
		return -ENOENT;
	return unlink(path) ? -errno : 0;
}

int login_token_says(const char *token, char user[64], int64_t *expires)
{
	const char *payload = !strncmp(token, "weir1.", 6) ? token + 6 : NULL,
		   *dot = payload ? strchr(payload, '.') : NULL;
	char raw[TOKEN_MAX];
	long n = dot ? base64url_decode(payload, (size_t)(dot - payload), raw, sizeof(raw)) : -1;
	json_t *o = n > 0 ? json_loadb(raw, (size_t)n, 0, NULL) : NULL;
	const char *name = json_string_value(json_object_get(o, "u"));
	int rc = name && strlen(name) < 64 ? 0 : -EINVAL;

	if (!rc) {
		memcpy(user, name, strlen(name) + 1);
		*expires = json_integer_value(json_object_get(o, "e"));
	}
	json_decref(o);
	return rc;
}
