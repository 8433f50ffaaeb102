// SPDX-License-Identifier: Apache-2.0
/*
 * daemon: a small daemon of our own, run in a child by daemon_main(): its options and exit codes, its
 * life from readiness to the end, reload by signal and by command, and what it does not do as a second one.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "lib/daemon.h"
#include "lib/log.h"
#include "tests/unit/unit.h"

static char folder[200];
static int said;                /* what the child writes to its standard output and error */

static bool has_gateway(const struct conf *conf)
{
	return conf->gateway.enabled;
}

static int prepare(struct daemon *d)
{
	d->state = d->conf->node;
	return !strcmp(d->conf->node, "unprepared") ? -EIO : 0;
}

static int start(struct daemon *d)
{
	if (geteuid() != d->user.uid)
		return -EPERM;
	loop_notify_ready("test");
	return 0;
}

static int reload(struct daemon *d, const struct conf *old)
{
	if (d->conf->gateway.redirect.top == 13)
		return -EINVAL;
	log_info("top %u -> %u", old->gateway.redirect.top, d->conf->gateway.redirect.top);
	return 0;
}

static void status(struct daemon *d, json_t *answer)
{
	json_object_set_new(answer, "top", json_integer((json_int_t)d->conf->gateway.redirect.top));
}

static json_t *command_echo(void *arg, const json_t *request, char *err, size_t err_len)
{
	struct daemon *d = arg;

	(void)err, (void)err_len;
	return json_pack("{s:s, s:O}", "role", d->role, "text", json_object_get(request, "text"));
}

static int action(const struct conf *conf, bool as_json)
{
	printf(as_json ? "{\"acted\":\"%s\"}\n" : "acted for %s\n", conf->node);
	return 5;
}

static void stop(struct daemon *d)
{
	log_info("stopping %s", d->conf->node);
}

/* A node that is "busy" has something that runs. */
static void drain(struct daemon *d)
{
	if (strcmp(d->conf->node, "busy"))
		loop_quit(d->loop, 0);
}

static const struct ctl_command commands[] = { { "echo", command_echo }, { NULL, NULL } };

static const struct daemon_program program = {
	.name = "weir-test", .role = "gateway", .summary = "a daemon for a test", .enabled = has_gateway,
	.profile = PRIV_NET_FILES, .prepare = prepare, .start = start, .stop = stop, .reload = reload,
	.status = status, .commands = commands, .actions = { { "act", "do one thing", action, .has_json = true }, { "mute", "do it", action, .has_json = false } },
	.drain = drain,
};

static const char *path_of(const char *name)
{
	static char path[4][300];
	static unsigned int turn;
	char *p = path[turn++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
	return p;
}

static void write_conf(const char *node, unsigned int top, const char *more)
{
	FILE *f = fopen(path_of("weir.yaml"), "w");

	assert_non_null(f);
	fprintf(f, "node: %s\nuser: \"64200\"\nrun: run\nstate: state\ngateway:\n  listen: [\"127.0.0.1:80\"]\n"
		   "  redirect: {top: %u}\n%s", node, top, more);
	fclose(f);
	chmod(path_of("weir.yaml"), 0644);
}

static int make_folder(void **state)
{
	(void)state;
	unit_folder(folder, sizeof(folder));
	said = open(path_of("said"), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return said < 0 ? -1 : chmod(folder, 0755);
}

static int remove_folder(void **state)
{
	(void)state;
	close(said);
	unit_folder_remove(folder);
	return 0;
}

static pid_t spawn(const char *a, const char *b, const char *c)
{
	char *argv[] = { (char *)"weir-test", (char *)a, (char *)b, (char *)c, NULL };
	int argc = 1;
	pid_t pid;

	while (argv[argc])
		argc++;
	assert_int_equal(ftruncate(said, 0), 0);
	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	dup2(said, STDOUT_FILENO);
	dup2(said, STDERR_FILENO);
	optind = 1;
	unsetenv("JOURNAL_STREAM");
	exit(daemon_main(&program, argc, argv));
}

static int wait_exit(pid_t pid)
{
	int wstatus;

	assert_int_equal(waitpid(pid, &wstatus, 0), pid);
	return WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : 1000 + WTERMSIG(wstatus);
}

static const char *words(void)
{
	static char text[8192];
	ssize_t n = pread(said, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static int run(const char *a, const char *b, const char *c)
{
	return wait_exit(spawn(a, b, c));
}

#define assert_said(part) \
	do { \
		if (!strstr(words(), part)) \
			fail_msg("\"%s\" was not said, but:\n%s", part, words()); \
	} while (0)

static void options(void **state)
{
	(void)state;
	write_conf("a", 2, "");
	assert_int_equal(run("-V", NULL, NULL), 0);
	assert_said("weir-test " WEIR_VERSION "\n");
	assert_int_equal(run("--help", NULL, NULL), 0);
	assert_said("a daemon for a test");
	assert_said("--act");
	assert_int_equal(run("--nonsense", NULL, NULL), 2);
	assert_int_equal(run("operand", NULL, NULL), 2);
	assert_said("operand");
	assert_int_equal(run("-n", "-c", path_of("weir.yaml")), 0);
	assert_said("weir.yaml: fine\n");
	assert_int_equal(run("--act", "-c", path_of("weir.yaml")), 5);
	assert_said("acted for a");
	assert_int_equal(run("--json", NULL, NULL), 2);
	assert_said("--json goes with");
	assert_int_equal(run("--mute", "--json", NULL), 2);
	assert_int_equal(run("-n", "-c", path_of("nothing.yaml")), 2);
	assert_said("nothing.yaml:1: file: cannot be read: No such file");
}

static void wrong_configurations(void **state)
{
	FILE *f;

	(void)state;
	write_conf("a", 0, "speling: 1\n");
	assert_int_equal(run("--check", "-c", path_of("weir.yaml")), 2);
	assert_said("weir.yaml:7: gateway.redirect.top: 0 is out of range");
	assert_said("weir.yaml:8: speling: unknown key");
	f = fopen(path_of("other.yaml"), "w");
	fputs("node: a\n", f);
	fclose(f);
	assert_int_equal(run("-c", path_of("other.yaml"), NULL), 2);
	assert_said("other.yaml:1: gateway: there is no section for weir-test; add it");
	write_conf("unprepared", 2, "");
	assert_int_equal(run("-c", path_of("weir.yaml"), NULL), 1);
}

/* ---- life ---- */

static int notify = -1;

static pid_t start_daemon(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	char text[100] = "";
	struct pollfd p;
	pid_t pid;

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%.90s", path_of("notify"));
	notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(notify, (struct sockaddr *)&sun, sizeof(sun)), 0);
	chmod(sun.sun_path, 0777);
	setenv("NOTIFY_SOCKET", sun.sun_path, 1);
	pid = spawn("-c", path_of("weir.yaml"), NULL);
	unsetenv("NOTIFY_SOCKET");
	p = (struct pollfd){ .fd = notify, .events = POLLIN };
	if (poll(&p, 1, 20000) != 1)
		fail_msg("not ready in 20 s, but:\n%s", words());
	assert_true(recv(notify, text, sizeof(text) - 1, 0) > 0);
	assert_string_equal(text, "READY=1\nSTATUS=test");
	return pid;
}

/* The next READY=1, after the RELOADING=1 of a SIGHUP. */
static void wait_reloaded(void)
{
	char text[100] = "";
	struct pollfd p = { .fd = notify, .events = POLLIN };

	while (strcmp(text, "READY=1")) {
		assert_int_equal(poll(&p, 1, 20000), 1);
		memset(text, 0, sizeof(text));
		assert_true(recv(notify, text, sizeof(text) - 1, 0) > 0);
	}
}

static json_t *ask(const char *what, int expect)
{
	json_t *request = json_pack("{s:s, s:s}", "do", what, "text", "hello"), *answer = NULL;

	assert_int_equal(ctl_call(path_of("run/gateway.sock"), request, &answer, 5000), expect);
	json_decref(request);
	return answer;
}

static json_int_t asked_top(void)
{
	json_t *answer = ask("status", 0);
	json_int_t top = json_integer_value(json_object_get(answer, "top"));

	json_decref(answer);
	return top;
}

static void end_daemon(pid_t pid)
{
	struct stat st;

	kill(pid, SIGTERM);
	assert_int_equal(wait_exit(pid), 0);
	assert_said("stopping");
	assert_int_equal(lstat(path_of("run/gateway.sock"), &st), -1);
	close(notify);
	unlink(path_of("notify"));
}

static void it_lives_and_answers(void **state)
{
	json_t *answer;
	struct stat st;
	pid_t pid;

	(void)state;
	write_conf("node-a", 2, "");
	pid = start_daemon();
	answer = ask("status", 0);
	assert_true(json_is_true(json_object_get(answer, "ok")));
	assert_string_equal(json_string_value(json_object_get(answer, "node")), "node-a");
	assert_string_equal(json_string_value(json_object_get(answer, "site")), "default");
	assert_string_equal(json_string_value(json_object_get(answer, "role")), "gateway");
	assert_string_equal(json_string_value(json_object_get(answer, "version")), WEIR_VERSION);
	assert_int_equal(json_integer_value(json_object_get(answer, "pid")), pid);
	assert_true(json_is_integer(json_object_get(answer, "uptime_s")));
	assert_string_equal(json_string_value(json_object_get(answer, "registry")), "silent");
	assert_int_equal(json_integer_value(json_object_get(answer, "top")), 2);
	json_decref(answer);
	answer = ask("echo", 0);
	assert_string_equal(json_string_value(json_object_get(answer, "text")), "hello");
	json_decref(answer);
	assert_int_equal(stat(path_of("state/gateway"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	if (!geteuid())
		assert_int_equal(st.st_uid, 64200);
	end_daemon(pid);
}

static void a_second_one_leaves_the_first_alone(void **state)
{
	pid_t pid;

	(void)state;
	write_conf("node-a", 2, "");
	pid = start_daemon();
	assert_int_equal(run("-c", path_of("weir.yaml"), NULL), 1);
	assert_said("runs already");
	assert_int_equal(asked_top(), 2);
	end_daemon(pid);
}

static void what_a_dead_one_left_is_replaced(void **state)
{
	pid_t pid;

	(void)state;
	write_conf("node-a", 2, "");
	pid = start_daemon();
	kill(pid, SIGKILL);
	assert_int_equal(wait_exit(pid), 1000 + SIGKILL);
	close(notify);
	unlink(path_of("notify"));
	pid = start_daemon();
	assert_int_equal(asked_top(), 2);
	end_daemon(pid);
}

static void reload_swaps_or_keeps(void **state)
{
	json_t *answer;
	pid_t pid;

	(void)state;
	write_conf("node-a", 2, "");
	pid = start_daemon();
	write_conf("node-a", 3, "");
	kill(pid, SIGHUP);
	wait_reloaded();
	assert_int_equal(asked_top(), 3);
	assert_said("top 2 -> 3");
	write_conf("node-a", 4, "");
	json_decref(ask("reload", 0));
	assert_int_equal(asked_top(), 4);

	write_conf("node-a", 99, "speling: 1\n"); /* faults: both are logged, the old one stays */
	answer = ask("reload", -EREMOTEIO);
	assert_non_null(strstr(json_string_value(json_object_get(answer, "error")), "weir.yaml:7: "));
	json_decref(answer);
	assert_said("error: ");
	assert_said("weir.yaml:8: speling");
	assert_int_equal(asked_top(), 4);
	write_conf("node-b", 5, ""); /* what cannot change */
	answer = ask("reload", -EREMOTEIO);
	assert_non_null(strstr(json_string_value(json_object_get(answer, "error")), "node changes only with"));
	json_decref(answer);
	write_conf("node-a", 13, ""); /* what the program refuses */
	json_decref(ask("reload", -EREMOTEIO));
	assert_int_equal(asked_top(), 4);
	end_daemon(pid);
}

/* The next message on the notify socket. */
static void wait_told(const char *expect)
{
	struct pollfd p = { .fd = notify, .events = POLLIN };
	char text[100] = "";

	assert_int_equal(poll(&p, 1, 20000), 1);
	assert_true(recv(notify, text, sizeof(text) - 1, 0) > 0);
	assert_string_equal(text, expect);
}

static void what_runs_may_end_first(void **state)
{
	pid_t pid;

	(void)state;
	write_conf("busy", 2, "");
	pid = start_daemon();
	kill(pid, SIGTERM);
	wait_told("STOPPING=1");
	write_conf("busy", 3, "");
	kill(pid, SIGHUP); /* too late */
	assert_int_equal(asked_top(), 2);
	end_daemon(pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),
		cmocka_unit_test(wrong_configurations),
		cmocka_unit_test(it_lives_and_answers),
		cmocka_unit_test(a_second_one_leaves_the_first_alone),
		cmocka_unit_test(what_a_dead_one_left_is_replaced),
		cmocka_unit_test(reload_swaps_or_keeps),
		cmocka_unit_test(what_runs_may_end_first),
	};

	return cmocka_run_group_tests_name("daemon", tests, make_folder, remove_folder);
}
