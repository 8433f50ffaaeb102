// SPDX-License-Identifier: Apache-2.0
/*
 * loader_quic.c -- keys of encrypted connection IDs. Files are read by the loader alone: at the start with all its
 * privileges, later as the daemons' user. What it could read then and no more now goes on as it was.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/quic_key.h"
#include "user/agent/cipher.h"
#include "user/agent/loader_int.h"

/* A key's file as it was read at the start. */
struct loader_key {
	struct loader_key *next;
	uint8_t key[QUIC_KEY_BYTES];
	bool used;
	char path[];
};

static const char *read_why(int rc)
{
	return rc == -EINVAL ? "it does not hold a key; write 16 bytes as 32 hexadecimal digits into it" :
	       rc == -EACCES ? "permission denied; let the daemons' user read it, or restart weir-agent" : strerror(-rc);
}

static int remember(struct loader *l, const struct conf_service *s)
{
	struct loader_key *k = calloc(1, sizeof(*k) + strlen(s->quic.key) + 1);
	int rc = k ? quic_key_read(s->quic.key, k->key) : -ENOMEM;

	if (rc) {
		log_error("service %s: quic.key: %s: %s", s->name, s->quic.key, read_why(rc));
		free(k);
		return rc;
	}
	strcpy(k->path, s->quic.key);
	k->next = l->keys;
	l->keys = k;
	return 0;
}

int loader_start_quic(struct loader *l, const struct conf_agent *conf)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < conf->nservices; i++)
		if (conf->services[i].quic.key)
			rc = remember(l, &conf->services[i]);
	if (rc || !l->keys)
		return rc;
	rc = ciphers_try();
	if (rc)
		log_error("quic.key: %s", ciphers_why(rc));
	return rc;
}

/* The key in the file, or the one that was in it at the start when this user may not read it. */
static int key_of(struct loader *l, const char *path, uint8_t *key)
{
	struct loader_key *k = l->keys;
	int rc = quic_key_read(path, key);

	if (rc != -EACCES)
		return rc;
	while (k && strcmp(k->path, path))
		k = k->next;
	if (!k)
		return rc;
	if (k->used)
		log_warn("quic.key: %s cannot be read by the daemons' user: the key of the start stays; a new one needs "
			 "a restart of weir-agent", path);
	memcpy(key, k->key, sizeof(k->key));
	k->used = true;
	return 0;
}

/* Programs stay loaded from the first key on. */
static int set(struct loader *l, uint32_t number, const uint8_t *key)
{
	int rc = l->ciphers ? 0 : ciphers_open(&l->ciphers, l->fds.quic_ciphers);

	return rc ? rc : ciphers_set(l->ciphers, number, key);
}

int loader_do_quic_key(struct loader *l)
{
	uint8_t key[QUIC_KEY_BYTES];
	char path[LOADER_PATH_MAX];
	bool only_try = l->in.offset != 0;
	int rc;

	if (!l->in.len || l->in.len > sizeof(path) || l->in.body[l->in.len - 1] || l->in.number >= maps_max(l->maps)->services)
		return -EBADMSG;
	memcpy(path, l->in.body, l->in.len);
	rc = only_try ? quic_key_read(path, key) : key_of(l, path, key);
	for (struct loader_key *k = l->keys; only_try && rc == -EACCES && k; k = k->next)
		if (!strcmp(k->path, path))
			rc = 0;
	if (rc)
		return loader_answer_error(l, rc, "quic.key: %.120s: %s", path, read_why(rc));
	rc = only_try ? ciphers_try() : set(l, l->in.number, key);
	explicit_bzero(key, sizeof(key));
	return rc ? loader_answer_error(l, rc, "quic.key: %s", ciphers_why(rc)) : 0;
}
