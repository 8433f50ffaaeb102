/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.h -- what several programs or machines must agree on: the client of etcd v3's JSON API
 * (get, list, put, delete, compare-and-swap, leases, watches), spoken by real etcd and by
 * weir-registry alike.
 *
 * Thread-safe; calls block for at most the configured time-out. Watches and lease keep-alives run
 * on threads of the client's own. A registry that does not answer is never an event: watchers hear
 * nothing, and what they knew stays. Keys are text, values JSON text.
 */
#ifndef WEIR_REGISTRY_H
#define WEIR_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/conf.h"

#define REG_ROOT      "/weir/v1/"
#define REG_MEMBERS   REG_ROOT "members/"   /* ROLE/NODE, leased */
#define REG_ENDPOINTS REG_ROOT "endpoints/" /* NODE */
#define REG_SERVICES  REG_ROOT "services/"  /* SERVICE */
#define REG_RATES     REG_ROOT "rates/"	    /* SERVICE */
#define REG_HISTORY   REG_ROOT "rates-history/" /* SERVICE/GENERATION */
#define REG_WEIGHTS   REG_ROOT "weights/"   /* SERVICE: frozen */
#define REG_CAPACITY  REG_ROOT "capacity/"  /* SERVICE */
#define REG_LOCKS     REG_ROOT "lock/"	    /* NAME, leased */
#define REG_DRAIN     REG_ROOT "drain/"	    /* NODE */
#define REG_USERS     REG_ROOT "users/"	    /* NAME */
#define REG_BUCKETS   REG_ROOT "buckets/"   /* NAME */
#define REG_NAMES     REG_ROOT "names/"	    /* BUCKET */
#define REG_NUMBERS   REG_ROOT "numbers/"   /* NNN: an endpoint's, for good */
#define REG_SIGNING   REG_ROOT "signing/"   /* KID */
#define REG_SEALING   REG_ROOT "sealing/"   /* KID: seals secrets and objects' keys */
#define REG_RESEAL    REG_ROOT "reseal/"    /* wish; told/NODE (lib/reseal_ask.h) */
#define REG_GROUPS    REG_ROOT "groups/"    /* NAME */
#define REG_PEOPLE    REG_ROOT "people/"    /* NAME: of an OpenID provider */
#define REG_DATASETS  REG_ROOT "datasets/"  /* NAME */
#define REG_ENDED     REG_ROOT "ended/"	    /* id of a token, leased until it would expire */
#define REG_TOKENS    REG_ROOT "token/"	    /* USER/ID: API tokens issued, leased until they expire */
#define REG_PEERS     REG_ROOT "peers/"	    /* secret, switch */
#define REG_RECORDS   REG_ROOT "records/"   /* ZONE/NAME/TYPE */

struct registry;

/* Reads passwords, tokens and CA files now (call while they can be read); connects at the first
 * call. */
int registry_open(struct registry **out, const struct conf_registry *conf);
void registry_close(struct registry *reg); /* stops watches and keep-alives, joins; accepts NULL */
/* The last failure as a sentence (thread-local), for the caller's message. */
const char *registry_error(void);
bool registry_reachable(const struct registry *reg); /* did the last exchange succeed */

struct reg_kv {
	char *key;
	char *value; /* terminated */
	size_t value_len;
	int64_t mod_revision, create_revision, version, lease;
};

/* 0, -ENOENT, or -errno (-ETIMEDOUT, -ECONNREFUSED, -EACCES, -EPROTO …). The caller frees with
 * reg_kv_free(). */
int registry_get(struct registry *reg, const char *key, struct reg_kv *out);
/* All keys with the prefix, in key order (pages are followed). *revision: of the snapshot, may be
 * NULL. */
int registry_list(struct registry *reg, const char *prefix, struct reg_kv **out, size_t *n,
		  int64_t *revision);
void reg_kv_free(struct reg_kv *kv); /* its members */
void reg_kv_list_free(struct reg_kv *kvs, size_t n);

/* lease 0: none. */
int registry_put(struct registry *reg, const char *key, const char *value, int64_t lease);
int registry_delete(struct registry *reg, const char *key); /* -ENOENT when it was not there */
int registry_delete_prefix(struct registry *reg, const char *prefix, int64_t *deleted);

/* One transaction: all conditions hold → all changes, else nothing. */
struct reg_cond {
	const char *key;
	int64_t mod_revision; /* 0: the key must not exist */
};
struct reg_change {
	const char *key;
	const char *value; /* NULL: delete */
	int64_t lease;
};
/* 0 done (*revision is the new one), -EAGAIN a condition failed, else -errno: unknown when
 * -ETIMEDOUT. */
int registry_txn(struct registry *reg, const struct reg_cond *conds, size_t nconds,
		 const struct reg_change *changes, size_t nchanges, int64_t *revision);

/* A lease that ends by itself after so many seconds: for keys that shall vanish then. */
int registry_grant(struct registry *reg, int64_t ttl_s, int64_t *lease);

/* A lease that is kept alive until registry_lease_end(). Keys attached to it are remembered: when
 * the lease was lost (registry away longer than the TTL), a new one is made and the keys are put
 * again. on_lost, may be NULL, is called on the client's thread when keys had lapsed; it must not
 * end the lease. A registry that is silent now is no failure: the thread goes on asking, and puts
 * what was remembered. */
struct reg_lease;
int registry_lease(struct registry *reg, struct reg_lease **out, unsigned int ttl_s,
		   void (*on_lost)(void *arg), void *arg);
/* Remembers the key and puts it. When that fails the key is put as soon as the registry answers. */
int registry_lease_put(struct reg_lease *lease, const char *key, const char *value);
/* Forgets the key and deletes it. When that fails the key is forgotten, but stays for as long as the
 * lease: try again. 0 also when it was not there. */
int registry_lease_withdraw(struct reg_lease *lease, const char *key);
/* Takes key only if nobody has it: 0 mine (also when it was mine), -EAGAIN another's. A lock that
 * was lost is not taken again by itself. */
int registry_lease_claim(struct reg_lease *lease, const char *key, const char *value);
bool registry_lease_holds(struct reg_lease *lease, const char *key);
/* Is the lease certainly still there? True while less than the TTL has passed (CLOCK_BOOTTIME: also
 * through SIGSTOP and sleep) since the last grant or keep-alive that succeeded was *sent*. *term,
 * may be NULL, counts the leases: it grows whenever a lost one was replaced, so that a holder knows
 * to read again what others may have changed meanwhile. */
bool registry_lease_certain(struct reg_lease *lease, uint64_t *term);
/* Another process is about to take over the keys: this one does not put them again when the lease
 * is lost. */
void registry_lease_retire(struct reg_lease *lease);
void registry_lease_end(struct reg_lease *lease, bool revoke); /* revoke: the keys go at once */

/* Watches a prefix: first a PUT for each present key, then REG_SYNCED, then changes as they come.
 * After a gap (reconnect, compaction) the difference is computed and only real changes are told.
 * fn runs on the watch's own thread; kv is valid during the call (value NULL for DELETE). */
enum reg_event { REG_PUT, REG_DELETE, REG_SYNCED };
typedef void reg_watch_fn(void *arg, enum reg_event event, const struct reg_kv *kv);
struct reg_watch;
int registry_watch(struct registry *reg, struct reg_watch **out, const char *prefix,
		   reg_watch_fn *fn, void *arg);
void registry_unwatch(struct reg_watch *watch); /* joins; accepts NULL */

/* Puts this node's leased member key (contracts: members/ROLE/NODE). extra: more members as a JSON
 * object text, or NULL. */
int registry_announce(struct reg_lease *lease, const struct conf *conf, const char *role,
		      const char *extra_json);

#endif
