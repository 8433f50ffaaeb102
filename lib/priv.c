// SPDX-License-Identifier: Apache-2.0
/*
 * priv.c -- giving up power, for good.
 *
 * The order matters: the bounding set needs CAP_SETPCAP, groups need CAP_SETGID, both go with the
 * user; the filter comes last, since none of these calls passes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/priv.h"
#include "lib/priv_filter.h"

int priv_user_find(struct priv_user *out, const char *user)
{
	struct passwd entry, *found = NULL;
	char buf[16384], *end;
	unsigned long number;
	int err;

	errno = 0;
	number = strtoul(user, &end, 10);
	if (*user >= '0' && *user <= '9' && !*end) {
		/* (uid_t)-1 means "leave as it is" to setresuid(2). */
		if (errno || number >= UINT32_MAX)
			return -EINVAL;
		*out = (struct priv_user){ (uid_t)number, (gid_t)number };
		return 0;
	}
	err = getpwnam_r(user, &entry, buf, sizeof(buf), &found);
	if (!found)
		return err && err != ENOENT ? -err : -ENOENT;
	*out = (struct priv_user){ entry.pw_uid, entry.pw_gid };
	return 0;
}

/* Takes all but `keep` out of the set of what may ever be had again. Without CAP_SETPCAP this
 * cannot be done, and no_new_privs does the same for us. */
static int drop_bounding(cap_t keep)
{
	cap_flag_value_t kept;

	for (cap_value_t cap = 0; cap < cap_max_bits(); cap++) {
		if (cap_get_flag(keep, cap, CAP_PERMITTED, &kept))
			kept = CAP_CLEAR;
		if (kept == CAP_SET || cap_get_bound(cap) <= 0)
			continue;
		if (cap_drop_bound(cap))
			return errno == EPERM ? 0 : -errno;
	}
	return 0;
}

static int drop_user(const struct priv_user *user, bool keep)
{
	if (geteuid() != 0)
		return 0;
	if (prctl(PR_SET_KEEPCAPS, keep, 0, 0, 0))
		return -errno;
	if (setgroups(0, NULL) || setresgid(user->gid, user->gid, user->gid) ||
	    setresuid(user->uid, user->uid, user->uid))
		return -errno;
	/* A kernel or a sandbox that said yes and did nothing would be the worst case. */
	if (user->uid != 0 && (setuid(0) == 0 || geteuid() != user->uid || getegid() != user->gid))
		return -EPERM;
	return 0;
}

/* "cap_a,cap_b" as a set with these permitted and effective; NULL: the empty set. */
static cap_t parse_keep(const char *keep)
{
	char text[256];

	if (!keep)
		return cap_init();
	if ((size_t)snprintf(text, sizeof(text), "%s=ep", keep) >= sizeof(text))
		return NULL;
	return cap_from_text(text);
}

/* What is asked for and is had: a plain user who keeps nothing is no fault. */
static void keep_what_there_is(cap_t keep)
{
	cap_t now = cap_get_proc();
	cap_flag_value_t had;

	for (cap_value_t cap = 0; now && cap < cap_max_bits(); cap++) {
		if (cap_get_flag(now, cap, CAP_PERMITTED, &had) || had == CAP_SET)
			continue;
		cap_set_flag(keep, CAP_PERMITTED, 1, &cap, CAP_CLEAR);
		cap_set_flag(keep, CAP_EFFECTIVE, 1, &cap, CAP_CLEAR);
	}
	cap_free(now);
}

int priv_drop(const struct priv_user *user, const char *keep, enum priv_profile profile)
{
	cap_t kept = parse_keep(keep);
	int err;

	if (!kept)
		return errno == ENOMEM ? -ENOMEM : -EINVAL;
	err = drop_bounding(kept);
	if (!err)
		err = drop_user(user, keep != NULL);
	if (!err) {
		keep_what_there_is(kept);
		if (cap_reset_ambient() && errno != EINVAL)
			err = -errno;
		else if (cap_set_proc(kept))
			err = -errno;
	}
	cap_free(kept);
	if (!err && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		err = -errno;
	return err ? err : priv_filter_load(profile);
}

static int limit(int resource, rlim_t soft, rlim_t hard)
{
	const struct rlimit value = { soft, hard };

	return setrlimit((__rlimit_resource_t)resource, &value) ? -errno : 0;
}

int priv_confine(const struct priv_caps *caps)
{
	int err = limit(RLIMIT_CORE, 0, 0);

	if (!err)
		err = limit(RLIMIT_NPROC, 0, 0);
	/* A sanitizer's shadow takes terabytes of addresses. */
	if (!err && caps->memory && !priv_filter_sanitized())
		err = limit(RLIMIT_AS, caps->memory, caps->memory);
	if (!err && caps->file)
		err = limit(RLIMIT_FSIZE, caps->file, caps->file);
	if (!err && caps->cpu_s)
		err = limit(RLIMIT_CPU, caps->cpu_s, caps->cpu_s + 1);
	if (!err && caps->descriptors)
		err = limit(RLIMIT_NOFILE, caps->descriptors, caps->descriptors);
	if (!err && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		err = -errno;
	return err ? err : priv_filter_load(PRIV_PARSE);
}

void priv_raise_descriptors(void)
{
	struct rlimit value;

	if (getrlimit(RLIMIT_NOFILE, &value))
		return;
	value.rlim_cur = value.rlim_max;
	setrlimit(RLIMIT_NOFILE, &value);
}

/* The folder that was just made: whoever may write beside it must not put a link in its place. */
static int give_folder(const char *path, const struct priv_user *owner, mode_t mode)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	/* mkdir(2) took the umask away. */
	if ((fchown(fd, owner->uid, owner->gid) && geteuid() == 0) || fchmod(fd, mode))
		err = -errno;
	close(fd);
	return err;
}

/* Daemons of one node start side by side and share its folder: it appears when it is its owner's, so that the one that
 * finds it there may use it. -EEXIST: another was faster. */
static int make_folder(const char *path, const struct priv_user *owner, mode_t mode)
{
	char fresh[PATH_MAX];
	int err;

	if ((size_t)snprintf(fresh, sizeof(fresh), "%s.%d~", path, (int)getpid()) >= sizeof(fresh))
		return -ENAMETOOLONG;
	if (mkdir(fresh, mode))
		return -errno;
	err = give_folder(fresh, owner, mode);
	if (!err && renameat2(AT_FDCWD, fresh, AT_FDCWD, path, RENAME_NOREPLACE))
		err = -errno;
	if (err)
		rmdir(fresh);
	if (err != -EINVAL) /* a file system that cannot */
		return err;
	return mkdir(path, mode) ? -errno : give_folder(path, owner, mode);
}

int priv_folder(const char *path, const struct priv_user *owner, mode_t mode)
{
	char part[PATH_MAX];
	struct stat st;
	int err;

	if ((size_t)snprintf(part, sizeof(part), "%s", path) >= sizeof(part))
		return -ENAMETOOLONG;
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(part, 0755) && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	if (!stat(path, &st))
		return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
	err = make_folder(path, owner, mode);
	if (err != -EEXIST)
		return err;
	return stat(path, &st) ? -errno : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}
