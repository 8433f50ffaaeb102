/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_check_nat.c -- what agent.nat and services with encap: nat mean together.
 */
#include <stdbool.h>

#include "lib/conf_table.h"

#define NAT_PORTS 65536u /* as in bpf/abi/nat.h */

/* An address of agent.nat has all its ports for flows: nobody else may use it. */
static const char *nat_address_taken(const struct conf *conf, size_t at)
{
	const struct conf_agent *a = &conf->agent;
	const struct addr *nat = &a->nat.addresses[at];

	for (size_t i = 0; i < at; i++)
		if (addr_equal(nat, &a->nat.addresses[i]))
			return "is named twice; keep one";
	if (conf_is_any(nat) || addr_is_loopback(nat))
		return "is no address that backends can answer to; write one of this node's";
	if (addr_equal(nat, &a->inside.addr))
		return "is that of agent.inside, whose connections would meet flows on the same port; "
		       "give NAT an address of its own";
	for (size_t i = 0; i < conf->tunnels.nprefix; i++)
		if (addr_prefix_contains(&conf->tunnels.prefix[i], nat))
			return "lies in tunnels.prefix, whose addresses belong to tunnels; give NAT "
			       "an address of its own";
	for (size_t i = 0; i < a->nservices; i++) {
		const struct conf_service *s = &a->services[i];

		for (size_t k = 0; k < s->naddresses; k++)
			if (addr_equal(nat, &s->addresses[k].addr))
				return "is a service's address; give NAT an address of its own";
		for (size_t k = 0; k < s->nbackends; k++)
			if (addr_equal(nat, &s->backends[k].address))
				return "is a backend's address; give NAT an address of this node "
				       "that nothing else uses";
	}
	return NULL;
}

/* NAT does not translate between families: what a service's addresses are, backends must be. */
static void check_nat_service(const struct conf_agent *a, size_t n, struct conf_faults *faults)
{
	const struct conf_service *s = &a->services[n];
	char path[CONF_PATH_LEN], list[CONF_PATH_LEN], key[CONF_PATH_LEN];

	conf_item(path, "agent.services", n);
	if (s->encap != CONF_ENCAP_NAT) {
		if (s->port)
			conf_fault(faults, conf_member(key, path, "port"),
				   "is for encap: nat alone: others leave packets as they are; "
				   "remove it");
		return;
	}
	for (size_t i = 0; i < s->naddresses; i++) {
		int family = s->addresses[i].addr.family;
		bool have = false;

		for (size_t k = 0; k < a->nat.naddresses; k++)
			have |= a->nat.addresses[k].family == family;
		if (!have)
			conf_fault(faults, conf_item(key, conf_member(list, path, "addresses"), i),
				   "needs an %s address in agent.nat.addresses; add one of this "
				   "node's that nothing else uses", family == AF_INET ? "IPv4" : "IPv6");
		for (size_t k = 0; k < s->nbackends; k++) {
			const struct addr *b = &s->backends[k].address;

			if (b->family == AF_UNSPEC || b->family == family)
				continue;
			conf_fault(faults, conf_item(key, conf_member(list, path, "addresses"), i),
				   "and backend \"%s\" are not of one IP version, and NAT does not "
				   "translate between them; make a service for each",
				   s->backends[k].name);
			break;
		}
	}
}

void conf_check_nat(const struct conf *conf, struct conf_faults *faults)
{
	const struct conf_agent *a = &conf->agent;
	char key[CONF_PATH_LEN];

	for (size_t i = 0; i < a->nat.naddresses; i++) {
		const char *taken = nat_address_taken(conf, i);

		if (taken)
			conf_fault(faults, conf_item(key, "agent.nat.addresses", i), "%s", taken);
	}
	if (a->nat.naddresses > CONF_NAT_ADDRESSES_MAX)
		conf_fault(faults, "agent.nat.addresses", "are %zu, and no more than %d are possible; remove some",
			   a->nat.naddresses, CONF_NAT_ADDRESSES_MAX);
	else if (a->limits.nat_ports / NAT_PORTS < a->nat.naddresses)
		conf_fault(faults, "agent.nat.addresses",
			   "are %zu, each with 65536 ports, and agent.limits.nat_ports is %u; raise it to %zu",
			   a->nat.naddresses, a->limits.nat_ports, a->nat.naddresses * NAT_PORTS);
	if (a->limits.nat_ports % NAT_PORTS)
		conf_fault(faults, "agent.limits.nat_ports",
			   "is %u, and an address has 65536 ports; give a multiple of that, such as %u",
			   a->limits.nat_ports, (a->limits.nat_ports / NAT_PORTS + 1) * NAT_PORTS);
	for (size_t i = 0; i < a->nservices; i++)
		check_nat_service(a, i, faults);
}
