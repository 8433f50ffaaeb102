/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify.c -- verify OBJECT...: loads each and tells how many instructions the kernel's verifier went through for each of its
 * programs, global functions included (bpf_prog_info.verified_insns). More than LIMIT, or an object that does not load, is a
 * failure.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LIMIT 300000

static unsigned int tests, bad;

#define TAIL 700        /* bytes of the verifier's log that are told */
static char said_last[TAIL + 1];

/* Keeps the end of the verifier's log, which libbpf gives in one message. */
static int keep(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	static char log[1 << 20];
	int len = level == LIBBPF_WARN ? vsnprintf(log, sizeof(log), fmt, ap) : 0;

	if (len >= (int)sizeof(log))
		len = sizeof(log) - 1;
	if (len > 0 && strstr(log, "LOAD LOG"))
		memcpy(said_last, log + (len > TAIL ? len - TAIL : 0), len > TAIL ? TAIL : (size_t)len);
	return 0;
}

static void tell_log(void)
{
	for (char *line = strtok(said_last, "\n"); line; line = strtok(NULL, "\n"))
		printf("# %s\n", line);
	said_last[0] = 0;
}

static void tell(bool good, const char *path, const char *what)
{
	printf("%s %u - %s: %s\n", good ? "ok" : "not ok", ++tests, path, what);
	bad += !good;
}

static void verify(const char *path)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *p;
	char said[256];

	if (!object || bpf_object__load(object)) {
		snprintf(said, sizeof(said), "does not load: %s", strerror(errno));
		tell(false, path, said);
		tell_log();
		bpf_object__close(object);
		return;
	}
	bpf_object__for_each_program(p, object) {
		struct bpf_prog_info info = { 0 };
		uint32_t len = sizeof(info);

		if (bpf_obj_get_info_by_fd(bpf_program__fd(p), &info, &len))
			info.verified_insns = 0;
		snprintf(said, sizeof(said), "%s: %u instructions verified, %u in the kernel", bpf_program__name(p),
			 info.verified_insns, info.xlated_prog_len / 8);
		tell(info.verified_insns && info.verified_insns < LIMIT, path, said);
	}
	bpf_object__close(object);
}

int main(int argc, char **argv)
{
	libbpf_set_print(keep);
	for (int i = 1; i < argc; i++)
		verify(argv[i]);
	printf("1..%u\n", tests);
	return bad != 0 || !tests;
}
