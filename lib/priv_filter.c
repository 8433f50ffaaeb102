// SPDX-License-Identifier: Apache-2.0
/*
 * priv_filter.c -- which system calls a daemon keeps (seccomp(2) by libseccomp).
 *
 * The lists hold what glibc (threads, getaddrinfo), libmicrohttpd, GnuTLS, OpenSSL, libcurl,
 * sd-event, LMDB and jansson call once they run; anything else kills the process. Calls that are
 * refused with an error instead are those that libraries try and can do without.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/priv_filter.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static const char *const always[] = {
	/* files that are open, and looking */
	"read",
	"write",
	"readv",
	"writev",
	"pread64",
	"pwrite64",
	"preadv",
	"pwritev",
	"preadv2",
	"pwritev2",
	"close",
	"close_range",
	"fstat",
	"newfstatat",
	"fstatat64",
	"stat",
	"lstat",
	"statx",
	"lseek",
	"_llseek",
	"fcntl",
	"fcntl64",
	"dup",
	"dup2",
	"dup3",
	"getdents64",
	"readlink",
	"readlinkat",
	"access",
	"faccessat",
	"faccessat2",
	"getcwd",
	"fstatfs",
	"statfs",
	"fadvise64",
	"sendfile",
	"sendfile64",
	"splice",
	"tee",
	"pipe",
	"pipe2",
	/* waiting */
	"poll",
	"ppoll",
	"select",
	"_newselect",
	"pselect6",
	"epoll_create",
	"epoll_create1",
	"epoll_ctl",
	"epoll_wait",
	"epoll_pwait",
	"epoll_pwait2",
	"eventfd2",
	"timerfd_create",
	"timerfd_settime",
	"timerfd_gettime",
	"signalfd",
	"signalfd4",
	"nanosleep",
	"clock_nanosleep",
	"restart_syscall",
	"wait4",
	"waitid",
	/* sockets that are there; socket(2) itself is below */
	"socketpair",
	"bind",
	"listen",
	"accept",
	"accept4",
	"connect",
	"getsockname",
	"getpeername",
	"setsockopt",
	"getsockopt",
	"sendto",
	"recvfrom",
	"sendmsg",
	"recvmsg",
	"sendmmsg",
	"recvmmsg",
	"shutdown",
	/* memory and threads */
	"mmap",
	"mmap2",
	"munmap",
	"mremap",
	"mprotect",
	"madvise",
	"mincore",
	"brk",
	"mlock",
	"mlock2",
	"munlock",
	"memfd_create",
	"futex",
	"futex_waitv",
	"set_robust_list",
	"get_robust_list",
	"rseq",
	"membarrier",
	"sched_yield",
	"sched_getaffinity",
	"sched_setaffinity",
	"sched_getparam",
	"sched_getscheduler",
	"sched_get_priority_max",
	"sched_get_priority_min",
	"getcpu",
	"set_tid_address",
	"arch_prctl",
	"exit",
	"exit_group",
	/* signals */
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"rt_sigpending",
	"rt_sigtimedwait",
	"rt_sigsuspend",
	"sigaltstack",
	"sigreturn",
	/* who and when */
	"getpid",
	"gettid",
	"getppid",
	"getpgrp",
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"getresuid",
	"getresgid",
	"getgroups",
	"getrandom",
	"clock_gettime",
	"clock_getres",
	"gettimeofday",
	"time",
	"times",
	"getrusage",
	"getrlimit",
	"ugetrlimit",
	"prlimit64",
	"sysinfo",
	"uname",
	"capget",
};

static const char *const files[] = {
	"open",	     "openat",	    "creat",	       "rename",	  "renameat",
	"renameat2", "unlink",	    "unlinkat",	       "mkdir",		  "mkdirat",
	"rmdir",     "link",	    "linkat",	       "chmod",		  "fchmod",
	"fchmodat",  "fsync",	    "fdatasync",       "sync_file_range", "syncfs",
	"ftruncate", "ftruncate64", "truncate",	       "fallocate",	  "utimensat",
	"flock",     "msync",	    "copy_file_range", "getdents",	  "umask",
	"readahead", "chdir",	    "fchdir",
};

/* A worker of http/upload: its socket pair, the files that it was handed, memory, time. libc's
 * threads, sockets, processes and every call that takes a path are missing. */
static const char *const parse[] = {
	"read",		 "write",	"readv",	 "writev",	  "pread64",	   "pwrite64",
	"sendmsg",	 "recvmsg",	"poll",		 "ppoll",	  "lseek",	   "_llseek",
	"fstat",	 "close",	"ftruncate",	 "ftruncate64",	  "munmap",	 "mremap",	"madvise",	 "brk",		  "futex",	   "exit",
	"exit_group",	 "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigreturn",	   "sigaltstack",
	"restart_syscall", "getrandom",	"clock_gettime", "clock_getres",  "gettimeofday",  "time",
	"getpid",	 "gettid",	"getrusage",	 "sched_yield",	  "sched_getaffinity", "rseq",
	"membarrier",	 "fadvise64",	"sysinfo",	 "getcpu",
};

/* Looking for a file, as libraries do for what they can do without (a locale, a converter). */
static const char *const parse_refused[] = {
	"open", "openat", "stat", "lstat", "statx", "access", "faccessat", "faccessat2",
	"readlink", "readlinkat",
};

static int allow_list(scmp_filter_ctx ctx, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int nr = seccomp_syscall_resolve_name(names[i]);
		int err;

		/* Negative: another architecture's, or newer than the library. */
		if (nr < 0)
			continue;
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
		if (err)
			return err;
	}
	return 0;
}

/* Allows nr when argument `arg`, under the mask, is one of the values. */
static int allow_values(scmp_filter_ctx ctx, int nr, unsigned int arg, uint64_t mask,
			const uint64_t *values, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n && !err; i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1,
				       SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, mask, values[i]));
	return err;
}

/* Reading is allowed, all else gets EACCES: flags is the number of the argument. */
static int allow_open_read(scmp_filter_ctx ctx, const char *name, unsigned int flags)
{
	static const uint64_t writing[] = { O_WRONLY, O_RDWR, O_CREAT, O_TRUNC };
	int nr = seccomp_syscall_resolve_name(name), err;

	if (nr < 0)
		return 0;
	err = seccomp_rule_add(
		ctx, SCMP_ACT_ALLOW, nr, 1,
		SCMP_CMP64(flags, SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, 0));
	for (size_t i = 0; i < 4 && !err; i++)
		err = seccomp_rule_add(
			ctx, SCMP_ACT_ERRNO(EACCES), nr, 1,
			SCMP_CMP64(flags, SCMP_CMP_MASKED_EQ, writing[i], writing[i]));
	return err;
}

static int refuse(scmp_filter_ctx ctx, const char *name, int error)
{
	int nr = seccomp_syscall_resolve_name(name);

	return nr < 0 ? 0 : seccomp_rule_add(ctx, SCMP_ACT_ERRNO((uint32_t)error), nr, 0);
}

/* Calls of which only a part is harmless. */
static int allow_parts(scmp_filter_ctx ctx)
{
	static const uint64_t families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };
	static const uint64_t controls[] = { TCGETS,	   TIOCGWINSZ, FIONREAD,     FIONBIO,
					     FIOCLEX,	   SIOCOUTQ,   SIOCGIFINDEX, SIOCGIFNAME,
					     SIOCGIFFLAGS, SIOCGIFMTU };
	static const uint64_t names[] = { PR_SET_NAME, PR_GET_NAME, PR_GET_DUMPABLE,
					  PR_CAPBSET_READ };
	const uint64_t threads = CLONE_THREAD, self = (uint64_t)getpid();
	int err;

	err = allow_values(ctx, SCMP_SYS(socket), 0, 0xffffffff, families, 4);
	if (!err)
		err = allow_values(ctx, SCMP_SYS(ioctl), 1, 0xffffffff, controls,
				   sizeof(controls) / sizeof(*controls));
	if (!err)
		err = allow_values(ctx, SCMP_SYS(prctl), 0, 0xffffffff, names, 4);
	if (!err)
		err = allow_values(ctx, SCMP_SYS(clone), 0, CLONE_THREAD, &threads, 1);
	/* A filter cannot look into clone3's struct; glibc takes clone when there is no clone3. */
	if (!err)
		err = refuse(ctx, "clone3", ENOSYS);
	/* abort(3) and raise(3), nobody else's processes */
	if (!err)
		err = allow_values(ctx, SCMP_SYS(tgkill), 0, 0xffffffff, &self, 1);
	return err;
}

/* Memory for data alone; abort(3); fstat(3), which is newfstatat(2) with an empty path in newer libcs. A filter cannot
 * read the path: what such a call could tell of another file is its size and times. */
static int build_parse(scmp_filter_ctx ctx)
{
	const uint64_t self = (uint64_t)getpid(), none = 0, empty = AT_EMPTY_PATH;
	int err = allow_list(ctx, parse, sizeof(parse) / sizeof(*parse));

	for (size_t i = 0; i < sizeof(parse_refused) / sizeof(*parse_refused) && !err; i++)
		err = refuse(ctx, parse_refused[i], EACCES);
	if (!err)
		err = allow_values(ctx, SCMP_SYS(newfstatat), 3, AT_EMPTY_PATH, &empty, 1);
	if (!err)
		err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(newfstatat), 1,
				       SCMP_CMP64(3, SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, 0));
	if (!err)
		err = allow_values(ctx, SCMP_SYS(mprotect), 2, PROT_EXEC, &none, 1);
	if (!err)
		err = allow_values(ctx, SCMP_SYS(mmap), 2, PROT_EXEC, &none, 1);
	if (!err)
		err = allow_values(ctx, SCMP_SYS(tgkill), 0, 0xffffffff, &self, 1);
	return err;
}

static int build(scmp_filter_ctx ctx, enum priv_profile profile)
{
	int err;

	/* All threads at once, errors as they are, and a search tree: a call costs some ten
	 * comparisons instead of a hundred. */
	err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!err)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!err && profile == PRIV_PARSE)
		return build_parse(ctx);
	if (!err)
		err = allow_list(ctx, always, sizeof(always) / sizeof(*always));
	if (!err)
		err = allow_parts(ctx);
	if (err)
		return err;
	if (profile == PRIV_NET_FILES)
		return allow_list(ctx, files, sizeof(files) / sizeof(*files));
	err = allow_open_read(ctx, "open", 1);
	if (!err)
		err = allow_open_read(ctx, "openat", 2);
	/* ctl_free() tries to remove its socket. */
	if (!err)
		err = refuse(ctx, "unlink", EPERM);
	if (!err)
		err = refuse(ctx, "unlinkat", EPERM);
	return err;
}

bool priv_filter_sanitized(void)
{
	return SANITIZED;
}

int priv_filter_load(enum priv_profile profile)
{
	scmp_filter_ctx ctx;
	int err;

	if (profile == PRIV_NONE || SANITIZED)
		return 0;
	ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!ctx)
		return -ENOMEM;
	err = build(ctx, profile);
	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err;
}
