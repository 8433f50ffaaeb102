/* SPDX-License-Identifier: Apache-2.0 */
/*
 * priv.h -- giving up power, for good.
 *
 * A daemon binds what needs root, then calls priv_drop() once, before it reads a byte from the
 * network. Not root: only the parts that need no root are done.
 */
#ifndef WEIR_PRIV_H
#define WEIR_PRIV_H

#include <stdint.h>
#include <sys/types.h>

/* Which system calls remain (seccomp, default: the process is killed by SIGSYS, which the log of
 * the service manager names). Files is for daemons that store data. */
enum priv_profile {
	PRIV_NET, /* sockets, threads, clocks, reading open files; no open for write, no exec */
	PRIV_NET_FILES, /* the same and the file calls: open, rename, unlink, fsync, mmap */
	PRIV_PARSE, /* memory, and descriptors that are open: of a process that parses foreign bytes */
	PRIV_NONE, /* drop user and capabilities, no seccomp (for a role with its own filter) */
};

struct priv_user {
	uid_t uid;
	gid_t gid;
};

/* user: a name or a number ("64200"; the group is then the same number). 0 or -errno (-ENOENT:
 * there is no such user). */
int priv_user_find(struct priv_user *out, const char *user);

/* Sets groups, gid, uid, empties all capability sets but `keep` (a cap_from_text(3) list such as
 * "cap_bpf,cap_net_admin", or NULL), sets no_new_privs, undumpable stays as it was, then the
 * seccomp profile. 0 or -errno; after a failure the process must exit. */
int priv_drop(const struct priv_user *user, const char *keep, enum priv_profile profile);

/* What a process that parses foreign bytes may use; 0: no limit of this kind. */
struct priv_caps {
	uint64_t memory;	  /* bytes of address space */
	uint64_t file;		  /* bytes of one file */
	unsigned int cpu_s;	  /* CPU seconds; SIGXCPU, and SIGKILL a second later */
	unsigned int descriptors; /* open at the same time */
};

/* For good: the limits, no other process, no core file, no_new_privs, PRIV_PARSE. 0 or -errno; after a failure the
 * process must exit. Builds with a sanitizer have neither the memory limit nor the filter. */
int priv_confine(const struct priv_caps *caps);

/* As many descriptors as the hard limit lets: connections need one each. */
void priv_raise_descriptors(void);

/* mkdir -p with the owner and mode for the last part; fine when it exists. 0 or -errno. */
int priv_folder(const char *path, const struct priv_user *owner, mode_t mode);

#endif
