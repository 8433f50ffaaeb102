/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload.c -- `weir upload`: files go to a dataset in pieces, what is found in them is said while they are sent.
 *
 * What was begun is written down in $XDG_STATE_HOME/weir/uploads, so that the same command goes on where it broke off;
 * upload_mend.c does that, and sends a part of a file again.
 */
#include "tools/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RETRY_S	   60 /* how long a gateway may be away, unless --retry says */
#define PAUSE_MS   500
#define END_WAIT_S 10 /* for the events of an upload that was refused */

/* ---- one file -------------------------------------------------------------------------------- */

struct sending {
	const struct upload_options *o;
	const char *path; /* "-": standard input */
	char dataset[64], name[256];
	int fd;
	struct stat st;
	uint64_t size, offset;
	bool at_end; /* of a standard input */
	char id[TUS_ID_MAX];
	char *state_path, *buf;
	size_t len; /* of the piece in buf */
	struct watch *watch;
	volatile bool stop;
	struct tus_why why;
};

static void on_sent(void *arg, size_t bytes)
{
	watch_sent(((struct sending *)arg)->watch, bytes);
}

/* True when the same should be tried again, after a pause; since: when it failed first. */
static bool again(const struct sending *s, time_t *since)
{
	struct timespec pause = { 0, PAUSE_MS * 1000000l };

	if (s->why.rc != -EAGAIN || s->stop)
		return false;
	if (!*since) {
		*since = time(NULL);
		fprintf(stderr, "\r\033[Kweir: %s: %s; trying again for %u s\n", s->name, s->why.text, s->o->retry_s);
	}
	nanosleep(&pause, NULL);
	return time(NULL) - *since < (time_t)s->o->retry_s;
}

static int give_up(const struct sending *s, const char *doing)
{
	bool goes_on = s->fd > 0 && *s->id && (s->why.rc == -EAGAIN || s->why.rc == -EACCES);

	return cmd_fail("cannot %s %s: %s%s%s", doing, s->name, s->why.text,
			s->why.rc == -EACCES && s->why.status == 401 ? "; sign in again (weir login)" : "",
			goes_on ? "; the same command goes on with it" : "");
}

/* The next piece into buf; 0, or said why. */
static int read_piece(struct sending *s)
{
	s->len = 0;
	while (s->len < TUS_PIECE && !s->at_end) {
		ssize_t n = s->size == UINT64_MAX ? read(s->fd, s->buf + s->len, TUS_PIECE - s->len) :
						    pread(s->fd, s->buf + s->len, TUS_PIECE - s->len,
							  (off_t)(s->offset + s->len));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return cmd_fail("%s: %s", s->path, strerror(errno));
		s->len += (size_t)n;
		s->at_end = n == 0 || (s->size != UINT64_MAX && s->offset + s->len >= s->size);
	}
	if (s->size != UINT64_MAX && s->offset + s->len > s->size)
		s->len = (size_t)(s->size - s->offset);
	return CMD_OK;
}

static bool changed(const struct sending *s)
{
	struct stat now;

	return s->size != UINT64_MAX && (fstat(s->fd, &now) || now.st_size != s->st.st_size ||
					 now.st_mtim.tv_sec != s->st.st_mtim.tv_sec ||
					 now.st_mtim.tv_nsec != s->st.st_mtim.tv_nsec);
}

static int begin_watch(struct sending *s)
{
	struct watch_options w = { .name = s->name,
				   .json = s->o->json,
				   .stop_at_first = s->o->stop_at_first,
				   .stop = &s->stop,
				   .size = s->size };

	s->watch = watch_new(s->o->web, s->id, &w);
	if (!s->watch)
		return cmd_fail("out of memory");
	watch_at(s->watch, s->offset);
	return CMD_OK;
}

/* A new upload, or the one of an earlier run: then its offset. */
static int begin(struct sending *s)
{
	struct tus_new n = { .dataset = s->dataset, .file = s->name, .size = s->size };
	time_t since = 0;
	uint64_t size;

	if (s->size != UINT64_MAX && upload_state_read(s->state_path, &s->st, s->id)) {
		while (tus_offset(s->o->web, s->id, &s->offset, &size, &s->why) && again(s, &since))
			;
		if (!s->why.rc && size == s->size) {
			if (!s->o->json && s->offset)
				fprintf(stderr, "%s: goes on at byte %llu\n", s->name, (unsigned long long)s->offset);
			return CMD_OK;
		}
		if (s->why.rc && s->why.rc != -ENOENT)
			return give_up(s, "go on with");
		s->id[0] = '\0'; /* it expired: anew */
		s->offset = 0;
	}
	while (tus_create(s->o->web, &n, s->id, &s->offset, &s->why) && again(s, &since))
		;
	if (s->why.rc)
		return give_up(s, "upload");
	if (s->size != UINT64_MAX)
		upload_state_write(s->state_path, &s->st, s->id);
	return CMD_OK;
}

/* One piece; after a break the gateway says what it has. */
static int send_piece(struct sending *s)
{
	struct tus_piece piece = { .data = s->buf, .len = s->len, .rate = s->o->rate, .stop = &s->stop, .sent = on_sent, .arg = s };
	uint64_t base = s->offset, size = s->size == UINT64_MAX && s->at_end ? base + s->len : UINT64_MAX, known;
	time_t since = 0;
	int tries = 0;

	while (tus_send(s->o->web, s->id, &s->offset, &piece, size, &s->why)) {
		if (s->why.rc == -EPERM || s->stop)
			return CMD_OK; /* it is over: the watch says how */
		if (s->why.rc == -EBADMSG && tries++ < 5)
			s->why.rc = -EAGAIN;
		if (s->why.rc != -EAGAIN && s->why.rc != -ESTALE)
			return give_up(s, "upload");
		do {
			if (s->why.rc == -EAGAIN && !again(s, &since))
				return give_up(s, "upload");
		} while (tus_offset(s->o->web, s->id, &s->offset, &known, &s->why) == -EAGAIN);
		if (s->why.rc || s->offset < base || s->offset > base + s->len)
			return give_up(s, "go on with");
		/* what of this piece is there need not be sent again */
		piece.data = s->buf + (s->offset - base);
		piece.len = s->len - (size_t)(s->offset - base);
		watch_at(s->watch, s->offset);
		if (!piece.len && (size == UINT64_MAX || known == size))
			return CMD_OK;
	}
	return CMD_OK;
}

static int send_all(struct sending *s)
{
	bool empty = s->size == UINT64_MAX; /* the length of nothing is said too */
	int rc = CMD_OK;

	while (!rc && !s->stop && (empty || s->offset < s->size)) {
		rc = read_piece(s);
		if (!rc && !s->len && s->size != UINT64_MAX)
			rc = cmd_fail("%s became shorter while it was sent", s->path);
		if (!rc)
			rc = send_piece(s);
		if (s->why.rc == -EPERM || (empty && s->at_end))
			break;
		watch_at(s->watch, s->offset);
	}
	if (!rc && !s->stop && changed(s)) {
		tus_cancel(s->o->web, s->id, &s->why);
		unlink(s->state_path);
		rc = cmd_fail("%s was changed while it was sent; send it again", s->path);
	}
	return rc;
}

int upload_finish(const struct upload_options *o, const char *id, const char *name, const char *dataset, struct watch *watch)
{
	char state[16] = "", size[16];
	struct tus_why why;
	json_t *shown = NULL;
	const json_t *counts;
	size_t told = watch_free(watch, state);
	int rc = tus_show(o->web, id, 0, NULL, &shown, &why);

	if (rc)
		return cmd_fail("cannot ask about %s: %s", name, why.text);
	counts = json_object_get(shown, "counts");
	snprintf(state, sizeof(state), "%.15s", js_text(shown, "state", "?"));
	if (o->json) {
		json_object_del(shown, "findings");
		json_object_del(json_object_get(shown, "result"), "statistics");
		watch_json("end", name, shown);
		return strcmp(state, "accepted") ? CMD_FAILED : CMD_OK;
	}
	if (!strcmp(state, "accepted"))
		printf("%s/%s  %s  accepted, version %s, %s rows, %zu finding%s\n", web_safe(dataset), web_safe(name),
		       cmd_bytes((uint64_t)js_num(shown, "size"), size), js_show(shown, "version", 0), js_show(shown, "rows", 0),
		       told, told == 1 ? "" : "s");
	else
		fprintf(stderr, "weir: %s/%s: %s%s%s, %s finding%s\n", web_safe(dataset), web_safe(name), state,
			*js_text(shown, "why", "") ? ": " : "", web_safe(js_text(shown, "why", "")),
			js_show(counts, "findings", 0), js_num(counts, "findings") == 1 ? "" : "s");
	if (!strcmp(state, "rejected") && js_num(counts, "rows") > 0) /* else it is another kind of file */
		fprintf(stderr, "  mend the rows and send them alone: weir upload --mend %s --rows A-B PART\n", id);
	json_decref(shown);
	return strcmp(state, "accepted") ? CMD_FAILED : CMD_OK;
}

/* All bytes are there, or it was ended before. */
static int end(struct sending *s)
{
	int rc;

	if (s->stop && !watch_is_over(s->watch)) { /* --stop-at-first */
		tus_cancel(s->o->web, s->id, &s->why);
		unlink(s->state_path);
		watch_free(s->watch, NULL);
		s->watch = NULL;
		return cmd_fail("%s: stopped at the first finding, %llu bytes were kept by nobody", s->name,
				(unsigned long long)s->offset);
	}
	if (s->o->no_wait && s->why.rc != -EPERM) {
		watch_free(s->watch, NULL);
		s->watch = NULL;
		unlink(s->state_path);
		if (s->o->json)
			watch_json("sent", s->name, json_pack("{s:s, s:I}", "id", s->id, "bytes", (json_int_t)s->offset));
		else
			printf("%s/%s  sent; upload %s\n", s->dataset, s->name, s->id);
		return CMD_OK;
	}
	watch_wait(s->watch, s->why.rc == -EPERM ? END_WAIT_S : 0);
	rc = upload_finish(s->o, s->id, s->name, s->dataset, s->watch);
	s->watch = NULL;
	unlink(s->state_path);
	return rc;
}

static int open_file(struct sending *s)
{
	if (!strcmp(s->path, "-")) {
		s->size = UINT64_MAX;
		return CMD_OK;
	}
	s->fd = open(s->path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0 || fstat(s->fd, &s->st))
		return cmd_fail("%s: %s", s->path, strerror(errno));
	if (!S_ISREG(s->st.st_mode))
		return cmd_fail("%s is not a regular file", s->path);
	s->size = (uint64_t)s->st.st_size;
	return CMD_OK;
}

int upload_file(const struct upload_options *o, const char *path, const char *dataset, const char *name)
{
	struct sending s = { .o = o, .path = path };
	int rc;

	snprintf(s.dataset, sizeof(s.dataset), "%s", dataset);
	snprintf(s.name, sizeof(s.name), "%s", name);
	s.buf = malloc(TUS_PIECE);
	s.state_path = upload_state_path(web_base(o->web), web_user(o->web), dataset, name, path);
	rc = s.buf && s.state_path ? open_file(&s) : cmd_fail("out of memory");
	if (!rc)
		rc = begin(&s);
	if (!rc)
		rc = begin_watch(&s);
	if (!rc)
		rc = send_all(&s);
	if (!rc)
		rc = end(&s);
	if (s.watch)
		watch_free(s.watch, NULL);
	if (s.fd > 0)
		close(s.fd);
	free(s.state_path);
	free(s.buf);
	return rc;
}

/* ---- the command ----------------------------------------------------------------------------- */

const char *upload_base_name(const char *path)
{
	return strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

/* FILE… DATASET[/NAME]: a NAME that ends in '/' is a folder for all. */
static int upload_files(const struct cmd *cmd, const struct upload_options *o, int n, char **argv, const char *name)
{
	char dataset[64], whole[512];
	const char *target = argv[n - 1], *slash = strchr(target, '/'), *under = slash ? slash + 1 : "";
	bool folder = !*under || under[strlen(under) - 1] == '/';
	int worst = CMD_OK;

	snprintf(dataset, sizeof(dataset), "%.*s", (int)(slash ? slash - target : (long)strlen(target)), target);
	if (!folder && (n > 2 || name))
		return cmd_usage(cmd, "several files go to DATASET, or to DATASET/FOLDER/");
	for (int i = 0; i < n - 1; i++) {
		const char *own = name ? name : upload_base_name(argv[i]);
		int rc;

		if (!strcmp(argv[i], "-") && !name && folder)
			return cmd_usage(cmd, "standard input needs a name: --name NAME, or DATASET/NAME");
		if (snprintf(whole, sizeof(whole), "%s%s", under, folder ? own : "") > 240)
			return cmd_usage(cmd, "a file's name has at most 240 bytes");
		rc = upload_file(o, argv[i], dataset, whole);
		worst = rc > worst ? rc : worst;
	}
	return worst;
}

int cmd_upload(const struct cmd *cmd, int argc, char **argv)
{
	const char *name = NULL, *rate = NULL, *mend = NULL, *rows = NULL, *bytes = NULL, *retry = NULL;
	struct upload_options o = { .retry_s = RETRY_S };
	bool wait = false;
	struct web_flags flags = { 0 };
	const struct cmd_flag own[] = { WEB_FLAGS(flags),	       { "--name", &name, NULL },
					{ "--rate", &rate, NULL },     { "--mend", &mend, NULL },
					{ "--rows", &rows, NULL },     { "--bytes", &bytes, NULL },
					{ "--retry", &retry, NULL },   { "--stop-at-first", NULL, &o.stop_at_first },
					{ "--wait", NULL, &wait },     { "--no-wait", NULL, &o.no_wait },
					{ NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc;

	if (n < 0)
		return cmd_exit_of(n);
	o.json = opt.json;
	if (wait && o.no_wait)
		return cmd_usage(cmd, "takes --wait or --no-wait, not both");
	if (retry && !(o.retry_s = (unsigned int)cmd_parse_duration(retry)))
		return cmd_usage(cmd, "--retry %s: a time such as 60s or 1h is wanted", retry);
	if (rate && (!rate_parse(rate) || !(o.rate = rate_new(rate_parse(rate)))))
		return cmd_usage(cmd, "--rate %s: bytes a second such as 10MiB are wanted", rate);
	if (mend ? n != 1 || !rows == !bytes : n < 2 || rows || bytes)
		rc = cmd_usage(cmd, mend ? "--mend UPLOAD wants --rows A-B or --bytes A-B, and a file" :
					   "wants one file or several, and DATASET[/NAME]");
	else
		rc = web_open(&o.web, &opt, &flags, false);
	if (!rc && mend)
		rc = upload_mend(&o, mend, rows, bytes, argv[0]);
	else if (!rc)
		rc = upload_files(cmd, &o, n, argv, name);
	web_close(o.web);
	rate_free(o.rate);
	return rc;
}
