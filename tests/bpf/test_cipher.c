/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encrypted connection IDs of QUIC-LB: the vectors of draft-ietf-quic-load-balancers-21 (appendix B.2), and every pair
 * of lengths against IDs that this test encrypts itself, by OpenSSL. Skipped where the kernel has no BPF crypto.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/abi/quic.h"
#include "skel/crypt.skel.h"
#include "skel/edge.skel.h"
#include "tests/bpf/packets.h"

#define NUMBER 1

static const uint8_t key[WEIR_QUIC_KEY] = { 0x8f, 0x95, 0xf0, 0x92, 0x45, 0x76, 0x5f, 0x80,
					    0x25, 0x69, 0x34, 0xe5, 0x0c, 0x66, 0x20, 0x7f };
static const char *missing; /* why the cases are skipped */

static int fd(const struct bpf_map *map)
{
	return bpf_map__fd(map);
}

/* Runs quic_key with this key. */
static int cipher_of(const uint8_t *secret)
{
	struct weir_quic_secret s = { .service = NUMBER };
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = &s, .ctx_size_in = sizeof(s));
	struct crypt *crypt = crypt__open();
	int rc;

	memcpy(s.key, secret, sizeof(s.key));
	assert_non_null(crypt);
	assert_int_equal(bpf_map__reuse_fd(crypt->maps.quic_ciphers, fd(edge_skeleton()->maps.quic_ciphers)), 0);
	assert_int_equal(crypt__load(crypt), 0);
	rc = bpf_prog_test_run_opts(bpf_program__fd(crypt->progs.quic_key), &run);
	crypt__destroy(crypt);
	return rc ? -errno : (int)run.retval;
}

static int open_group(void **state)
{
	int rc = edge_load(state);

	if (rc)
		return rc;
	rc = cipher_of(key);
	if (rc == -EOPNOTSUPP || rc == -ENOENT)
		missing = rc == -ENOENT ? "this kernel has no ecb(aes)" : "this kernel has no BPF crypto (6.10)";
	else
		assert_int_equal(rc, 0);
	if (missing)
		printf("# SKIP %s\n", missing);
	return 0;
}

static void lengths(uint8_t config, uint32_t server_id, uint32_t nonce)
{
	const struct weir_quic quic = { .config = config, .server_id = (uint8_t)server_id, .nonce = (uint8_t)nonce,
					.encrypted = 1 };
	uint32_t number = NUMBER;

	assert_int_equal(bpf_map_update_elem(fd(edge_skeleton()->maps.quic_configs), &number, &quic, 0), 0);
}

static void server(const uint8_t *id, uint32_t len, uint32_t index)
{
	struct weir_quic_key k = { .service = NUMBER, .len = (uint8_t)len };

	memcpy(k.id, id, len);
	assert_int_equal(bpf_map_update_elem(fd(edge_skeleton()->maps.quic_servers), &k, &index, 0), 0);
}

static void clear(const struct bpf_map *map)
{
	char any[64];

	while (!bpf_map_get_next_key(fd(map), NULL, any))
		bpf_map_delete_elem(fd(map), any);
}

/* One slot, whose backend is 4; who is named by an ID is 1, 2 or 3. */
static int start(void **state)
{
	four_backends(state);
	clear(edge_skeleton()->maps.quic_servers);
	put_service(VIP, 443, IPPROTO_UDP, NUMBER, 0, 1, WEIR_ENCAP_IPIP, WEIR_SERVICE_QUIC);
	slot(0)->current = 4;
	if (!missing)
		assert_int_equal(cipher_of(key), 0);
	return 0;
}

static unsigned int led_to(const uint8_t *cid, uint32_t len)
{
	uint8_t packet[60] = { 0x40 };

	memcpy(packet + 1, cid, len);
	frame_eth(&f);
	frame_ip4(&f, CLIENT, VIP);
	frame_udp(&f, 50000, 443);
	frame_bytes(&f, packet, 1 + len + 20);
	frame_end(&f);
	return sent_to(WEIR_REASON_FORWARDED);
}

static void vectors_of_the_draft(void **state)
{
	static const struct {
		uint8_t config, server_id, nonce, id[15], cid[20];
	} v[] = {
		{ 0, 3, 4, { 0xed, 0x79, 0x3a }, { 0x07, 0x20, 0xb1, 0xd0, 0x7b, 0x35, 0x9d, 0x3c } },
		{ 1, 10, 5, { 0xed, 0x79, 0x3a, 0x51, 0xd4, 0x9b, 0x8f, 0x5f, 0xab, 0x65 },
		  { 0x2f, 0xcc, 0x38, 0x1b, 0xc7, 0x4c, 0xb4, 0xfb, 0xad, 0x28, 0x23, 0xa3, 0xd1, 0xf8, 0xfe, 0xd2 } },
		{ 2, 8, 8, { 0xed, 0x79, 0x3a, 0x51, 0xd4, 0x9b, 0x8f, 0x5f },
		  { 0x50, 0x4d, 0xd2, 0xd0, 0x5a, 0x7b, 0x0d, 0xe9, 0xb2, 0xb9, 0x90, 0x7a, 0xfb, 0x5e, 0xcf, 0x8c, 0xc3 } },
		{ 0, 9, 9, { 0xed, 0x79, 0x3a, 0x51, 0xd4, 0x9b, 0x8f, 0x5f, 0xab },
		  { 0x12, 0x57, 0x79, 0xc9, 0xcc, 0x86, 0xbe, 0xb3, 0xa3, 0xa4, 0xa3, 0xca, 0x96, 0xfc, 0xe4, 0xbf, 0xe0,
		    0xcd, 0xbc } },
	};

	(void)state;
	if (missing)
		skip();
	for (size_t i = 0; i < sizeof(v) / sizeof(*v); i++) {
		uint32_t len = 1u + v[i].server_id + v[i].nonce;
		uint8_t wrong[20];

		lengths(v[i].config, v[i].server_id, v[i].nonce);
		clear(edge_skeleton()->maps.quic_servers);
		server(v[i].id, v[i].server_id, 2);
		assert_int_equal(led_to(v[i].cid, len), 2);
		memcpy(wrong, v[i].cid, sizeof(wrong));
		wrong[len - 1] ^= 1;
		assert_int_equal(led_to(wrong, len), 4);
	}
}

/* ---- the same by OpenSSL, written after the text of section 5.4 ---- */

static void aes(const uint8_t in[16], uint8_t out[16])
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0;

	assert_int_equal(EVP_EncryptInit_ex(c, EVP_aes_128_ecb(), NULL, key, NULL), 1);
	EVP_CIPHER_CTX_set_padding(c, 0);
	assert_int_equal(EVP_EncryptUpdate(c, out, &n, in, 16), 1);
	assert_int_equal(n, 16);
	EVP_CIPHER_CTX_free(c);
}

static void pass(uint8_t number, uint8_t len, const uint8_t *by, uint8_t *to, bool to_right)
{
	uint32_t half = (len + 1u) / 2;
	uint8_t in[16] = { 0 }, out[16];

	memcpy(in, by, half);
	in[14] = len;
	in[15] = number;
	aes(in, out);
	for (uint32_t i = 0; i < half; i++)
		to[i] ^= out[i];
	if (len % 2)
		to[to_right ? 0 : half - 1] &= to_right ? 0x0f : 0xf0;
}

static void encrypt(uint8_t *id, uint8_t len)
{
	uint32_t half = (len + 1u) / 2;
	uint8_t left[16] = { 0 }, right[16] = { 0 };

	if (len == 16) {
		aes(id, left);
		memcpy(id, left, 16);
		return;
	}
	memcpy(left, id, half);
	memcpy(right, id + len - half, half);
	if (len % 2) {
		left[half - 1] &= 0xf0;
		right[0] &= 0x0f;
	}
	pass(1, len, left, right, true);
	pass(2, len, right, left, false);
	pass(3, len, left, right, true);
	pass(4, len, right, left, false);
	memcpy(id, left, half);
	if (len % 2)
		right[0] |= left[half - 1];
	memcpy(id + len - half, right, half);
}

static void every_pair_of_lengths(void **state)
{
	uint32_t pairs = 0;

	(void)state;
	if (missing)
		skip();
	for (uint8_t s = 1; s <= WEIR_QUIC_ID_MAX; s++)
		for (uint8_t n = WEIR_QUIC_NONCE_MIN; s + n <= 19; n++, pairs++) {
			uint8_t cid[20] = { (uint8_t)(5 << 5 | (s + n)) };

			for (uint32_t i = 1; i < sizeof(cid); i++)
				cid[i] = (uint8_t)(i * 37 + s * 11 + n * 101);
			lengths(5, s, n);
			clear(edge_skeleton()->maps.quic_servers);
			server(cid + 1, s, 3);
			encrypt(cid + 1, (uint8_t)(s + n));
			assert_int_equal(led_to(cid, 1u + s + n), 3);
			cid[1 + (s + n) / 2] ^= 0x10;
			if (s > 1) /* one byte is hit by chance */
				assert_int_equal(led_to(cid, 1u + s + n), 4);
		}
	assert_int_equal(pairs, 120);
}

/* ---- keys ---- */

static void vector(uint8_t cid[17])
{
	static const uint8_t id[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

	lengths(0, 8, 8);
	server(id, 8, 1);
	memset(cid, 0, 17);
	memcpy(cid + 1, id, 8);
	encrypt(cid + 1, 16);
}

static void another_key(void **state)
{
	static const uint8_t other[WEIR_QUIC_KEY] = { 1 };
	uint8_t cid[17];

	(void)state;
	if (missing)
		skip();
	vector(cid);
	assert_int_equal(led_to(cid, 17), 1);
	assert_int_equal(cipher_of(other), 0);
	assert_int_equal(led_to(cid, 17), 4);
	assert_int_equal(cipher_of(key), 0);
	assert_int_equal(led_to(cid, 17), 1);
}

/* Without a cipher nothing is read: all goes by slots, as on a kernel that has none. */
static void no_key(void **state)
{
	uint32_t number = NUMBER;
	uint64_t none = 0;
	uint8_t cid[17];

	(void)state;
	vector(cid);
	assert_int_equal(bpf_map_update_elem(fd(edge_skeleton()->maps.quic_ciphers), &number, &none, 0), 0);
	assert_int_equal(led_to(cid, 17), 4);
}

static void short_datagram(void **state)
{
	uint8_t cid[17];

	(void)state;
	if (missing)
		skip();
	vector(cid);
	led_to(cid, 17);
	frame_eth(&f);
	frame_ip4(&f, CLIENT, VIP);
	frame_udp(&f, 50000, 443);
	frame_bytes(&f, cid, 17); /* its first byte is taken for the header: one is missing at the end */
	frame_end(&f);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 4);
}

/* User space reads nothing of the cipher. */
static void cipher_is_not_read(void **state)
{
	uint32_t number = NUMBER;
	uint64_t value = 1;

	(void)state;
	assert_int_equal(bpf_map_lookup_elem(fd(edge_skeleton()->maps.quic_ciphers), &number, &value), 0);
	assert_int_equal(value, 0);
}

#define CASE(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(vectors_of_the_draft), CASE(every_pair_of_lengths), CASE(another_key), CASE(no_key),
		CASE(short_datagram), CASE(cipher_is_not_read),
	};

	return cmocka_run_group_tests_name("cipher", tests, open_group, edge_unload);
}
