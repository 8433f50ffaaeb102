// SPDX-License-Identifier: Apache-2.0
/* network: prefixes hide addresses and keep networks apart; AS numbers of a small database that this test writes. */
#include <errno.h>

#include "http/peers/network.h"
#include "lib/log.h"
#include "tests/unit/unit.h"

static const uint8_t key[16] = "0123456789abcde", other_key[16] = "0123456789abcdf";

/* ---- a database in MaxMind's format: a tree of bits, records of 24 bits, then data, then what it is ---- */
#define EMPTY	0xffffff
#define NODES	512
#define IS_DATA 0x800000

struct mmdb {
	uint32_t record[NODES][2], nodes;
	uint8_t data[512];
	size_t len;
};

static void put(struct mmdb *m, const void *bytes, size_t len)
{
	assert_true(m->len + len <= sizeof(m->data));
	memcpy(m->data + m->len, bytes, len);
	m->len += len;
}

static void put_text(struct mmdb *m, const char *text)
{
	uint8_t control = (uint8_t)(2 << 5 | strlen(text));

	assert_true(strlen(text) < 29);
	put(m, &control, 1);
	put(m, text, strlen(text));
}

static void put_number(struct mmdb *m, unsigned int type, uint32_t value)
{
	uint8_t bytes[5] = { (uint8_t)(type << 5 | 4), (uint8_t)(value >> 24), (uint8_t)(value >> 16),
			     (uint8_t)(value >> 8), (uint8_t)value };

	if (type == 5) { /* of 16 bits */
		bytes[0] = 5 << 5 | 2;
		bytes[1] = bytes[3], bytes[2] = bytes[4];
	}
	put(m, bytes, type == 5 ? 3 : 5);
}

/* The AS of a network of the IPv6 tree; IPv4 is below ::/96. As text when `wrong`. */
static void add(struct mmdb *m, const char *network, uint32_t as, bool wrong)
{
	struct addr_prefix p;
	uint8_t bits[16] = { 0 };
	size_t len;
	uint32_t node = 0, at = (uint32_t)m->len;

	assert_int_equal(addr_prefix_parse(&p, network), 0);
	len = p.len + (p.addr.family == AF_INET ? 96 : 0);
	memcpy(bits + (p.addr.family == AF_INET ? 12 : 0), p.addr.bytes, p.addr.family == AF_INET ? 4 : 16);
	for (size_t b = 0; b < len; b++) {
		uint32_t *next = &m->record[node][bits[b / 8] >> (7 - b % 8) & 1];

		if (b + 1 == len) {
			*next = IS_DATA | at;
		} else {
			if (*next == EMPTY) {
				assert_true(m->nodes < NODES);
				m->record[m->nodes][0] = m->record[m->nodes][1] = EMPTY;
				*next = m->nodes++;
			}
			node = *next;
		}
	}
	put(m, "\xe1", 1); /* a map of one */
	put_text(m, "autonomous_system_number");
	if (wrong)
		put_text(m, "many");
	else
		put_number(m, 6, as);
}

static void put_about(struct mmdb *m)
{
	put(m, "\xe9", 1);
	put_text(m, "binary_format_major_version"), put_number(m, 5, 2);
	put_text(m, "binary_format_minor_version"), put_number(m, 5, 0);
	put_text(m, "build_epoch"), put(m, "\x04\x02\x5f\x00\x00\x00", 6);
	put_text(m, "database_type"), put_text(m, "Test-ASN");
	put_text(m, "description"), put(m, "\xe0", 1);
	put_text(m, "ip_version"), put_number(m, 5, 6);
	put_text(m, "languages"), put(m, "\x00\x04", 2);
	put_text(m, "node_count"), put_number(m, 6, m->nodes);
	put_text(m, "record_size"), put_number(m, 5, 24);
}

static void write_mmdb(struct mmdb *m, const char *path)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	for (uint32_t n = 0; n < m->nodes; n++)
		for (unsigned int side = 0; side < 2; side++) {
			uint32_t r = m->record[n][side];
			uint8_t bytes[3];

			r = r == EMPTY ? m->nodes : r & IS_DATA ? m->nodes + 16 + (r & ~(uint32_t)IS_DATA) : r;
			bytes[0] = (uint8_t)(r >> 16), bytes[1] = (uint8_t)(r >> 8), bytes[2] = (uint8_t)r;
			assert_int_equal(fwrite(bytes, 3, 1, f), 1);
		}
	fwrite("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16, 1, f);
	fwrite(m->data, m->len, 1, f);
	m->len = 0;
	put_about(m);
	fwrite("\xab\xcd\xefMaxMind.com", 14, 1, f);
	fwrite(m->data, m->len, 1, f);
	assert_int_equal(fclose(f), 0);
}

static uint32_t prefix_of(const char *text, const uint8_t with[16])
{
	struct addr a = { 0 };
	uint32_t prefix = 42, as = 42;

	if (*text)
		assert_int_equal(addr_parse(&a, text), 0);
	network_of(NULL, &a, with, &prefix, &as);
	assert_int_equal(as, 0);
	return prefix;
}

static void prefixes(void **state)
{
	(void)state;
	assert_int_equal(prefix_of("198.18.1.1", key), prefix_of("198.18.1.254", key));
	assert_int_not_equal(prefix_of("198.18.1.1", key), prefix_of("198.18.2.1", key));
	assert_int_equal(prefix_of("2001:db8:1::1", key), prefix_of("2001:db8:1:ffff::9", key));
	assert_int_not_equal(prefix_of("2001:db8:1::1", key), prefix_of("2001:db8:2::1", key));
	assert_int_equal(prefix_of("::ffff:198.18.1.7", key), prefix_of("198.18.1.1", key));
	/* Bytes that are alike do not make IPv4 and IPv6 alike; a key of one bit's difference makes all different. */
	assert_int_not_equal(prefix_of("32.1.13.1", key), prefix_of("2001:d00::", key));
	assert_int_not_equal(prefix_of("198.18.1.1", key), prefix_of("198.18.1.1", other_key));
	assert_int_equal(prefix_of("", key), 0);
	assert_int_not_equal(prefix_of("0.0.0.0", key), 0);
}

static uint32_t as_of(struct network_db *db, const char *text)
{
	struct addr a;
	uint32_t prefix, as = 42;

	assert_int_equal(addr_parse(&a, text), 0);
	network_of(db, &a, key, &prefix, &as);
	return as;
}

static void numbers(void **state)
{
	static struct mmdb m = { .nodes = 1, .record = { { EMPTY, EMPTY } } };
	char folder[128], path[160];
	struct network_db *db;

	(void)state;
	add(&m, "198.18.0.0/16", 64501, false);
	add(&m, "198.51.100.0/24", 4200000000u, false);
	add(&m, "203.0.113.0/24", 0, true);
	add(&m, "2001:db8::/32", 64502, false);
	snprintf(path, sizeof(path), "%s/as.mmdb", unit_folder(folder, sizeof(folder)));
	write_mmdb(&m, path);
	assert_int_equal(network_open(&db, path), 0);
	assert_non_null(db);
	assert_int_equal(as_of(db, "198.18.7.9"), 64501);
	assert_int_equal(as_of(db, "::ffff:198.18.7.9"), 64501);
	assert_int_equal(as_of(db, "198.51.100.255"), 4200000000u);
	assert_int_equal(as_of(db, "2001:db8:77::1"), 64502);
	assert_int_equal(as_of(db, "198.19.0.1"), 0);
	assert_int_equal(as_of(db, "2001:db9::1"), 0);
	assert_int_equal(as_of(db, "203.0.113.5"), 0); /* not a number */
	network_close(db);
	unit_folder_remove(folder);
}

static void refused(void **state)
{
	char folder[128], path[160];
	struct network_db *db = (struct network_db *)&db;
	FILE *f;

	(void)state;
	assert_int_equal(network_open(&db, NULL), 0);
	assert_null(db);
	network_close(db);
	log_level_set(LOG_LEVEL_ERROR);
	snprintf(path, sizeof(path), "%s/as.mmdb", unit_folder(folder, sizeof(folder)));
	assert_int_equal(network_open(&db, path), -ENOENT);
	assert_null(db);
	f = fopen(path, "we");
	assert_non_null(f);
	fputs("this is no database", f);
	fclose(f);
	assert_int_equal(network_open(&db, path), -EINVAL);
	assert_null(db);
	unit_folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(prefixes), cmocka_unit_test(numbers), cmocka_unit_test(refused) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
