/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aws.c -- see aws.h.
 */
#include "tools/aws.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FILE_MAX (1u << 20) /* bytes */
#define OURS	 "WEIR"

/* ---- a file's text --------------------------------------------------------------------------- */

struct span {
	const char *at;
	size_t len;
};

static struct span trimmed(const char *at, size_t len)
{
	while (len && isspace((unsigned char)*at)) {
		at++;
		len--;
	}
	while (len && isspace((unsigned char)at[len - 1]))
		len--;
	return (struct span){ at, len };
}

static bool is(struct span s, const char *text)
{
	return s.len == strlen(text) && !memcmp(s.at, text, s.len);
}

/* "[profile \"work\"]" → is it the section? */
static bool is_section(struct span line, const char *section)
{
	struct span name = trimmed(line.at + 1, line.len - 2);
	const char *space = strchr(section, ' ');
	size_t head = space ? (size_t)(space - section) + 1 : 0;

	if (is(name, section))
		return true;
	return name.len == strlen(section) + 2 && !memcmp(name.at, section, head) && name.at[head] == '"' &&
	       name.at[name.len - 1] == '"' && !memcmp(name.at + head + 1, section + head, strlen(section + head));
}

/* "key = value"; false: no such line. */
static bool split(struct span line, struct span *key, struct span *value)
{
	const char *equals = memchr(line.at, '=', line.len);

	if (!equals)
		return false;
	*key = trimmed(line.at, (size_t)(equals - line.at));
	*value = trimmed(equals + 1, line.len - (size_t)(equals + 1 - line.at));
	return true;
}

char *aws_value(const char *text, const char *section, const char *key, const char *sub)
{
	bool here = false, within = false;
	struct span line, name, value;

	for (size_t len; *text; text += len + (text[len] == '\n')) {
		bool indented = *text == ' ' || *text == '\t';

		len = strcspn(text, "\n");
		line = trimmed(text, len);
		if (!line.len || *line.at == '#' || *line.at == ';')
			continue;
		if (*line.at == '[' && line.at[line.len - 1] == ']') {
			here = is_section(line, section);
			within = false;
			continue;
		}
		if (!here || !split(line, &name, &value))
			continue;
		if (!indented)
			within = is(name, key) && !value.len;
		if (sub ? indented && within && is(name, sub) : !indented && is(name, key) && value.len)
			return strndup(value.at, value.len);
	}
	return NULL;
}

/* ---- where it lies --------------------------------------------------------------------------- */

/* The file that the variable names, else ~/.aws/NAME; malloc'ed, "" when there is none. */
static char *read_file(const char *variable, const char *name)
{
	const char *given = getenv(variable), *home = getenv("HOME");
	char path[PATH_MAX], *text = calloc(1, FILE_MAX + 1);
	FILE *in;

	if (!text)
		return NULL;
	snprintf(path, sizeof(path), given && *given ? "%s" : "%s/.aws/%s", given && *given ? given : home ? home : "", name);
	in = fopen(path, "re");
	if (in) {
		text[fread(text, 1, FILE_MAX, in)] = '\0';
		fclose(in);
	}
	return text;
}

static void free_text(char *text)
{
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

struct files {
	char *credentials, *config;
	char section[256]; /* of config */
};

static void find_keys(struct aws_keys *out, const struct files *f)
{
	const struct {
		const char *text, *section;
	} places[] = { { f->credentials, out->profile }, { f->config, f->section } };

	for (size_t i = 0; i < 2 && !(out->id && out->secret); i++) {
		free(out->id);
		free_text(out->secret);
		out->id = aws_value(places[i].text, places[i].section, "aws_access_key_id", NULL);
		out->secret = aws_value(places[i].text, places[i].section, "aws_secret_access_key", NULL);
	}
}

static char *find_url(const struct files *f)
{
	const char *given = variable("AWS_ENDPOINT_URL_S3") ?: variable("AWS_ENDPOINT_URL"),
		   *ignore = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
	char section[256], *services, *url = NULL;

	if (given)
		return strdup(given);
	if (ignore && !strcasecmp(ignore, "true"))
		return NULL;
	services = aws_value(f->config, f->section, "services", NULL);
	if (services) {
		snprintf(section, sizeof(section), "services %s", services);
		url = aws_value(f->config, section, "s3", "endpoint_url");
		free(services);
	}
	if (!url)
		url = aws_value(f->config, f->section, "s3", "endpoint_url");
	return url ? url : aws_value(f->config, f->section, "endpoint_url", NULL);
}

/* A secret that is not for us is not kept. */
static void leave_foreign(struct aws_keys *out)
{
	if (out->id && out->secret && !strncmp(out->id, OURS, strlen(OURS)))
		return;
	if (out->id && out->secret) {
		out->foreign = out->id;
		out->id = NULL;
	}
	free(out->id);
	free_text(out->secret);
	out->id = out->secret = NULL;
}

int aws_find(struct aws_keys *out, const char *profile)
{
	const char *id = variable("AWS_ACCESS_KEY_ID"), *secret = variable("AWS_SECRET_ACCESS_KEY"),
		   *named = profile		     ? profile
			    : variable("AWS_PROFILE") ? variable("AWS_PROFILE")
						      : variable("AWS_DEFAULT_PROFILE");
	struct files f = { read_file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), read_file("AWS_CONFIG_FILE", "config"), "" };
	int rc = f.credentials && f.config ? 0 : -ENOMEM;

	*out = (struct aws_keys){ .chosen = named || (id && secret) };
	snprintf(f.section, sizeof(f.section), named && strcmp(named, "default") ? "profile %s" : "default", named);
	if (!rc && !profile && id && secret) {
		out->id = strdup(id);
		out->secret = strdup(secret);
	} else if (!rc) {
		out->profile = strdup(named ? named : "default");
		rc = out->profile ? 0 : -ENOMEM;
		if (!rc)
			find_keys(out, &f);
	}
	if (!rc) {
		out->url = find_url(&f);
		leave_foreign(out);
	}
	free_text(f.credentials);
	free_text(f.config);
	if (rc)
		aws_free(out);
	return rc;
}

void aws_free(struct aws_keys *keys)
{
	free(keys->id);
	free_text(keys->secret);
	free(keys->url);
	free(keys->foreign);
	free(keys->profile);
	*keys = (struct aws_keys){ 0 };
}

static bool is_loopback(const char *host, size_t len)
{
	char text[INET_ADDRSTRLEN];
	struct in_addr addr;

	if (len == 9 && !strncasecmp(host, "localhost", 9))
		return true;
	if (len == 5 && !strncmp(host, "[::1]", 5))
		return true;
	if (len >= sizeof(text))
		return false;
	memcpy(text, host, len);
	text[len] = '\0';
	return inet_pton(AF_INET, text, &addr) == 1 && ntohl(addr.s_addr) >> 24 == 127;
}

bool aws_secret_may_go(const char *url)
{
	const char *host;
	size_t len;

	if (!strncmp(url, "https://", 8))
		return true;
	/* "http://localhost:x@elsewhere": what stands before an @ is no host. */
	if (strncmp(url, "http://", 7) || strpbrk(url, "@\\"))
		return false;
	host = url + 7;
	len = *host == '[' ? strcspn(host, "]") : strcspn(host, ":/?#");
	len += host[len] == ']';
	return is_loopback(host, len) && (!host[len] || strchr(":/?#", host[len]));
}
