// SPDX-License-Identifier: Apache-2.0
/*
 * maps_quic.c -- QUIC-LB in the maps: a service's configuration, its backends' server IDs (see maps.h).
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "user/agent/maps_int.h"

static struct weir_quic_key key_of(uint32_t service, const struct quic_id *q)
{
	struct weir_quic_key key = { .service = service, .len = q->len };

	memcpy(key.id, q->id, q->len);
	return key;
}

/* As an earlier process left them; what leads to no backend of its service goes. */
int maps_quic_read(struct maps *m)
{
	struct weir_quic_key kept, key, *from = NULL;
	uint32_t index;

	while (!bpf_map_get_next_key(m->fds.quic_servers, from, &key)) {
		if (bpf_map_lookup_elem(m->fds.quic_servers, &key, &index))
			return -errno;
		if (index && index < m->backends_end && m->backends[index].family &&
		    m->backends[index].service == key.service && key.len <= WEIR_QUIC_ID_MAX &&
		    !m->quic[index].len) {
			memcpy(m->quic[index].id, key.id, sizeof(key.id));
			m->quic[index].len = key.len;
			kept = key;
			from = &kept;
		} else if (bpf_map_delete_elem(m->fds.quic_servers, &key)) {
			return -errno;
		}
	}
	return 0;
}

int maps_quic_config(struct maps *m, int number, const struct weir_quic *quic)
{
	uint32_t key = (uint32_t)number;
	uint64_t none = 0;

	if (bpf_map_update_elem(m->fds.quic_configs, &key, quic, BPF_ANY))
		return -errno;
	if (!quic->encrypted && m->fds.quic_ciphers > 0 &&
	    bpf_map_update_elem(m->fds.quic_ciphers, &key, &none, BPF_ANY))
		return -errno;
	return 0;
}

/* Deletes the entry when it is still the backend's. */
void maps_quic_forget(struct maps *m, uint32_t index)
{
	struct weir_quic_key key = key_of(m->backends[index].service, &m->quic[index]);
	uint32_t had;

	if (m->quic[index].len && !bpf_map_lookup_elem(m->fds.quic_servers, &key, &had) &&
	    had == index)
		bpf_map_delete_elem(m->fds.quic_servers, &key);
	memset(&m->quic[index], 0, sizeof(m->quic[index]));
}

int maps_backend_quic(struct maps *m, int service, uint32_t index, const uint8_t *id, uint8_t len)
{
	struct quic_id now = { .len = len };
	struct weir_quic_key key;
	int err;

	if (!maps_backend(m, index) || m->backends[index].service != service)
		return maps_fail(m, -ENOENT, "service %d has no backend %u", service, index);
	if (len > WEIR_QUIC_ID_MAX)
		return maps_fail(m, -EINVAL, "a server ID has at most %d bytes", WEIR_QUIC_ID_MAX);
	memcpy(now.id, id, len);
	key = key_of((uint32_t)service, &now);
	if (memcmp(&now, &m->quic[index], sizeof(now)))
		maps_quic_forget(m, index);
	if (len && bpf_map_update_elem(m->fds.quic_servers, &key, &index, BPF_ANY)) {
		err = -errno;
		return maps_fail(m, err, "the server ID of backend %u cannot be written: %s", index,
				 strerror(-err));
	}
	m->quic[index] = now;
	return 0;
}
