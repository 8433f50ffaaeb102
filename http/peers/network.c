// SPDX-License-Identifier: Apache-2.0
/* network.c -- prefix and AS of an address; libmaxminddb reads the database, HMAC-SHA256 hides the prefix. */
#include <errno.h>
#include <maxminddb.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/network.h"
#include "lib/hash.h"
#include "lib/log.h"

struct network_db {
	MMDB_s mmdb;
};

static int error_of(int status)
{
	switch (status) {
	case MMDB_FILE_OPEN_ERROR:
	case MMDB_IO_ERROR:
		return errno ? -errno : -EIO;
	case MMDB_OUT_OF_MEMORY_ERROR:
		return -ENOMEM;
	default:
		return -EINVAL;
	}
}

int network_open(struct network_db **out, const char *path)
{
	struct network_db *db;
	int status, err;

	*out = NULL;
	if (!path)
		return 0;
	db = calloc(1, sizeof(*db));
	if (!db)
		return -ENOMEM;
	errno = 0;
	status = MMDB_open(path, MMDB_MODE_MMAP, &db->mmdb);
	if (status != MMDB_SUCCESS) {
		err = error_of(status);
		log_error("%s: %s: this must be a database of AS numbers in MaxMind's format (GeoLite2-ASN.mmdb); "
			  "gateway.peers.networks names it", path,
			  status == MMDB_FILE_OPEN_ERROR && errno ? strerror(errno) : MMDB_strerror(status));
		free(db);
		return err;
	}
	*out = db;
	return 0;
}

void network_close(struct network_db *db)
{
	if (!db)
		return;
	MMDB_close(&db->mmdb);
	free(db);
}

/* ::ffff:a.b.c.d is a.b.c.d. */
static struct addr plain(const struct addr *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct addr out = *a;

	if (a->family == AF_INET6 && !memcmp(a->bytes, mapped, sizeof(mapped))) {
		out = (struct addr){ .family = AF_INET };
		memcpy(out.bytes, a->bytes + 12, 4);
	}
	return out;
}

static uint32_t prefix_hash(const struct addr *a, const uint8_t key[16])
{
	size_t len = a->family == AF_INET ? 3 : 6;
	uint8_t text[7] = { a->family == AF_INET ? 4 : 6 }, mac[32];
	uint32_t hash;

	memcpy(text + 1, a->bytes, len);
	hmac_sha256(key, 16, text, 1 + len, mac);
	memcpy(&hash, mac, sizeof(hash));
	return hash ? hash : 1; /* 0 is an address that is not known */
}

static uint32_t as_number(struct network_db *db, const struct addr *a)
{
	struct addr_port ap = { .addr = *a };
	struct sockaddr_storage ss;
	MMDB_lookup_result_s found;
	MMDB_entry_data_s data;
	int status;

	addr_port_sockaddr(&ap, &ss);
	found = MMDB_lookup_sockaddr(&db->mmdb, (const struct sockaddr *)&ss, &status);
	if (status != MMDB_SUCCESS || !found.found_entry)
		return 0;
	status = MMDB_get_value(&found.entry, &data, "autonomous_system_number", NULL);
	return status == MMDB_SUCCESS && data.has_data && data.type == MMDB_DATA_TYPE_UINT32 ? data.uint32 : 0;
}

void network_of(struct network_db *db, const struct addr *a, const uint8_t key[16], uint32_t *prefix, uint32_t *as)
{
	struct addr at = plain(a);
	bool known = at.family == AF_INET || at.family == AF_INET6;

	*prefix = known ? prefix_hash(&at, key) : 0;
	*as = known && db ? as_number(db, &at) : 0;
}
