// SPDX-License-Identifier: Apache-2.0
/*
 * conf_check_options.c -- what the options of a balanced service (affinity, choice, QUIC) ask of the rest,
 * and agent.announce, which leads addresses of all of them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/conf_table.h"
#include "lib/quic_key.h"

/* Fragments without ports are led by the address alone, so it must tell the service. */
static void check_affinity(const struct conf_agent *a, size_t n, const char *path,
			   struct conf_faults *faults)
{
	const struct conf_service *s = &a->services[n];
	char list[CONF_PATH_LEN], key[CONF_PATH_LEN];

	conf_member(list, path, "addresses");
	for (size_t i = 0; i < s->naddresses; i++)
		for (size_t k = 0; k < a->nservices; k++)
			for (size_t j = 0; k != n && j < a->services[k].naddresses; j++) {
				const struct addr_port *x = &s->addresses[i],
						       *y = &a->services[k].addresses[j];

				if (!s->by_addresses || !conf_is_set(x) || x->prefix != y->prefix ||
				    !addr_equal(&x->addr, &y->addr))
					continue;
				conf_fault(faults, conf_item(key, list, i),
					   "is an address of service \"%s\" too, but this one has "
					   "affinity: addresses; give it an address of its own",
					   a->services[k].name);
				return;
			}
}

/* A flow of the second candidate is found without its note because GUE's header names that one. */
static void check_two(const struct conf_service *s, const char *path, struct conf_faults *faults)
{
	char key[CONF_PATH_LEN];

	if (s->two && s->encap == CONF_ENCAP_IPIP)
		conf_fault(faults, conf_member(key, path, "choice"),
			   "is two, but encap: ipip names no second backend to ask when a flow's note is "
			   "lost; use encap: gue or nat, or remove choice");
}

static void check_quic_id(const struct conf_service *s, const char *path, size_t i,
			  struct conf_faults *faults)
{
	const char *id = s->backends[i].quic_id;
	char list[CONF_PATH_LEN], item[CONF_PATH_LEN], key[CONF_PATH_LEN];

	conf_item(item, conf_member(list, path, "backends"), i);
	conf_member(key, item, "quic_id");
	if (s->udp != CONF_UDP_QUIC) {
		if (id)
			conf_fault(faults, key, "is there, but the service has no udp: quic; remove it");
		return;
	}
	if (!id) {
		conf_fault(faults, item, "has no quic_id; add the server ID that it makes connection "
			   "IDs with, %" PRIu32 " hexadecimal digits", 2 * s->quic.server_id);
		return;
	}
	if (strlen(id) != 2 * s->quic.server_id || strspn(id, "0123456789abcdefABCDEF") != strlen(id))
		conf_fault(faults, key, "\"%.40s\" is not a server ID of %" PRIu32 " bytes; write %"
			   PRIu32 " hexadecimal digits", id, s->quic.server_id, 2 * s->quic.server_id);
	for (size_t k = 0; k < i; k++)
		if (s->backends[k].quic_id && !strcasecmp(id, s->backends[k].quic_id))
			conf_fault(faults, key, "is the server ID of backends[%zu] too; give each "
				   "backend its own", k);
}

/* A file that this user may not read says nothing here: the agent reads it as root. */
static void check_quic_key(const struct conf_service *s, const char *section, struct conf_faults *faults)
{
	uint8_t bytes[QUIC_KEY_BYTES];
	char key[CONF_PATH_LEN];

	if (!s->quic.key)
		return;
	conf_member(key, section, "key");
	if (s->udp != CONF_UDP_QUIC)
		conf_fault(faults, key, "is there, but the service has no udp: quic; remove it");
	else if (quic_key_read(s->quic.key, bytes) == -EINVAL)
		conf_fault(faults, key, "%.120s does not hold a key; write 16 bytes as 32 hexadecimal digits into it "
			   "(openssl rand -hex 16)", s->quic.key);
	explicit_bzero(bytes, sizeof(bytes));
}

static void check_quic(const struct conf_service *s, const char *path, struct conf_faults *faults)
{
	char section[CONF_PATH_LEN], key[CONF_PATH_LEN];

	conf_member(section, path, "quic");
	check_quic_key(s, section, faults);
	if (s->udp == CONF_UDP_QUIC && !s->quic.server_id) {
		conf_fault(faults, conf_member(key, section, "server_id"),
			   "is missing; say how many bytes of a connection ID are the server's");
		return;
	}
	if (s->quic.server_id + s->quic.nonce > 19)
		conf_fault(faults, conf_member(key, section, "nonce"),
			   "is too long: server_id and nonce have more than 19 bytes together; make it "
			   "at most %" PRIu32, 19 - s->quic.server_id);
	for (size_t i = 0; i < s->nbackends; i++)
		check_quic_id(s, path, i, faults);
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct addr_prefix));
}

/* Addresses and networks of services, each once whatever its ports. */
static size_t count_announced(const struct conf_agent *a)
{
	size_t room = 1, n = 0, different = 0;
	struct addr_prefix *all;

	for (size_t i = 0; i < a->nservices; i++)
		room += a->services[i].naddresses;
	all = calloc(room, sizeof(*all));
	for (size_t i = 0; all && i < a->nservices; i++)
		for (size_t k = 0; k < a->services[i].naddresses; k++) {
			all[n].addr = a->services[i].addresses[k].addr;
			all[n++].len = a->services[i].addresses[k].prefix;
		}
	if (all)
		qsort(all, n, sizeof(*all), by_bytes);
	for (size_t i = 0; i < n; i++)
		different += !i || by_bytes(&all[i - 1], &all[i]);
	free(all);
	return different;
}

void conf_check_announce(const struct conf_agent *a, struct conf_faults *faults)
{
	/* The kernel's default, main and local, and the one of checks through the packet path. */
	static const uint32_t used[] = { CONF_CHECKS_TABLE, 253, 254, 255 };
	size_t n;

	for (size_t i = 0; i < sizeof(used) / sizeof(*used); i++)
		if (a->announce == used[i])
			conf_fault(faults, "agent.announce", "table %" PRIu32 " is in use by %s; take another, such "
				   "as 120", used[i], i ? "the host itself" : "health checks");
	if (!a->announce)
		return;
	n = count_announced(a);
	if (n > CONF_ANNOUNCE_MAX)
		conf_fault(faults, "agent.announce", "leads at most %d addresses, and services have %zu; announce "
			   "networks of them, or none here", CONF_ANNOUNCE_MAX, n);
}

void conf_check_options(const struct conf_agent *a, size_t n, const char *path,
			struct conf_faults *faults)
{
	check_affinity(a, n, path, faults);
	check_two(&a->services[n], path, faults);
	check_quic(&a->services[n], path, faults);
}
