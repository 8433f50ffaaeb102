// SPDX-License-Identifier: Apache-2.0
/* migrate.c -- decides, makes, fills, renames (see migrate.h). */
#include "user/agent/migrate.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf/abi/maps.h"
#include "bpf/abi/nat.h"
#include "lib/log.h"
#include "user/agent/mapcopy.h"

#define PIN_PATH_MAX 512
#define MAPS_MAX     128

struct moving {
	char name[32], why[256];
	uint32_t type;
	int old, new;
	struct mapcopy first; /* the reading that was copied */
};

struct migration {
	const char *pin; /* the caller's */
	struct bpf_object *spare; /* has the new maps */
	struct moving *map;
	size_t n;
	bool finished;
};

static char *pin_path(const char *pin, const char *prefix, const char *name, char buf[PIN_PATH_MAX])
{
	snprintf(buf, PIN_PATH_MAX, "%s/%s%s", pin, prefix, name);
	return buf;
}

static int pinned(const char *pin, const char *name)
{
	char path[PIN_PATH_MAX];

	return bpf_obj_get(pin_path(pin, "", name, path));
}

/* ---- the plan -------------------------------------------------------------------------------- */

static void refuse(struct migrate_plan *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void refuse(struct migrate_plan *p, const char *fmt, ...)
{
	va_list ap;

	p->what = MIGRATE_REFUSE;
	va_start(ap, fmt);
	vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
}

/* By which key of weir.yaml a map grows. */
static const char *limit_of(const char *map)
{
	static const char *const limits[][2] = {
		{ "services", "addresses" },	  { "service_info", "services" },
		{ "service_counts", "services" }, { "slots", "slots" },
		{ "backends", "backends" },	  { "tunnel_ports", "addresses" },
		{ "nat_ports", "nat_ports" },	  { "nat_flows", "nat_ports" },
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
		if (!strcmp(map, limits[i][0]))
			return limits[i][1];
	return NULL;
}

/* Slots of services that are gone keep their content; what counts is what a service has. */
static uint32_t slots_end(const char *pin)
{
	int fd = pinned(pin, "service_info");
	struct mapcopy c;
	uint32_t end = 0;

	if (fd < 0)
		return UINT32_MAX;
	if (!mapcopy_read(fd, &c)) {
		for (uint32_t i = 0; i < c.n && c.info.value_size >= sizeof(struct weir_service_info);
		     i++) {
			const struct weir_service_info *s = (const void *)(c.values + i * c.stride);

			if (s->name[0] && s->first + s->slots > end)
				end = s->first + s->slots;
		}
		mapcopy_clear(&c);
	}
	close(fd);
	return end;
}

/* Ports that a flow had keep their generation; what counts is who has one. */
static uint32_t ports_from(const struct mapcopy *c, uint32_t index)
{
	uint32_t used = 0;

	for (uint32_t i = 0; i < c->n && c->stride >= sizeof(struct weir_nat_entry); i++) {
		const struct weir_nat_entry *e = (const void *)(c->values + i * c->stride);

		used += ((const uint32_t *)c->keys)[i] >= index && e->flow.proto;
	}
	return used;
}

/* A smaller map must have room for what is there. Counters and caches give way. */
static void check_room(struct migrate_plan *p, const char *pin, int fd,
		       const struct bpf_map_info *old, uint32_t type)
{
	const char *limit = limit_of(p->name);
	uint32_t over = 0;
	struct mapcopy c;

	if (p->entries >= old->max_entries || mapcopy_per_cpu(type) ||
	    type == BPF_MAP_TYPE_LRU_HASH || mapcopy_read(fd, &c))
		return;
	if (!strcmp(p->name, "slots"))
		over = slots_end(pin) > p->entries ? slots_end(pin) - p->entries : 0;
	else if (!strcmp(p->name, "nat_ports"))
		over = ports_from(&c, p->entries);
	else if (old->type == BPF_MAP_TYPE_ARRAY)
		over = mapcopy_used_from(&c, p->entries);
	else if (c.n > p->entries)
		over = c.n - p->entries;
	mapcopy_clear(&c);
	if (over)
		refuse(p, "%u of its entries have no room in %u: %s%s", over, p->entries,
		       limit ? "raise agent.limits." : "keep the version that made it",
		       limit ? limit : "");
}

/* As the kernel has them: it adds one to a devmap's, which none may be created with, and libbpf 1.1
 * compares. */
static uint32_t flags_pinned(const struct bpf_map *map)
{
	bool devmap = bpf_map__type(map) == BPF_MAP_TYPE_DEVMAP_HASH;

	return bpf_map__map_flags(map) | (devmap ? BPF_F_RDONLY_PROG : 0);
}

static void compare(struct migrate_plan *p, const char *pin, const struct bpf_map *map, int fd)
{
	struct bpf_map_info old = { 0 };
	uint32_t len = sizeof(old), type = bpf_map__type(map);

	if (bpf_obj_get_info_by_fd(fd, &old, &len)) {
		refuse(p, "what is pinned there is no map: remove %s/%s", pin, p->name);
		return;
	}
	p->had = old.max_entries;
	p->had_value = old.value_size;
	if (old.type == type && old.key_size == bpf_map__key_size(map) &&
	    old.value_size == p->value && old.max_entries == p->entries &&
	    old.map_flags == flags_pinned(map)) {
		p->what = MIGRATE_KEEP;
		return;
	}
	p->what = MIGRATE_CHANGE;
	snprintf(p->why, sizeof(p->why), "%u entries of %u bytes become %u of %u", old.max_entries,
		 old.value_size, p->entries, p->value);
	if (mapcopy_is_stream(type))
		return;
	if (!mapcopy_convertible(old.type, type))
		refuse(p, "a map of type %u cannot become one of type %u", old.type, type);
	else if (old.key_size != bpf_map__key_size(map))
		refuse(p, "its keys have %u bytes, those of this version %u", old.key_size,
		       bpf_map__key_size(map));
	else if (old.value_size > p->value)
		refuse(p, "its values have %u bytes, those of this version only %u", old.value_size,
		       p->value);
	else
		check_room(p, pin, fd, &old, type);
}

static uint64_t bytes_of(const struct bpf_map *map)
{
	struct bpf_map_info info = { .type = bpf_map__type(map),
				     .value_size = bpf_map__value_size(map) };
	uint64_t each = (mapcopy_stride(&info) + 7) / 8 * 8;

	if (mapcopy_is_stream(info.type))
		return bpf_map__max_entries(map);
	/* A hash's element: 48 bytes of its own, and a bucket (kernel/bpf/hashtab.c). */
	if (info.type != BPF_MAP_TYPE_ARRAY && info.type != BPF_MAP_TYPE_PERCPU_ARRAY)
		each += (bpf_map__key_size(map) + 7) / 8 * 8 + 64;
	/* A trie without preallocation is as large as what it holds. */
	if (bpf_map__map_flags(map) & BPF_F_NO_PREALLOC)
		return 0;
	return each * bpf_map__max_entries(map);
}

static void plan_one(struct migrate_plan *p, const char *pin, const struct bpf_map *map)
{
	int fd;

	memset(p, 0, sizeof(*p));
	snprintf(p->name, sizeof(p->name), "%s", bpf_map__name(map));
	p->entries = bpf_map__max_entries(map);
	p->value = bpf_map__value_size(map);
	p->bytes = bytes_of(map);
	fd = pinned(pin, p->name);
	if (fd >= 0) {
		compare(p, pin, map, fd);
		close(fd);
	} else if (errno != ENOENT) {
		refuse(p, "the pin cannot be opened: %s", strerror(errno));
	}
}

int migrate_plan(struct bpf_object *obj, const char *pin, struct migrate_plan *out, size_t max)
{
	struct bpf_map *map;
	size_t n = 0;

	bpf_object__for_each_map(map, obj)
	{
		if (bpf_map__is_internal(map))
			continue;
		if (n == max)
			return -E2BIG;
		plan_one(&out[n++], pin, map);
	}
	return (int)n;
}

/* ---- what a process that died left ------------------------------------------------------------- */

static bool program_has(int program, uint32_t map)
{
	uint32_t ids[MAPS_MAX], len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = { .nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)ids };

	if (bpf_obj_get_info_by_fd(program, &info, &len))
		return false;
	for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MAX; i++)
		if (ids[i] == map)
			return true;
	return false;
}

static bool held_by_program(const char *path)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info), id = 0;
	int map = bpf_obj_get(path), program;
	bool held = false;

	if (map < 0)
		return false;
	if (bpf_obj_get_info_by_fd(map, &info, &len))
		info.id = 0;
	while (!held && info.id && !bpf_prog_get_next_id(id, &id)) {
		program = bpf_prog_get_fd_by_id(id);
		if (program < 0)
			continue;
		held = program_has(program, info.id);
		close(program);
	}
	close(map);
	return held;
}

static void recover(const char *pin, const struct bpf_object *obj)
{
	char from[PIN_PATH_MAX], to[PIN_PATH_MAX];
	struct bpf_map *map;

	bpf_object__for_each_map(map, obj)
	{
		const char *name = bpf_map__name(map);

		if (access(pin_path(pin, MIGRATE_PREFIX, name, from), F_OK))
			continue;
		if (held_by_program(from)) {
			log_warn("%s: an upgrade was cut off; the map is in use and takes its "
				 "place",
				 from);
			if (rename(from, pin_path(pin, "", name, to)))
				log_error("%s cannot be renamed: %s", from, strerror(errno));
		} else {
			unlink(from);
		}
	}
}

/* ---- making and filling ---------------------------------------------------------------------- */

static int paths(struct bpf_object *obj, const char *pin, const struct migrate_plan *plan)
{
	char path[PIN_PATH_MAX];
	struct bpf_map *map;
	int rc = 0;

	bpf_object__for_each_map(map, obj)
	{
		if (bpf_map__is_internal(map))
			continue;
		if (!rc)
			rc = bpf_map__set_pin_path(
				map, pin_path(pin, plan->what == MIGRATE_CHANGE ? MIGRATE_PREFIX : "",
					      bpf_map__name(map), path));
		if (plan->what == MIGRATE_KEEP)
			bpf_map__set_map_flags(map, flags_pinned(map));
		plan++;
	}
	return rc;
}

/* Loads the spare object's maps that are to be made, no program. */
static int make(struct bpf_object *spare, const struct migrate_plan *plan)
{
	struct bpf_program *program;
	struct bpf_map *map;

	bpf_object__for_each_map(map, spare)
	{
		bool wanted = false;

		if (!bpf_map__is_internal(map))
			wanted = plan++->what == MIGRATE_CHANGE;
		bpf_map__set_autocreate(map, wanted);
		if (!wanted)
			bpf_map__set_pin_path(map, NULL);
	}
	bpf_object__for_each_program(program, spare)
		bpf_program__set_autoload(program, false);
	return bpf_object__load(spare);
}

/* What a CPU remembers for itself and finds again: no counters, so differences must not be added. And ciphers, which
 * user space cannot copy: the start that migrates makes them of the keys again. */
static bool is_memory(const char *name)
{
	return !strcmp(name, "service_recent") || !strcmp(name, "nat_cursors") || !strcmp(name, "quic_block") ||
	       !strcmp(name, "quic_ciphers");
}

static int fill_one(struct migration *m, struct moving *at)
{
	int rc;

	if (mapcopy_is_stream(at->type) || is_memory(at->name))
		return 0;
	rc = mapcopy_read(at->old, &at->first);
	if (!rc)
		rc = mapcopy_write(at->new, &at->first);
	if (rc)
		log_error("%s/%s: its content cannot be copied: %s", m->pin, at->name,
			  strerror(-rc));
	else
		log_info("%s/%s: %s, %u were copied", m->pin, at->name, at->why, at->first.n);
	return rc;
}

/* Tables of flows come last, and once more: what an established flow's note says is needed by its next
 * packet, while counters can be caught up later. NAT's ports are such a table, though an array; the object has
 * them before nat_flows, which must not name one that is not there yet. */
static bool is_flows(const struct moving *at)
{
	return at->type == BPF_MAP_TYPE_LRU_HASH || at->type == BPF_MAP_TYPE_HASH || !strcmp(at->name, "nat_ports");
}

/* What was written since the last reading. */
static int catch_up(const struct migration *m, struct moving *at)
{
	struct mapcopy last;
	int rc;

	if (!at->first.info.id)
		return 0;
	rc = mapcopy_read(at->old, &last);
	if (rc)
		return rc;
	rc = mapcopy_catch_up(at->new, &at->first, &last);
	mapcopy_clear(&at->first);
	at->first = last;
	if (rc > 0)
		log_debug("%s/%s: %d changed while it was copied", m->pin, at->name, rc);
	return rc < 0 ? rc : 0;
}

int migrate_fill(struct migration *m)
{
	int rc = 0;

	for (int flows = 0; m && flows < 2; flows++)
		for (size_t i = 0; !rc && i < m->n; i++)
			if (is_flows(&m->map[i]) == (flows == 1))
				rc = fill_one(m, &m->map[i]);
	for (size_t i = 0; m && !rc && i < m->n; i++)
		if (is_flows(&m->map[i]))
			rc = catch_up(m, &m->map[i]);
	return rc;
}

static int start(struct migration *m, const struct migrate_plan *plan, size_t n)
{
	int rc = paths(m->spare, m->pin, plan);

	if (!rc)
		rc = make(m->spare, plan);
	for (size_t i = 0; !rc && i < n; i++) {
		struct moving *at = &m->map[m->n];
		struct bpf_map *map = bpf_object__find_map_by_name(m->spare, plan[i].name);

		if (plan[i].what != MIGRATE_CHANGE)
			continue;
		strcpy(at->name, plan[i].name);
		strcpy(at->why, plan[i].why);
		at->type = bpf_map__type(map);
		at->new = bpf_map__fd(map);
		at->old = pinned(m->pin, plan[i].name);
		m->n++;
		if (at->new < 0 || at->old < 0)
			rc = -ENOENT;
	}
	if (rc)
		log_error("%s: maps of the new layout cannot be made: %s", m->pin, strerror(-rc));
	return rc;
}

static int look(struct migrate_plan *plan, int n, const char *pin)
{
	int changes = 0, refused = 0;

	for (int i = 0; i < n; i++) {
		changes += plan[i].what == MIGRATE_CHANGE;
		refused += plan[i].what == MIGRATE_REFUSE;
		if (plan[i].what == MIGRATE_REFUSE)
			log_error("%s/%s: %s (`weir-agent --detach` removes everything, and ends "
				  "its connections)",
				  pin, plan[i].name, plan[i].why);
	}
	return refused ? -EEXIST : changes;
}

int migrate_open(struct migration **out, struct bpf_object *obj, struct bpf_object *spare,
		 const char *pin)
{
	struct migrate_plan plan[MAPS_MAX];
	struct migration *m;
	int n, rc;

	*out = NULL;
	recover(pin, obj);
	n = migrate_plan(obj, pin, plan, MAPS_MAX);
	rc = n < 0 ? n : look(plan, n, pin);
	if (rc < 0)
		return rc;
	if (rc == 0)
		return paths(obj, pin, plan);
	m = calloc(1, sizeof(*m));
	if (m)
		m->map = calloc((size_t)rc, sizeof(*m->map));
	if (!m || !m->map) {
		free(m);
		return -ENOMEM;
	}
	m->pin = pin;
	m->spare = spare;
	rc = start(m, plan, (size_t)n);
	if (!rc)
		rc = paths(obj, pin, plan);
	if (rc)
		migrate_close(m);
	else
		*out = m;
	return rc;
}

/* ---- the end --------------------------------------------------------------------------------- */

static int settle(struct migration *m, struct moving *at)
{
	char from[PIN_PATH_MAX], to[PIN_PATH_MAX];
	int rc = catch_up(m, at);

	if (rc)
		log_warn("%s/%s: what was written while it was copied is lost: %s", m->pin,
			 at->name, strerror(-rc));
	if (!rename(pin_path(m->pin, MIGRATE_PREFIX, at->name, from),
		    pin_path(m->pin, "", at->name, to)))
		return 0;
	rc = -errno;
	log_error("%s cannot be renamed to %s: %s", from, to, strerror(-rc));
	return rc;
}

int migrate_finish(struct migration *m)
{
	int failed = 0;

	if (!m)
		return 0;
	m->finished = true; /* the program has the new maps: there is no way back */
	for (int flows = 1; flows >= 0; flows--) {
		for (size_t i = 0; i < m->n; i++) {
			int rc = is_flows(&m->map[i]) == (flows == 1) ? settle(m, &m->map[i]) : 0;

			failed = failed ? failed : rc;
		}
	}
	return failed;
}

void migrate_close(struct migration *m)
{
	char path[PIN_PATH_MAX];
	struct bpf_map *map;

	if (!m)
		return;
	for (size_t i = 0; i < m->n; i++) {
		if (m->map[i].old >= 0)
			close(m->map[i].old);
		mapcopy_clear(&m->map[i].first);
	}
	bpf_object__for_each_map(map, m->spare) if (!m->finished) unlink(
		pin_path(m->pin, MIGRATE_PREFIX, bpf_map__name(map), path));
	free(m->map);
	free(m);
}
