/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.c -- `weir sync`: a folder and a dataset are kept equal, in one direction (sync.h).
 */
#include "tools/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "lib/hash.h"

#define AWAY_MS	     250
#define AWAY_MAX_MS  30000
#define WRITING_MS   1000
#define CHANGED_MS   300
#define WAITERS	     4 /* for one sender: files whose end is waited for */
#define PARALLEL_MAX 64

int64_t sync_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool sync_name_ok(const char *path)
{
	json_t *text = strlen(path) <= 240 ? json_string(path) : NULL; /* UTF-8? */
	bool good = text && *path;

	json_decref(text);
	for (const char *c = path; good && *c; c++)
		good = (unsigned char)*c >= 0x20 && *c != 0x7f;
	if (!good || !strncmp(path, ".weir/", 6) || !strncmp(path, "derived/", 8))
		return false;
	for (const char *segment = path;; segment++) {
		size_t n = strcspn(segment, "/");

		if (!n || (n == 1 && segment[0] == '.') || (n == 2 && !memcmp(segment, "..", 2)))
			return false;
		segment += n;
		if (!*segment)
			return true;
	}
}

void sync_say(struct sync *s, const char *event, const char *file, json_t *members, const char *fmt, ...)
{
	json_t *o;
	va_list args;

	pthread_mutex_lock(&s->print);
	if (s->o.json) {
		o = json_pack("{s:s, s:s}", "event", event, "file", file);
		if (members)
			json_object_update_missing(o, members);
		json_dumpf(o, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(o);
	} else if (!s->o.quiet || strcmp(event, "sent")) {
		va_start(args, fmt);
		vprintf(fmt, args);
		va_end(args);
		putchar('\n');
	}
	fflush(stdout);
	pthread_mutex_unlock(&s->print);
	json_decref(members);
}

/* ---- the queue ------------------------------------------------------------------------------- */

void sync_queue(struct sync *s, struct entry *e)
{
	if (e->queued || e->busy) {
		e->again |= e->busy;
		return;
	}
	e->queued = true;
	e->queue_next = NULL;
	if (s->last)
		s->last->queue_next = e;
	else
		s->first = e;
	s->last = e;
	s->queued++;
	pthread_cond_signal(&s->work);
}

void sync_save(struct sync *s, const struct entry *e)
{
	pthread_mutex_lock(&s->lock);
	sync_state_save(s->state, e);
	pthread_mutex_unlock(&s->lock);
}

bool sync_idle(const struct sync *s)
{
	return !s->queued && !s->busy;
}

/* Under the lock: the first that is due; *wait_ms: until one may be. */
static struct entry *take(struct sync *s, int64_t *wait_ms)
{
	struct entry **at = &s->first, *before = NULL, *e;
	int64_t now = sync_now_ms();

	*wait_ms = 1000;
	if (now < s->away_until_ms) {
		*wait_ms = s->away_until_ms - now;
		return NULL;
	}
	for (; (e = *at); before = e, at = &e->queue_next) {
		if (e->due_ms > now) {
			*wait_ms = e->due_ms - now < *wait_ms ? e->due_ms - now : *wait_ms;
			continue;
		}
		*at = e->queue_next;
		if (s->last == e)
			s->last = before;
		e->queued = false;
		s->queued--;
		return e;
	}
	return NULL;
}

/* Under the lock: an outage, said once. */
static void away(struct sync *s)
{
	int64_t now = sync_now_ms(), pause = AWAY_MS << (s->away_tries < 8 ? s->away_tries : 8);
	uint16_t jitter;

	if (now < s->away_until_ms) /* another thread has seen it */
		return;
	random_bytes(&jitter, sizeof(jitter));
	pause = pause < AWAY_MAX_MS ? pause : AWAY_MAX_MS;
	s->away_until_ms = now + pause / 2 + pause * jitter / 131072;
	if (!s->away_tries++)
		s->away_since_ms = now;
	if (s->away_tries == 2) /* one failure is nothing to speak of */
		sync_say(s, "away", "", json_pack("{s:s}", "why", s->left_why), "waiting   %s: %s; trying on", web_base(s->o.web),
			 s->left_why);
	if (s->o.once && now - s->away_since_ms > (int64_t)s->o.retry_s * 1000)
		s->fatal = CMD_FAILED;
}

static void leave(struct sync *s, struct entry *e, int64_t pause_ms)
{
	e->due_ms = sync_now_ms() + pause_ms;
	if (s->o.once && e->tries >= 6) { /* the next run looks at it again */
		s->left++;
		sync_say(s, "left", e->path, json_pack("{s:s}", "why", s->left_why), "left      %s: %s", web_safe(e->path),
			 s->left_why);
		return;
	}
	sync_queue(s, e);
}

/* Under the lock. */
static void settle(struct sync *s, struct entry *e, enum outcome out)
{
	e->tries = out == OUT_LATER || out == OUT_WRITING || out == OUT_CHANGED ? e->tries + 1 : 0;
	switch (out) {
	case OUT_DONE:
		if (s->away_tries > 1)
			sync_say(s, "back", "", NULL, "back      %s answers again", web_base(s->o.web));
		s->away_tries = 0;
		break;
	case OUT_WRITING:
		snprintf(s->left_why, sizeof(s->left_why), "it is still being written");
		leave(s, e, e->tries > 4 ? WRITING_MS : WRITING_MS / 4);
		break;
	case OUT_CHANGED:
		snprintf(s->left_why, sizeof(s->left_why), "it changes all the time");
		leave(s, e, CHANGED_MS);
		break;
	case OUT_AWAY:
		away(s);
		sync_queue(s, e);
		break;
	case OUT_LATER:
		leave(s, e, AWAY_MS << (e->tries < 7 ? e->tries : 7));
		break;
	case OUT_REFUSED:
		if (!s->fatal)
			cmd_fail("%s: %s%s", s->o.dataset, s->left_why, strstr(s->left_why, "(401") ? "; weir login" : "");
		s->fatal = CMD_FAILED;
		break;
	case OUT_VANISHED:
		e->gone = true;
		break;
	case OUT_STOPPED:
		break;
	}
	if (e->again) {
		e->again = false;
		e->due_ms = 0;
		sync_queue(s, e);
	}
}

static void *work(void *arg)
{
	struct sync *s = arg;
	uint64_t one = 1;

	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		int64_t wait_ms;
		struct entry *e = take(s, &wait_ms);
		enum outcome out;

		if (!e) {
			struct timespec until;

			clock_gettime(CLOCK_REALTIME, &until);
			until.tv_sec += wait_ms / 1000;
			until.tv_nsec += wait_ms % 1000 * 1000000;
			until.tv_sec += until.tv_nsec / 1000000000;
			until.tv_nsec %= 1000000000;
			pthread_cond_timedwait(&s->work, &s->lock, &until);
			continue;
		}
		e->busy = true;
		e->again = false;
		s->busy++;
		pthread_mutex_unlock(&s->lock);
		out = s->o.reverse ? sync_fetch(s, e) : sync_send(s, e);
		pthread_mutex_lock(&s->lock);
		e->busy = false;
		s->busy--;
		settle(s, e, out);
		if (write(s->done_fd, &one, sizeof(one)) < 0)
			continue; /* full is as good */
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- the main thread's rest ------------------------------------------------------------------ */

static int signals_fd = -1;

bool sync_rest(struct sync *s, int timeout_ms, bool *events)
{
	struct pollfd fds[3] = { { signals_fd, POLLIN, 0 }, { s->done_fd, POLLIN, 0 }, { s->inotify, POLLIN, 0 } };
	uint64_t count;

	*events = false;
	if (s->fatal)
		return false;
	if (poll(fds, 3, timeout_ms) < 0 && errno != EINTR)
		return false;
	if (fds[0].revents)
		return false;
	if (fds[1].revents && read(s->done_fd, &count, sizeof(count)) < 0)
		count = 0;
	*events = fds[2].revents != 0;
	return !s->fatal;
}

static int run_threads(struct sync *s)
{
	size_t n = s->o.parallel * (s->o.reverse ? 1 : WAITERS), made = 0;
	pthread_t threads[PARALLEL_MAX * WAITERS];
	int rc;

	while (made < n && !pthread_create(&threads[made], NULL, work, s))
		made++;
	rc = made ? s->o.reverse ? sync_down_run(s) : sync_up_run(s) : cmd_fail("cannot make threads");
	sd_notify(0, "STOPPING=1");
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < made; i++)
		pthread_join(threads[i], NULL);
	return rc ? rc : s->fatal;
}

/* ---- the end --------------------------------------------------------------------------------- */

static int summary(struct sync *s)
{
	size_t nrejected = 0;
	char bytes[16];

	for (struct entry *e = sync_state_first(s->state); e; e = sync_state_next(s->state, e))
		nrejected += e->known == KNOWN_REJECTED && !e->gone;
	if (s->o.json) {
		sync_say(s, "end", "",
			 json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "files", (json_int_t)s->files, "bytes", (json_int_t)s->bytes,
				   "equal", (json_int_t)s->equal, "deleted", (json_int_t)s->deleted, "rejected",
				   (json_int_t)nrejected, "conflicts", (json_int_t)s->conflicts, "waiting",
				   (json_int_t)(s->queued + s->left)),
			 " ");
	} else {
		printf("%llu file%s %s (%s), %llu were there, %llu deleted, %zu rejected, %zu wait\n", (unsigned long long)s->files,
		       s->files == 1 ? "" : "s", s->o.reverse ? "came" : "sent", cmd_bytes(s->bytes, bytes),
		       (unsigned long long)s->equal, (unsigned long long)s->deleted, nrejected, s->queued + (size_t)s->left);
		for (struct entry *e = sync_state_first(s->state); e && nrejected; e = sync_state_next(s->state, e))
			if (e->known == KNOWN_REJECTED && !e->gone)
				printf("  rejected, not tried again until it changes: %s: %s\n", web_safe(e->path), web_safe(e->why));
	}
	return s->o.once && (nrejected || s->left || s->queued) ? CMD_FAILED : CMD_OK;
}

/* ---- the beginning --------------------------------------------------------------------------- */

static int open_state(struct sync *s)
{
	char hex[33], *text = NULL;
	uint8_t sum[32];
	int n, rc;

	n = asprintf(&text, "%s\n%s\n%s\n%d", web_base(s->o.web), s->o.dataset, s->o.folder, s->o.reverse);
	if (n < 0)
		return cmd_fail("out of memory");
	sha256_once(text, (size_t)n, sum);
	free(text);
	rc = sync_state_open(&s->state, hex_encode(sum, 16, hex));
	if (rc == -EBUSY)
		return cmd_fail("another `weir sync` of %s and %s runs", s->o.folder, s->o.dataset);
	return rc ? cmd_fail("the state cannot be kept: %s", strerror(-rc)) : CMD_OK;
}

static int sync_run(struct sync *s)
{
	sigset_t set;
	int rc;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGIO, SIG_IGN); /* of leases (sync_send.c) */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals_fd = signalfd(-1, &set, SFD_CLOEXEC);
	s->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	s->inotify = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->listing, NULL);
	pthread_mutex_init(&s->print, NULL);
	pthread_cond_init(&s->work, NULL);
	sem_init(&s->senders, 0, s->o.parallel);
	s->root = open(s->o.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s->ignore = s->root < 0 ? NULL : ignore_read(s->root);
	if (s->root < 0 || !s->ignore || s->done_fd < 0 || signals_fd < 0)
		rc = cmd_fail("%s: %s", s->o.folder, strerror(errno));
	else
		rc = open_state(s);
	if (!rc) {
		rc = run_threads(s);
		rc = rc ? (summary(s), rc) : summary(s);
	}
	if (s->o.reverse && s->root >= 0)
		unlinkat(s->root, SYNC_FOLDER, AT_REMOVEDIR); /* when nothing is left in it */
	sync_state_close(s->state);
	ignore_free(s->ignore);
	json_decref(s->remote);
	rate_free(s->rate);
	if (s->root >= 0)
		close(s->root);
	return rc;
}

/* Which of the two is the folder: what is one, with a '/' or '.' in front when both could be. */
static bool is_folder(const char *word)
{
	struct stat st;

	return *word == '/' || *word == '.' || strchr(word, '/') || (!stat(word, &st) && S_ISDIR(st.st_mode));
}

static bool read_number(const char *text, unsigned int most, unsigned int *out)
{
	char *end;
	unsigned long n = text ? strtoul(text, &end, 10) : *out;

	if (text && (*end || !n || n > most))
		return false;
	*out = (unsigned int)n;
	return true;
}

int cmd_sync(const struct cmd *cmd, int argc, char **argv)
{
	const char *rate = NULL, *parallel = NULL, *interval = NULL, *retry = NULL;
	struct web_flags flags = { 0 };
	struct sync s = { .o = { .parallel = 4, .interval_s = 10, .retry_s = 600 } };
	const struct cmd_flag own[] = { WEB_FLAGS(flags),
					{ "--rate", &rate, NULL },
					{ "--parallel", &parallel, NULL },
					{ "--interval", &interval, NULL },
					{ "--retry", &retry, NULL },
					{ "--reverse", NULL, &s.o.reverse },
					{ "--once", NULL, &s.o.once },
					{ "--delete", NULL, &s.o.delete },
					{ "--quiet", NULL, &s.o.quiet },
					{ NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc;
	char folder[PATH_MAX];

	if (n < 0)
		return cmd_exit_of(n);
	if (n != 2)
		return cmd_usage(cmd, "wants a folder and a dataset: FOLDER DATASET sends, DATASET FOLDER fetches");
	s.o.reverse |= is_folder(argv[1]) && !is_folder(argv[0]);
	s.o.dataset = is_folder(argv[0]) ? argv[1] : argv[0];
	if (is_folder(argv[0]) == is_folder(argv[1]) || strchr(s.o.dataset, '/'))
		return cmd_usage(cmd, "one of %s and %s should be a folder (./NAME), the other a dataset", argv[0], argv[1]);
	if (!read_number(parallel, PARALLEL_MAX, &s.o.parallel))
		return cmd_usage(cmd, "--parallel takes 1 to %d", PARALLEL_MAX);
	if ((interval && !(s.o.interval_s = (unsigned int)cmd_parse_duration(interval))) ||
	    (retry && !(s.o.retry_s = (unsigned int)cmd_parse_duration(retry))))
		return cmd_usage(cmd, "--interval and --retry take times such as 10s");
	if (rate && (!rate_parse(rate) || !(s.rate = rate_new(rate_parse(rate)))))
		return cmd_usage(cmd, "--rate %s: bytes a second such as 10MiB are wanted", rate);
	if (!realpath(is_folder(argv[0]) ? argv[0] : argv[1], folder))
		return cmd_fail("%s: %s", is_folder(argv[0]) ? argv[0] : argv[1], strerror(errno));
	s.o.folder = folder;
	s.o.json = opt.json;
	rc = web_open(&s.o.web, &opt, &flags, false);
	if (!rc)
		rc = sync_run(&s);
	web_close(s.o.web);
	return rc;
}
