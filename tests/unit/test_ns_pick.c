// SPDX-License-Identifier: Apache-2.0
/* ns pick: weights of sites, the two witnesses, splits that follow the capacities, what the
 * registry said. */
#include <math.h>

#include "dns/model.h"
#include "dns/probe.h"
#include "dns/view.h"
#include "tests/unit/ns.h"

static struct pick_site site(double capacity, unsigned int healthy)
{
	return (struct pick_site){
		.published = true,
		.capacity = capacity,
		.healthy = healthy,
		.total = 2,
		.registry_known = true,
		.leased = true,
		.probe = PICK_PROBE_UP,
		.n4 = 1,
		.v4 = { { AF_INET, { 198, 18, 1, 1 } } },
	};
}

static void shares_are_proportional(void **state)
{
	struct pick_site s[3] = { site(10, 2), site(30, 2), site(60, 2) };

	(void)state;
	pick_weigh(s, 3);
	assert_float_equal(s[0].weight, 0.1, 1e-9);
	assert_float_equal(s[1].weight, 0.3, 1e-9);
	assert_float_equal(s[2].weight, 0.6, 1e-9);
	assert_true(s[0].up && s[1].up && s[2].up);
}

static void one_witness_withdraws_nothing(void **state)
{
	struct pick_site s[2] = { site(10, 2), site(10, 2) };

	(void)state;
	s[1].leased = false;
	pick_weigh(s, 2);
	assert_true(s[1].up);
	s[1].leased = true;
	s[1].probe = PICK_PROBE_DOWN;
	pick_weigh(s, 2);
	assert_true(s[1].up);
	assert_float_equal(s[1].weight, 0.5, 1e-9);
}

static void two_witnesses_withdraw(void **state)
{
	struct pick_site s[2] = { site(10, 2), site(10, 2) };

	(void)state;
	s[1].leased = false;
	s[1].probe = PICK_PROBE_DOWN;
	pick_weigh(s, 2);
	assert_false(s[1].up);
	assert_float_equal(s[0].weight, 1.0, 1e-9);
	assert_non_null(strstr(s[1].why, "leases ended"));
}

static void an_unknown_registry_is_no_witness(void **state)
{
	struct pick_site s[2] = { site(10, 2), site(10, 2) };

	(void)state;
	for (int i = 0; i < 2; i++) {
		s[i].registry_known = s[i].leased = false;
		s[i].probe = PICK_PROBE_DOWN;
	}
	pick_weigh(s, 2);
	assert_true(s[0].up && s[1].up);
}

static void no_probe_is_no_witness(void **state)
{
	struct pick_site s[2] = { site(10, 2), site(10, 2) };

	(void)state;
	s[1].leased = false;
	s[1].probe = PICK_PROBE_UNKNOWN;
	pick_weigh(s, 2);
	assert_true(s[1].up);
}

static void the_own_site_is_not_probed_away(void **state)
{
	struct pick_site s[2] = { site(10, 2), site(10, 2) };

	(void)state;
	s[0].own = true;
	s[0].leased = false;
	s[0].probe = PICK_PROBE_DOWN;
	pick_weigh(s, 2);
	assert_true(s[0].up);
	s[0].healthy = 0; /* its own word counts */
	pick_weigh(s, 2);
	assert_false(s[0].up);
}

static void nothing_healthy_withdraws_at_once(void **state)
{
	struct pick_site s[2] = { site(10, 0), site(10, 2) };

	(void)state;
	pick_weigh(s, 2);
	assert_false(s[0].up);
	assert_float_equal(s[1].weight, 1.0, 1e-9);
}

static void all_down_answers_all(void **state)
{
	struct pick_site s[3] = { site(10, 0), site(30, 0), site(20, 2) };

	(void)state;
	s[2].leased = false;
	s[2].probe = PICK_PROBE_DOWN;
	pick_weigh(s, 3);
	assert_true(s[0].up && s[1].up && s[2].up);
	assert_float_equal(s[1].weight, 0.5, 1e-9);
}

static void unpublished_counts_like_the_mean(void **state)
{
	struct pick_site s[3] = { site(10, 2), site(30, 2), site(0, 0) };

	(void)state;
	s[2].published = false;
	pick_weigh(s, 3);
	assert_float_equal(s[2].weight, 20.0 / 60.0, 1e-9);
}

static void no_capacity_splits_evenly(void **state)
{
	struct pick_site s[2] = { site(0, 2), site(0, 2) };

	(void)state;
	pick_weigh(s, 2);
	assert_float_equal(s[0].weight, 0.5, 1e-9);
	s[0].capacity = NAN;
	s[1].capacity = -3;
	pick_weigh(s, 2);
	assert_float_equal(s[1].weight, 0.5, 1e-9);
}

static void without_addresses_not_in(void **state)
{
	struct pick_site s[2] = { site(10, 2), site(10, 2) };
	struct steer_name name;

	(void)state;
	s[0].n4 = 0;
	pick_weigh(s, 2);
	assert_false(s[0].up);
	steer_name_fill(&name, 5, s, 2);
	assert_int_equal(name.v4.n, 1);
	assert_int_equal(name.v6.n, 0);
	assert_null(pick_choose(&name.v6, 7));
}

/* 400 draws against the capacities: within half a per cent, and a chi-square far below chance. */
static void splits_follow_capacities(void **state)
{
	static const double capacity[4] = { 1, 2.5, 12.5, 4 };
	struct pick_site s[4];
	struct steer_name name;
	uint32_t sequence = 12345;

	(void)state;
	for (int i = 0; i < 4; i++) {
		s[i] = site(capacity[i], 2);
		s[i].v4[0].bytes[3] = (uint8_t)i;
	}
	pick_weigh(s, 4);
	steer_name_fill(&name, 5, s, 4);
	for (int start = 0; start < 50; start++) {
		unsigned int got[4] = { 0 };
		double chi = 0;

		sequence += (uint32_t)start * 2654435761u;
		for (int i = 0; i < 400; i++)
			got[pick_choose(&name.v4, pick_draw(&sequence))->rdata[0][3]]++;
		for (int i = 0; i < 4; i++) {
			double want = 400 * capacity[i] / 20;

			assert_true(fabs(got[i] - want) <= 4);
			chi += (got[i] - want) * (got[i] - want) / want;
		}
		/* Random draws exceed 7.81 once in twenty (3 degrees of freedom). */
		assert_true(chi < 2);
	}
}

/* A client that asks A and AAAA in turns must see the same shares for both. */
static void interleaved_questions_keep_their_shares(void **state)
{
	struct pick_site s[2] = { site(1, 2), site(1, 2) };
	struct steer_name name;
	uint32_t sequence = 99;
	unsigned int first = 0;

	(void)state;
	s[1].v4[0].bytes[3] = 2;
	pick_weigh(s, 2);
	steer_name_fill(&name, 5, s, 2);
	for (int i = 0; i < 400; i++) {
		first += pick_choose(&name.v4, pick_draw(&sequence))->rdata[0][3] == 1;
		(void)pick_draw(&sequence);
	}
	assert_in_range(first, 196, 204);
}

static void the_last_choice_takes_the_rest(void **state)
{
	struct pick_site s[3] = { site(1, 2), site(1, 2), site(1, 2) };
	struct steer_name name;

	(void)state;
	pick_weigh(s, 3);
	steer_name_fill(&name, 5, s, 3);
	assert_non_null(pick_choose(&name.v4, 0));
	assert_ptr_equal(pick_choose(&name.v4, UINT32_MAX), &name.v4.choice[2]);
}

static void probes_rise_and_fall(void **state)
{
	struct probe_verdict v = { PICK_PROBE_UNKNOWN, 0 };

	(void)state;
	assert_false(probe_verdict_add(&v, false));
	assert_false(probe_verdict_add(&v, false));
	assert_true(probe_verdict_add(&v, false));
	assert_int_equal(v.state, PICK_PROBE_DOWN);
	assert_false(probe_verdict_add(&v, true));
	assert_false(probe_verdict_add(&v, false));
	assert_false(probe_verdict_add(&v, true));
	assert_true(probe_verdict_add(&v, true));
	assert_int_equal(v.state, PICK_PROBE_UP);
	assert_false(probe_verdict_add(&v, false));
	assert_false(probe_verdict_add(&v, false));
	assert_false(probe_verdict_add(&v, true));
	assert_false(probe_verdict_add(&v, false));
	assert_int_equal(v.state, PICK_PROBE_UP);
}

#define SERVICE	 "/weir/v1/services/files-a"
#define CAPACITY "/weir/v1/capacity/files-a"

static void the_model_reads_the_contracts(void **state)
{
	struct model *m = model_new();
	const char *where = NULL;
	struct pick_site s = { 0 };
	struct addr_port probe;

	(void)state;
	assert_int_equal(
		model_put(m, SERVICE,
			  "{\"site\":\"a\",\"slots\":4099,\"addresses\":[\"198.18.1.100:80/tcp\","
			  "\"198.18.1.100:443/tcp\",\"[2001:db8::1]:80/tcp\"],\"backends\":[]}"),
		MODEL_STEERING);
	assert_int_equal(model_put(m, CAPACITY,
				   "{\"site\":\"a\",\"capacity\":12.5,\"healthy\":2,\"total\":3,"
				   "\"generation\":7}"),
			 MODEL_STEERING);
	assert_int_equal(model_put(m, CAPACITY,
				   "{\"site\":\"a\",\"capacity\":12.5,\"healthy\":2,\"total\":3,"
				   "\"generation\":7}"),
			 MODEL_NOTHING);
	model_site(m, "files-a", "a", &s, &where, NULL);
	assert_string_equal(where, "a");
	assert_true(s.own && s.published && !s.leased && !s.registry_known);
	assert_int_equal(s.n4, 1);
	assert_int_equal(s.n6, 1);
	assert_int_equal(s.healthy, 2);
	assert_float_equal(s.capacity, 12.5, 1e-9);
	assert_true(model_probe_address(m, "files-a", &probe));
	assert_int_equal(probe.port, 80);
	assert_int_equal(model_put(m, "/weir/v1/members/agent/edge-a",
				   "{\"node\":\"edge-a\",\"services\":[\"files-a\"]}"),
			 MODEL_STEERING);
	assert_int_equal(model_synced(m, "/weir/v1/members/agent/"), MODEL_STEERING);
	model_site(m, "files-a", "b", &s, NULL, NULL);
	assert_true(!s.own && s.leased && s.registry_known);
	assert_int_equal(model_delete(m, "/weir/v1/members/agent/edge-a"), MODEL_STEERING);
	model_site(m, "files-a", "b", &s, NULL, NULL);
	assert_false(s.leased);
	model_free(m);
}

static void odd_values_are_ignored(void **state)
{
	static const char *const odd[] = {
		"", "[]", "{", "{\"addresses\":7}", "{\"addresses\":[1,null,\"nope\"]}", "\"x\""
	};
	struct model *m = model_new();

	(void)state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct pick_site s = { 0 };
		struct addr_port probe;

		model_put(m, SERVICE, odd[i]);
		model_put(m, CAPACITY, odd[i]);
		model_put(m, "/weir/v1/members/agent/x", odd[i]);
		model_site(m, "files-a", "a", &s, NULL, NULL);
		assert_int_equal(s.n4 + s.n6, 0);
		assert_false(s.published || s.leased || model_probe_address(m, "files-a", &probe));
	}
	model_free(m);
}

static void memory_counts_until_the_registry_speaks(void **state)
{
	struct model *m = model_new(), *again = model_new();
	struct pick_site s = { 0 };
	json_t *kept;

	(void)state;
	model_put(m, SERVICE, "{\"site\":\"a\",\"addresses\":[\"198.18.1.100:80/tcp\"]}");
	model_put(m, CAPACITY, "{\"capacity\":5,\"healthy\":1,\"total\":1}");
	model_put(m, "/weir/v1/members/agent/x", "{\"services\":[\"files-a\"]}");
	kept = model_remember(m);
	assert_int_equal(json_object_size(kept), 2);
	assert_int_equal(model_restore(again, kept), MODEL_STEERING);
	model_site(again, "files-a", "b", &s, NULL, NULL);
	assert_true(s.published && !s.registry_known && s.n4 == 1);
	/* The registry tells one of the two again: the other went meanwhile. */
	assert_int_equal(model_put(again, SERVICE,
				   "{\"site\":\"a\",\"addresses\":[\"198.18.1.100:80/tcp\"]}"),
			 MODEL_NOTHING);
	assert_int_equal(model_synced(again, "/weir/v1/services/"), MODEL_NOTHING);
	assert_int_equal(model_synced(again, "/weir/v1/capacity/"), MODEL_STEERING);
	model_site(again, "files-a", "b", &s, NULL, NULL);
	assert_true(!s.published && s.n4 == 1);
	json_decref(kept);
	model_free(m);
	model_free(again);
}

static unsigned int refusals;

static void count_refusal(void *arg, const char *key, const char *why)
{
	(void)arg, (void)key;
	assert_true(strlen(why) > 5);
	refusals++;
}

static void records_of_a_zone_are_merged(void **state)
{
	struct dns_zone *zone = ns_zone("edge.example", ns_zone_text);
	struct dns_table *table;
	struct model *m = model_new();

	(void)state;
	assert_int_equal(model_put(m, "/weir/v1/records/edge.example/origin/A",
				   "{\"ttl\":60,\"values\":[\"198.18.9.1\"]}"),
			 MODEL_RECORDS);
	model_put(m, "/weir/v1/records/other.example/origin/A",
		  "{\"ttl\":60,\"values\":[\"198.18.9.2\"]}");
	model_put(m, "/weir/v1/records/edge.example/bad/A", "{\"ttl\":60,\"values\":[\"x\"]}");
	model_put(m, "/weir/v1/records/edge.example/bad/TXT", "{\"ttl\":-1,\"values\":[\"x\"]}");
	model_put(m, "/weir/v1/records/edge.example/lonely", "{\"ttl\":1,\"values\":[\"x\"]}");
	refusals = 0;
	model_merge(m, zone, "Edge.Example.", count_refusal, NULL);
	assert_int_equal(refusals, 3);
	table = ns_table(zone, NULL);
	assert_string_equal(ns_ask(table, "origin.edge.example", DNS_A),
			    "NOERROR aa | origin.edge.example. 60 IN A 198.18.9.1 | |");
	dns_table_free(table);
	dns_zone_free(zone);
	model_free(m);
}

/* A tunnel takes no name that the zone file has, least of all a name server's; people may. */
static void tunnels_leave_the_files_names(void **state)
{
	struct dns_zone *zone = ns_zone("edge.example", ns_zone_text);
	struct dns_table *table;
	struct model *m = model_new();

	(void)state;
	model_put(m, "/weir/v1/records/edge.example/ns1/A",
		  "{\"ttl\":5,\"values\":[\"198.18.9.1\"],\"tunnel\":\"evil\"}");
	model_put(m, "/weir/v1/records/edge.example/ns1/AAAA",
		  "{\"ttl\":5,\"values\":[\"2001:db8::9\"],\"tunnel\":\"evil\"}");
	model_put(m, "/weir/v1/records/edge.example/@/A",
		  "{\"ttl\":5,\"values\":[\"198.18.9.1\"],\"tunnel\":\"evil\"}");
	model_put(m, "/weir/v1/records/edge.example/app/A",
		  "{\"ttl\":5,\"values\":[\"198.18.9.2\"],\"tunnel\":\"app\"}");
	model_put(m, "/weir/v1/records/edge.example/app/AAAA",
		  "{\"ttl\":5,\"values\":[\"2001:db8::2\"],\"tunnel\":\"app\"}");
	model_put(m, "/weir/v1/records/edge.example/www/A",
		  "{\"ttl\":5,\"values\":[\"198.18.9.3\"]}");
	refusals = 0;
	model_merge(m, zone, "edge.example", count_refusal, NULL);
	assert_int_equal(refusals, 3);
	table = ns_table(zone, NULL);
	assert_null(strstr(ns_ask(table, "ns1.edge.example", DNS_A), "198.18.9.1"));
	assert_null(strstr(ns_ask(table, "ns1.edge.example", DNS_AAAA), "2001:db8::9"));
	assert_null(strstr(ns_ask(table, "edge.example", DNS_A), "198.18.9.1"));
	assert_non_null(strstr(ns_ask(table, "app.edge.example", DNS_A), "198.18.9.2"));
	assert_non_null(strstr(ns_ask(table, "app.edge.example", DNS_AAAA), "2001:db8::2"));
	assert_non_null(strstr(ns_ask(table, "www.edge.example", DNS_A), "198.18.9.3"));
	dns_table_free(table);
	dns_zone_free(zone);
	model_free(m);
}

static unsigned int released;

static void count_release(struct view *view)
{
	(void)view;
	released++;
}

static void views_wait_for_their_readers(void **state)
{
	struct views *views = aligned_alloc(64, sizeof(*views));
	struct view a = { .release = count_release }, b = { .release = count_release };
	struct view_reader *reader;

	(void)state;
	memset(views, 0, sizeof(*views));
	reader = views_reader(views);
	released = 0;
	views_swap(views, &a);
	assert_ptr_equal(view_hold(views, reader), &a.answers);
	views_swap(views, &b);
	assert_int_equal(released, 0);
	assert_int_equal(views_reap(views), 1);
	view_drop(reader);
	assert_int_equal(views_reap(views), 0);
	assert_int_equal(released, 1);
	views_swap(views, NULL);
	assert_int_equal(released, 2);
	free(views);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares_are_proportional),
		cmocka_unit_test(one_witness_withdraws_nothing),
		cmocka_unit_test(two_witnesses_withdraw),
		cmocka_unit_test(an_unknown_registry_is_no_witness),
		cmocka_unit_test(no_probe_is_no_witness),
		cmocka_unit_test(the_own_site_is_not_probed_away),
		cmocka_unit_test(nothing_healthy_withdraws_at_once),
		cmocka_unit_test(all_down_answers_all),
		cmocka_unit_test(unpublished_counts_like_the_mean),
		cmocka_unit_test(no_capacity_splits_evenly),
		cmocka_unit_test(without_addresses_not_in),
		cmocka_unit_test(splits_follow_capacities),
		cmocka_unit_test(interleaved_questions_keep_their_shares),
		cmocka_unit_test(the_last_choice_takes_the_rest),
		cmocka_unit_test(probes_rise_and_fall),
		cmocka_unit_test(the_model_reads_the_contracts),
		cmocka_unit_test(odd_values_are_ignored),
		cmocka_unit_test(memory_counts_until_the_registry_speaks),
		cmocka_unit_test(records_of_a_zone_are_merged),
		cmocka_unit_test(tunnels_leave_the_files_names),
		cmocka_unit_test(views_wait_for_their_readers),
	};

	return cmocka_run_group_tests_name("ns pick", tests, NULL, NULL);
}
