/* SPDX-License-Identifier: Apache-2.0 */
/* dispatcher.c -- joins, leaves, exchanges (see dispatcher.h). */
#include "user/agent/dispatcher.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include "user/agent/whose.h"

struct dispatcher {
	struct bpf_program *edge;
	struct bpf_object *obj;
	struct xdp_program *program; /* the same in libxdp's hands */
	int failed;		     /* why it could not be loaded: libbpf does not say so twice */
};

static int program_of(struct xdp_program *program, struct xdp_program **out)
{
	int rc = (int)libxdp_get_error(program);

	if (!rc)
		*out = program;
	return rc;
}

int dispatcher_open(struct dispatcher **out, struct bpf_program *edge, struct bpf_object *obj)
{
	struct dispatcher *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return -ENOMEM;
	d->edge = edge;
	d->obj = obj;
	rc = program_of(xdp_program__from_bpf_obj(obj, "xdp"), &d->program);
	if (rc)
		free(d);
	else
		*out = d;
	return rc;
}

void dispatcher_close(struct dispatcher *d)
{
	if (!d)
		return;
	xdp_program__close(d->program);
	free(d);
}

/* ---- off ------------------------------------------------------------------------------------- */

/* Every program of ours but `keep` (0: none), that uses the map of this number (0: any). look: they stay. */
static int walk(uint32_t ifindex, uint32_t keep, uint32_t map, bool look)
{
	struct xdp_multiprog *all = xdp_multiprog__get_from_ifindex((int)ifindex);
	struct xdp_program *each = NULL;
	int found = 0;

	if (libxdp_get_error(all))
		return 0;
	each = xdp_multiprog__is_legacy(all) ? xdp_multiprog__main_prog(all)
					     : xdp_multiprog__next_prog(NULL, all);
	while (each) {
		uint32_t id = xdp_program__id(each);

		if (whose_edge(id) && id != keep && (!map || whose_uses(id, map))) {
			enum xdp_attach_mode mode = xdp_multiprog__attach_mode(all);

			found += look || !xdp_program__detach(each, (int)ifindex, mode, 0);
		}
		each = xdp_multiprog__is_legacy(all) ? NULL : xdp_multiprog__next_prog(each, all);
	}
	xdp_multiprog__close(all);
	return found;
}

int dispatcher_clear(uint32_t ifindex)
{
	return walk(ifindex, 0, 0, false);
}

int dispatcher_drop(uint32_t ifindex, uint32_t map)
{
	return walk(ifindex, 0, map, false);
}

int dispatcher_leave(uint32_t ifindex, bool look)
{
	struct xdp_multiprog *all = xdp_multiprog__get_from_ifindex((int)ifindex);
	bool behind = !libxdp_get_error(all) && !xdp_multiprog__is_legacy(all);

	if (!libxdp_get_error(all))
		xdp_multiprog__close(all);
	return behind ? walk(ifindex, 0, 0, look) : 0;
}

/* ---- on -------------------------------------------------------------------------------------- */

/* Our program that is alone on an interface, 0: it is not so. */
static uint32_t alone(uint32_t ifindex, enum xdp_attach_mode *mode)
{
	struct xdp_multiprog *all = xdp_multiprog__get_from_ifindex((int)ifindex);
	struct xdp_program *main;
	uint32_t id = 0;

	if (libxdp_get_error(all))
		return 0;
	main = xdp_multiprog__is_legacy(all) ? xdp_multiprog__main_prog(all) : NULL;
	if (main && whose_edge(xdp_program__id(main)))
		id = xdp_program__id(main);
	*mode = xdp_multiprog__attach_mode(all);
	xdp_multiprog__close(all);
	return id;
}

static int replace(uint32_t ifindex, int program, int old, enum xdp_attach_mode mode)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts, .old_prog_fd = old);
	uint32_t flags = mode == XDP_MODE_SKB ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;

	return bpf_xdp_attach((int)ifindex, program, XDP_FLAGS_REPLACE | flags, &opts);
}

static bool is_xdp(int program)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	return !bpf_obj_get_info_by_fd(program, &info, &len) && info.type == BPF_PROG_TYPE_XDP;
}

/* As an XDP program by itself: libxdp would load it only after the earlier one is gone, and half a second of the
 * verifier's work is half a second without one. The descriptor, or -errno. */
static int load(struct dispatcher *d)
{
	int rc = xdp_program__fd(d->program);
	struct xdp_program *program;

	if (rc >= 0) /* libxdp's for a dispatcher elsewhere cannot be alone */
		return is_xdp(rc) ? rc : -EBUSY;
	if (!d->failed)
		d->failed = bpf_object__load(d->obj);
	rc = d->failed;
	if (!rc)
		rc = program_of(xdp_program__from_fd(bpf_program__fd(d->edge)), &program);
	if (rc)
		return rc;
	xdp_program__close(d->program);
	d->program = program;
	return bpf_program__fd(d->edge);
}

static int exchange(struct dispatcher *d, uint32_t ifindex, uint32_t id, enum xdp_attach_mode mode, int *before)
{
	int program = load(d), old, rc;

	if (program < 0)
		return program;
	old = bpf_prog_get_fd_by_id(id);
	if (old < 0)
		return -errno;
	rc = replace(ifindex, program, old, mode);
	if (rc)
		close(old);
	else
		*before = old;
	return rc;
}

int dispatcher_attach(struct dispatcher *d, uint32_t ifindex, bool generic, struct dispatcher_before *before)
{
	enum xdp_attach_mode mode = generic ? XDP_MODE_SKB : XDP_MODE_NATIVE, found;
	uint32_t id = alone(ifindex, &found);
	int rc;

	*before = (struct dispatcher_before){ .program = -1 };
	if (id)
		return exchange(d, ifindex, id, found, &before->program);
	rc = xdp_program__attach(d->program, (int)ifindex, mode, 0);
	if (!rc)
		before->left = walk(ifindex, xdp_program__id(d->program), 0, false) > 0;
	return rc;
}

static bool held_by_link(uint32_t ifindex, uint32_t program)
{
	bool held = false;
	uint32_t id = 0;

	while (!held && !bpf_link_get_next_id(id, &id)) {
		struct bpf_link_info info = { 0 };
		uint32_t len = sizeof(info);
		int link = bpf_link_get_fd_by_id(id);

		if (link < 0)
			continue;
		/* Another network namespace's interfaces have the same numbers, but not this program there. */
		held = !bpf_obj_get_info_by_fd(link, &info, &len) && info.type == BPF_LINK_TYPE_XDP &&
		       info.xdp.ifindex == ifindex && info.prog_id == program;
		close(link);
	}
	return held;
}

bool dispatcher_refuses(uint32_t ifindex)
{
	struct xdp_multiprog *all = xdp_multiprog__get_from_ifindex((int)ifindex);
	struct xdp_program *main;
	bool refuses = false;

	if (libxdp_get_error(all))
		return false;
	main = xdp_multiprog__is_legacy(all) ? xdp_multiprog__main_prog(all) : NULL;
	if (main)
		refuses = !whose_edge(xdp_program__id(main)) || held_by_link(ifindex, xdp_program__id(main));
	xdp_multiprog__close(all);
	return refuses;
}

int dispatcher_undo(struct dispatcher *d, uint32_t ifindex, const struct dispatcher_before *before)
{
	enum xdp_attach_mode mode;

	if (before->program >= 0)
		return alone(ifindex, &mode) ? replace(ifindex, before->program, xdp_program__fd(d->program), mode) :
					       -ESTALE;
	return walk(ifindex, 0, 0, false) > 0 ? 0 : -ENOENT;
}
