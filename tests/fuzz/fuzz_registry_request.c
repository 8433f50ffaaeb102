/* SPDX-License-Identifier: Apache-2.0 */
/* Any body for any request: always a status and an answer, the daemons' user never touches a user,
 * revisions only grow, keys stay in order. The first byte chooses the request and who asks. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/registry/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct store *store;
static char folder[64];

static void require(int truth)
{
	if (!truth)
		abort();
}

static void run(struct store_op *op)
{
	struct store_txn txn = { .then = op, .nthen = 1 };

	require(!store_run(store, &txn));
}

static void start(void)
{
	struct store_op op = { .verb = OP_PUT,
			       .span = { "/weir/v1/users/a", "", 16, 0 },
			       .value = "x",
			       .value_len = 1 };
	char err[256];

	snprintf(folder, sizeof(folder), "/dev/shm/weir-fuzz.XXXXXX");
	if (!mkdtemp(folder)) {
		snprintf(folder, sizeof(folder), "/tmp/weir-fuzz.XXXXXX");
		require(mkdtemp(folder) != NULL);
	}
	require(!store_open(&store, folder, err, sizeof(err)));
	run(&op);
}

static void finish(void)
{
	char path[96];

	store_close(store);
	store = NULL;
	snprintf(path, sizeof(path), "%s/data.mdb", folder);
	remove(path);
	snprintf(path, sizeof(path), "%s/lock", folder);
	remove(path);
	remove(folder);
}

static void check_user_and_order(void)
{
	struct store_op op = { .verb = OP_RANGE, .span = { "\0", "\0", 1, 1 } };
	int users = 0;

	run(&op);
	for (size_t i = 0; i < op.nkvs; i++) {
		const struct kv *kv = op.kvs[i], *next = i + 1 < op.nkvs ? op.kvs[i + 1] : NULL;

		users += kv->key_len >= 15 && !memcmp(kv_key(kv), "/weir/v1/users/", 15);
		if (next) {
			size_t n = kv->key_len < next->key_len ? kv->key_len : next->key_len;
			int order = memcmp(kv_key(kv), kv_key(next), n);

			require(order < 0 || (!order && kv->key_len < next->key_len));
		}
	}
	require(users == 1);
	store_ops_clear(&op, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned int runs;
	enum request_kind kind;
	json_t *answer = NULL;
	struct request_watch wanted;
	unsigned int status;
	int64_t before;

	if (!store) {
		start();
		atexit(finish);
	}
	if (!size)
		return 0;
	kind = data[0] % (REQUEST_KINDS + 1);
	if (kind == REQUEST_KINDS) {
		status = request_watch_parse(&wanted, (const char *)data + 1, size - 1, &answer);
		require(status == 200 || answer);
		if (status == 200) {
			free(wanted.key);
			free(wanted.end);
		}
	} else {
		before = store_revision(store);
		status = request_run(store, kind, data[0] & 0x80 ? POWER_NONE : POWER_DAEMON,
				     (const char *)data + 1, size - 1, &answer);
		require(answer && status >= 200 && status < 600 && status != 500);
		require(!(data[0] & 0x80) || status == 403);
		require(store_revision(store) >= before && store_revision(store) <= before + 1);
	}
	json_decref(answer);
	store_lease_tick(store, 100);
	if (++runs % 64 == 0)
		check_user_and_order();
	return 0;
}
