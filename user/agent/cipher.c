// SPDX-License-Identifier: Apache-2.0
/* cipher.c -- runs the program that turns a key into a cipher of the kernel (see cipher.h). */
#include "user/agent/cipher.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/abi/quic.h"
#include "skel/crypt.skel.h"

_Static_assert(QUIC_KEY_BYTES == WEIR_QUIC_KEY, "key");

struct ciphers {
	struct crypt *skel;
};

/* Asked of the kernel's own types: without its functions an older one may refuse the program for other reasons. */
static bool kernel_has_crypto(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	bool has = btf && btf__find_by_name_kind(btf, "bpf_crypto_ctx_create", BTF_KIND_FUNC) > 0;

	btf__free(btf);
	return has;
}

int ciphers_open(struct ciphers **out, int map)
{
	struct ciphers *c;
	int rc = 0;

	if (!kernel_has_crypto())
		return -EOPNOTSUPP;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->skel = crypt__open();
	if (!c->skel)
		rc = -errno;
	if (!rc && map >= 0)
		rc = bpf_map__reuse_fd(c->skel->maps.quic_ciphers, map);
	if (!rc && map < 0)
		rc = bpf_map__set_max_entries(c->skel->maps.quic_ciphers, 1);
	if (!rc)
		rc = crypt__load(c->skel);
	if (rc) {
		ciphers_close(c);
		return rc;
	}
	*out = c;
	return 0;
}

void ciphers_close(struct ciphers *c)
{
	if (!c)
		return;
	crypt__destroy(c->skel);
	free(c);
}

int ciphers_set(struct ciphers *c, uint32_t number, const uint8_t key[QUIC_KEY_BYTES])
{
	struct weir_quic_secret secret = { .service = number };
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = &secret, .ctx_size_in = sizeof(secret));
	int rc;

	memcpy(secret.key, key, sizeof(secret.key));
	rc = bpf_prog_test_run_opts(bpf_program__fd(c->skel->progs.quic_key), &run);
	explicit_bzero(&secret, sizeof(secret));
	return rc ? rc : (int)run.retval;
}

int ciphers_try(void)
{
	static const uint8_t any[QUIC_KEY_BYTES];
	libbpf_print_fn_t print = libbpf_set_print(NULL);
	struct ciphers *c = NULL;
	int rc = ciphers_open(&c, -1);

	if (!rc)
		rc = ciphers_set(c, 0, any);
	ciphers_close(c);
	libbpf_set_print(print);
	return rc;
}

const char *ciphers_why(int rc)
{
	if (rc == -EOPNOTSUPP || rc == -ENOENT)
		return "this kernel cannot decrypt connection IDs in the packet path (needs 6.10 with BPF's crypto functions, "
		       "modules bpf_crypto_skcipher and ecb(aes)); take the key out for plaintext connection IDs";
	return strerror(-rc);
}
