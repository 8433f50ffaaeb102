// SPDX-License-Identifier: Apache-2.0
/*
 * priv: users, folders, and what a child can still do after priv_drop(). Each drop happens in a forked child,
 * since it is for good. As root the whole way is walked, as a plain user what is left of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/priv.h"
#include "tests/unit/unit.h"

#if defined(__SANITIZE_ADDRESS__)
#define FILTERED 0
#else
#define FILTERED 1
#endif

static const struct priv_user nobody_here = { 64200, 64200 };
static char folder[200];

static int make_folder(void **state)
{
	(void)state;
	unit_folder(folder, sizeof(folder));
	return chmod(folder, 0777);
}

static int remove_folder(void **state)
{
	(void)state;
	unit_folder_remove(folder);
	return 0;
}

/* Runs fn in a child after the drop; the exit code, or 1000 + the signal. */
static int after_drop(const char *keep, enum priv_profile profile, int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		if (priv_drop(&nobody_here, keep, profile))
			_exit(99);
		_exit(fn());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void users(void **state)
{
	struct priv_user user = { 1, 2 };

	(void)state;
	assert_int_equal(priv_user_find(&user, "64200"), 0);
	assert_int_equal(user.uid, 64200);
	assert_int_equal(user.gid, 64200);
	assert_int_equal(priv_user_find(&user, "root"), 0);
	assert_int_equal(user.uid, 0);
	assert_int_equal(priv_user_find(&user, "no-such-user-here"), -ENOENT);
	assert_int_equal(priv_user_find(&user, "4294967295"), -EINVAL);
	assert_int_equal(priv_user_find(&user, "99999999999999999999"), -EINVAL);
	assert_int_equal(priv_user_find(&user, "12x"), -ENOENT);
	assert_int_equal(user.uid, 0);
}

static void folders(void **state)
{
	struct priv_user me = { geteuid(), getegid() };
	const struct priv_user *owner = geteuid() ? &me : &nobody_here;
	char path[300], file[300];
	struct stat st;
	mode_t before = umask(077);

	(void)state;
	snprintf(path, sizeof(path), "%s/a/b/c", folder);
	assert_int_equal(priv_folder(path, owner, 0755), 0);
	umask(before);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(st.st_uid, owner->uid);
	assert_int_equal(priv_folder(path, owner, 0700), 0); /* there: left alone */
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	snprintf(file, sizeof(file), "%s/file", folder);
	fclose(fopen(file, "w"));
	assert_int_equal(priv_folder(file, owner, 0700), -ENOTDIR);
}

/* Bits of what is still there: 1 uid, 2 groups, 4 capabilities, 8 bounding set, 16 new privileges, 32 root. */
static int power_left(void)
{
	cap_t caps = cap_get_proc(), none = cap_init();
	int left = 0;

	left |= geteuid() == 64200 && getuid() == 64200 && getegid() == 64200 ? 0 : 1;
	left |= getgroups(0, NULL) ? 2 : 0;
	left |= cap_compare(caps, none) ? 4 : 0;
	for (cap_value_t cap = 0; cap < cap_max_bits(); cap++)
		left |= cap_get_bound(cap) > 0 ? 8 : 0;
	left |= prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 16;
	left |= setuid(0) ? 0 : 32;
	cap_free(caps);
	cap_free(none);
	return left;
}

static void root_loses_everything(void **state)
{
	(void)state;
	if (geteuid())
		skip();
	assert_int_equal(after_drop(NULL, PRIV_NONE, power_left), 0);
}

static int net_raw_alone(void)
{
	cap_t caps = cap_get_proc();
	cap_flag_value_t raw, admin;

	cap_get_flag(caps, CAP_NET_RAW, CAP_EFFECTIVE, &raw);
	cap_get_flag(caps, CAP_NET_ADMIN, CAP_PERMITTED, &admin);
	cap_free(caps);
	return raw == CAP_SET && admin == CAP_CLEAR && cap_get_bound(CAP_NET_RAW) > 0 &&
	       cap_get_bound(CAP_NET_ADMIN) == 0 && geteuid() == 64200 ? 0 : 1;
}

static void what_is_kept_is_kept_alone(void **state)
{
	(void)state;
	if (geteuid() || cap_get_bound(CAP_NET_RAW) <= 0)
		skip();
	assert_int_equal(after_drop("cap_net_raw", PRIV_NONE, net_raw_alone), 0);
	assert_int_equal(after_drop("cap_nonsense", PRIV_NONE, net_raw_alone), 99);
}

static int as_plain_user(void)
{
	if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(64201, 64201, 64201) || setresuid(64201, 64201, 64201)))
		return 98;
	return 0;
}

static void a_plain_user_works_too(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		uid_t uid;

		if (as_plain_user())
			_exit(98);
		uid = geteuid();
		if (priv_drop(&nobody_here, "cap_net_raw", PRIV_NET))
			_exit(99);
		_exit(geteuid() == uid ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
}

static void *thread_main(void *arg)
{
	return arg;
}

/* Everything that a network daemon does for its living. */
static int network_work(void)
{
	struct addrinfo *list = NULL, hints = { .ai_socktype = SOCK_STREAM };
	char path[300], buf[16];
	pthread_t thread;
	int fd = open("/etc/hostname", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, buf, sizeof(buf)) < 0 || close(fd))
		return 1;
	if (pthread_create(&thread, NULL, thread_main, NULL) || pthread_join(thread, NULL))
		return 2;
	if (getaddrinfo("localhost", "80", &hints, &list))
		return 3;
	freeaddrinfo(list);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || listen(fd, 1) || close(fd))
		return 4;
	snprintf(path, sizeof(path), "%s/new", folder);
	if (open(path, O_WRONLY | O_CREAT, 0600) >= 0 || errno != EACCES)
		return FILTERED ? 5 : 0;
	if (open("/dev/null", O_RDWR) >= 0 || errno != EACCES)
		return 6;
	if (!unlink(path) || errno != EPERM)
		return 7;
	fclose(fopen("/proc/self/stat", "r"));
	free(malloc(32 << 20));
	return 0;
}

static void net_profile_lets_daemons_live(void **state)
{
	(void)state;
	assert_int_equal(after_drop(NULL, PRIV_NET, network_work), 0);
}

static int file_work(void)
{
	char path[300], other[300];
	int fd;

	if (network_work() != (FILTERED ? 5 : 0)) /* writing is possible here */
		return 20;
	snprintf(path, sizeof(path), "%s/d", folder);
	snprintf(other, sizeof(other), "%s/e", folder);
	if (mkdir(path, 0700) || rename(path, other) || rmdir(other))
		return 21;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, "x", 1) != 1 || fdatasync(fd) || ftruncate(fd, 4096) || close(fd))
		return 22;
	return unlink(path) ? 23 : 0;
}

static void files_profile_can_store(void **state)
{
	(void)state;
	assert_int_equal(after_drop(NULL, PRIV_NET_FILES, file_work), 0);
}

static int try_exec(void)
{
	execl("/bin/true", "true", NULL);
	return 1;
}

static int try_fork(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	return 1;
}

static int try_packet_socket(void)
{
	socket(AF_PACKET, SOCK_RAW, 0);
	return 1;
}

static int try_mount(void)
{
	return chroot("/") ? 1 : 2;
}

static int try_rename(void)
{
	rename("/nonexistent-a", "/nonexistent-b");
	return 1;
}

static int try_kill(void)
{
	kill(getppid(), 0);
	return 1;
}

static void the_rest_kills(void **state)
{
	static int (*const tries[])(void) = { try_exec, try_fork, try_packet_socket, try_mount, try_kill };

	(void)state;
	if (!FILTERED)
		skip();
	for (size_t i = 0; i < sizeof(tries) / sizeof(*tries); i++) {
		assert_int_equal(after_drop(NULL, PRIV_NET, tries[i]), 1000 + SIGSYS);
		assert_int_equal(after_drop(NULL, PRIV_NET_FILES, tries[i]), 1000 + SIGSYS);
	}
	assert_int_equal(after_drop(NULL, PRIV_NET, try_rename), 1000 + SIGSYS);
	assert_int_equal(after_drop(NULL, PRIV_NET_FILES, try_rename), 1);
}

static int try_abort(void)
{
	signal(SIGABRT, SIG_DFL);
	abort();
}

static void abort_is_still_an_abort(void **state)
{
	(void)state;
	assert_int_equal(after_drop(NULL, PRIV_NET, try_abort), 1000 + SIGABRT);
}

/* What runs in a child behind priv_confine(): its exit code, 1000 and the signal, or 99 when it had no walls. */
static int confined(const struct priv_caps *caps, int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid)
		_exit(priv_confine(caps) ? 99 : fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int try_memory(void)
{
	char *small = malloc(1 << 20);

	if (!small)
		return 2;
	small[0] = 1;
	return malloc(64 << 20) ? 3 : 0;
}

static int try_open(void)
{
	return open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES ? 0 : 1;
}

static int try_socket(void)
{
	socket(AF_UNIX, SOCK_STREAM, 0);
	return 1;
}

static int try_code(void)
{
	mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return 1;
}

static int try_unlink(void)
{
	unlink("/nonexistent");
	return 1;
}

static int try_ptrace(void)
{
	ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
	return 1;
}

static int try_stat(void)
{
	struct stat st;

	return fstat(0, &st) == 0 && stat("/etc/passwd", &st) < 0 && errno == EACCES ? 0 : 1;
}

static void parsers_have_memory_and_open_files_alone(void **state)
{
	static int (*const tries[])(void) = { try_exec, try_fork, try_socket, try_code, try_unlink,
					      try_ptrace, try_kill, try_rename };
	const struct priv_caps caps = { .memory = 128 << 20, .cpu_s = 5, .descriptors = 16 };
	const struct priv_caps small = { .memory = 48 << 20 };

	(void)state;
	if (!FILTERED)
		skip();
	for (size_t i = 0; i < sizeof(tries) / sizeof(*tries); i++)
		assert_int_equal(confined(&caps, tries[i]), 1000 + SIGSYS);
	assert_int_equal(confined(&caps, try_open), 0);
	assert_int_equal(confined(&caps, try_stat), 0);
	assert_int_equal(confined(&caps, try_abort), 1000 + SIGABRT);
	assert_int_equal(confined(&small, try_memory), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(users),
		cmocka_unit_test(folders),
		cmocka_unit_test(root_loses_everything),
		cmocka_unit_test(what_is_kept_is_kept_alone),
		cmocka_unit_test(a_plain_user_works_too),
		cmocka_unit_test(net_profile_lets_daemons_live),
		cmocka_unit_test(files_profile_can_store),
		cmocka_unit_test(the_rest_kills),
		cmocka_unit_test(abort_is_still_an_abort),
		cmocka_unit_test(parsers_have_memory_and_open_files_alone),
	};

	return cmocka_run_group_tests_name("priv", tests, make_folder, remove_folder);
}
