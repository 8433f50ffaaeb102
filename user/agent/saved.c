/* SPDX-License-Identifier: Apache-2.0 */
/*
 * saved.c -- the rates in force, kept in the state folder: a restarted agent goes on from exactly the
 * ring that is pinned, also without a registry. A lost or old file costs moves, nothing else, so that it
 * is not synced.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "user/agent/agent.h"

#define TEXT_MAX (16u << 20)    /* 65,535 backends with long names are 6 MiB */

static char *path_of(const struct service *service, const char *suffix, char *buf, size_t len)
{
	char folder[3072];

	conf_state_path(service->agent->d->conf, "agent", folder, sizeof(folder));
	snprintf(buf, len, "%s/rates-%s%s", folder, service->name, suffix);
	return buf;
}

int saved_write(const struct service *service)
{
	char path[4096], fresh[4096], *text = rates_to_json(service->rates);
	FILE *file = text ? fopen(path_of(service, ".new", fresh, sizeof(fresh)), "we") : NULL;
	int err = !text ? -ENOMEM : file ? 0 : -errno;

	if (file) {
		if (fputs(text, file) == EOF)
			err = -EIO;
		if (fclose(file) == EOF && err == 0)
			err = -errno;
		if (err == 0 && rename(fresh, path_of(service, "", path, sizeof(path))) < 0)
			err = -errno;
	}
	free(text);
	return err;
}

int saved_read(const struct service *service, struct rates **out)
{
	char path[4096], *text = NULL;
	FILE *file = fopen(path_of(service, "", path, sizeof(path)), "re");
	size_t len;
	int err;

	if (!file)
		return -errno;
	text = malloc(TEXT_MAX);
	len = text ? fread(text, 1, TEXT_MAX - 1, file) : 0;
	if (text)
		text[len] = '\0';
	err = text ? rates_from_json(out, text) : -ENOMEM;
	free(text);
	fclose(file);
	return err;
}
