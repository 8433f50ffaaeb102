# SPDX-License-Identifier: Apache-2.0
# weir: one page that says what every program is made of. `make help` lists the targets.
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= cc
CLANG   ?= clang-14
BPFTOOL ?= /usr/sbin/bpftool
SAN     ?=
V       ?= 0
# What is sanitized is compiled by clang, once for the unit tests and for the fuzzers, and not optimized, which would take
# four times as long; the frames of a report need lines of code only.
ifneq ($(SAN),)
  override CC := $(filter ccache,$(CC)) $(CLANG)
  CFLAGS  ?= -O0 -gline-tables-only
endif
BUILD   := build$(if $(SAN),/san)
Q       := $(if $(filter 1,$(V)),,@)
say      = $(if $(filter 1,$(V)),,@printf '  %-7s %s\n' '$(1)' '$(patsubst $(BUILD)/%,%,$@)';)

# ---- what each program is made of ------------------------------------------------------------
lib_src      :=
lib_src      += lib/form.c lib/httpc.c lib/inside.c
lib_src      += lib/token_cache.c lib/token_issue.c
lib_src      += lib/access.c lib/access_cookie.c lib/audit.c lib/audit_http.c lib/audit_search.c
lib_src      += lib/bucket.c lib/bucket_edit.c lib/policy.c lib/policy_cond.c lib/policy_parse.c
lib_src      += lib/group_edit.c lib/password.c lib/token.c lib/sealing.c lib/user_edit.c lib/user_key.c lib/user_reseal.c lib/reseal_ask.c lib/users.c lib/users_may.c lib/users_policy.c lib/users_s3.c lib/users_who.c
lib_src      += lib/quic_key.c lib/addr.c lib/conf.c lib/conf_check.c lib/conf_check_nat.c lib/conf_check_options.c lib/conf_check_tunnels.c lib/conf_fault.c lib/conf_schema.c lib/conf_value.c
lib_src      += lib/clock.c lib/ctl.c lib/early.c lib/hash.c lib/json_text.c lib/log.c lib/loop.c lib/metrics.c lib/metrics_process.c
lib_src      += lib/daemon.c lib/daemon_reload.c lib/priv.c lib/priv_filter.c
lib_src      += lib/registry.c lib/registry_http.c lib/registry_lease.c lib/registry_watch.c
lib_src      += lib/httpd.c lib/httpd_address.c lib/httpd_ask.c lib/httpd_check.c lib/httpd_conn.c lib/httpd_early.c lib/httpd_events.c lib/httpd_file.c
lib_src      += lib/httpd_hot.c lib/httpd_hot_head.c lib/httpd_hot_start.c lib/httpd_metrics.c lib/httpd_reply.c lib/httpd_request.c lib/httpd_text.c lib/httpd_upgrade.c lib/httpd_wait.c
lib_src      += lib/media_type.c lib/nearest.c
lib_src      += lib/load.c lib/load_cgroup.c lib/orca.c
lib_src      += lib/target.c lib/tunnels.c lib/tunnels_edit.c lib/tunnels_pool.c

agent_src    := user/agent/attach.c user/agent/dispatcher.c user/agent/dataplane.c user/agent/dataplane_egress.c user/agent/dataplane_table.c user/agent/egress.c
agent_src    += user/agent/loader.c user/agent/loader_egress.c user/agent/loader_sample.c user/agent/loader_services.c user/agent/loader_table.c user/agent/loader_tunnels.c user/agent/loader_ways.c user/agent/maps.c
agent_src    += user/agent/loader_devices.c user/agent/netlink_links.c user/agent/netlink_routes.c
agent_src    += user/agent/maps_backends.c user/agent/maps_prefix.c user/agent/maps_quic.c user/agent/cipher.c user/agent/loader_quic.c user/agent/maps_slots.c user/agent/maps_sweep.c user/agent/mapset.c user/agent/netlink.c user/agent/slot.c user/agent/steer.c
agent_src    += user/agent/agent.c user/agent/announce.c user/agent/blind.c user/agent/exchange.c user/agent/exchange_history.c user/agent/freeze.c user/agent/history.c user/agent/saved.c user/agent/service.c user/agent/status.c user/agent/swap.c
agent_src    += user/agent/filter.c user/agent/filter_ctl.c user/agent/filter_load.c user/agent/filterlist.c user/agent/filterset.c
agent_src    += user/agent/dataplane_filter.c user/agent/loader_filter.c
agent_src    += user/agent/limits.c user/agent/mapcopy.c user/agent/migrate.c user/agent/plan.c user/agent/rescue.c user/agent/sister.c user/agent/table.c user/agent/whose.c
agent_src    += user/agent/dataplane_sample.c user/agent/samples.c user/agent/seen.c user/agent/trace.c user/agent/trace_ask.c
agent_src    += user/agent/loader_nat.c user/agent/natset.c user/agent/loader_feedback.c
agent_src    += user/agent/dataplane_notes.c user/agent/loader_notes.c user/agent/notes.c
agent_src    += user/agent/handover.c user/agent/route.c user/agent/route_edges.c user/agent/route_pick.c user/agent/route_show.c
agent_src    += user/agent/health.c user/agent/model.c user/agent/publish.c user/agent/report.c user/agent/rates.c user/agent/ring.c user/agent/weight.c

ns_src       :=
ns_src       += dns/blob.c dns/compile.c dns/model.c dns/pick.c dns/probe.c dns/publish.c dns/query.c
ns_src       += dns/report.c dns/server.c dns/state.c dns/tcp.c dns/view.c dns/wire.c dns/zone.c dns/zones.c

# what endpoint and gateway both speak: S3 as bytes and values
s3_src       :=
s3_src       += http/s3/conditions.c http/s3/cors.c http/s3/count.c http/s3/errors.c http/s3/lifecycle.c http/s3/listing.c http/s3/meta.c http/s3/operation.c http/s3/range.c
s3_src       += http/s3/target.c http/s3/text.c http/s3/xml_acl.c http/s3/xml_docs.c http/s3/xml_in.c http/s3/xml_out.c http/s3/xml_rules.c http/s3/xml_tree.c
s3_src       += http/s3/awschunked.c http/s3/checksum.c http/s3/checksum_crc.c http/s3/sigv4.c http/s3/sigv4_canonical.c

store_src    :=
store_src    += http/store/answer.c http/store/buckets.c http/store/chunks.c http/store/commit.c http/store/dataset.c http/store/endpoint.c http/store/held.c http/store/hot.c
store_src    += http/store/inbound.c http/store/inside_api.c http/store/jobs.c http/store/manifest.c http/store/metrics.c
store_src    += http/store/list.c http/store/object.c http/store/peers.c http/store/placement.c http/store/presence.c http/store/put.c http/store/quota.c http/store/reader.c http/store/ready.c
store_src    += http/store/relay.c http/store/repair.c http/store/scrub.c http/store/staged.c http/store/transfer.c
store_src    += http/store/fsck.c http/store/fsck_read.c http/store/segment.c http/store/segments.c http/store/segments_compact.c http/store/segments_index.c
store_src    += http/store/names_mark.c http/store/names_needed.c http/store/orphans.c http/store/pace.c http/store/segments_round.c http/store/segments_state.c
store_src    += http/store/upload.c
store_src    += http/store/s3.c http/store/s3_attributes.c http/store/s3_block.c http/store/s3_auth.c http/store/s3_body.c http/store/s3_bucket.c http/store/s3_copy.c http/store/s3_delete.c http/store/s3_early.c http/store/s3_get.c http/store/s3_hot.c
store_src    += http/store/s3_expiry.c http/store/s3_list.c http/store/s3_meta.c http/store/s3_put.c http/store/s3_reply.c http/store/s3_seen.c http/store/s3_send.c http/store/s3_table.c
store_src    += http/store/s3_tagging.c http/store/sealed.c http/store/reseal.c http/store/reseal_walk.c
store_src    += http/store/parts.c http/store/s3_config.c http/store/s3_default.c http/store/s3_multipart.c http/store/s3_part.c
store_src    += http/store/names.c http/store/names_apply.c http/store/names_bucket.c http/store/names_call.c http/store/names_later.c
store_src    += http/store/names_copy.c http/store/names_db.c http/store/names_hash.c http/store/names_http.c http/store/names_index.c http/store/names_nodes.c http/store/names_number.c
store_src    += http/store/lifecycle.c http/store/names_ask.c http/store/names_backup.c http/store/names_op.c http/store/names_outbox.c http/store/names_plan.c http/store/names_read.c http/store/names_record.c
store_src    += http/store/names_replica.c http/store/names_row.c http/store/names_scan.c http/store/names_upgrade.c http/store/names_second.c http/store/names_wire.c

upload_src   :=
upload_src   += http/upload/uploads_file.c
upload_src   += http/upload/nursery.c http/upload/nursery_main.c http/upload/worker.c http/upload/worker_check.c
upload_src   += http/upload/json_row.c http/upload/jsonrows.c
upload_src   += http/upload/unpack.c
upload_src   += http/upload/worker_main.c http/upload/worker_wire.c
upload_src   += http/upload/pipeline.c http/upload/pipeline_image.c http/upload/pipeline_locate.c http/upload/pipeline_rows.c http/upload/pipeline_type.c
upload_src   += http/upload/hll.c http/upload/kll.c http/upload/stats.c http/upload/stats_column.c http/upload/stats_json.c http/upload/top.c
upload_src   += http/upload/csv_out.c http/upload/mask.c http/upload/transform.c http/upload/transform_cell.c http/upload/transform_file.c
upload_src   += http/upload/transform_json.c http/upload/transform_lineage.c http/upload/transform_plan.c
upload_src   += http/upload/check.c http/upload/check_cell.c http/upload/check_plan.c http/upload/check_tell.c
upload_src   += http/upload/csv.c http/upload/csv_scan.c http/upload/csv_text.c http/upload/finding.c
upload_src   += http/upload/sniff.c http/upload/sniff_dialect.c
upload_src   += http/upload/value.c http/upload/value_number.c http/upload/value_strptime.c http/upload/value_text.c http/upload/value_time.c
upload_src   += http/upload/expr_bind.c http/upload/expr_eval.c http/upload/expr_parse.c http/upload/expr_text.c http/upload/pattern.c
upload_src   += http/upload/rules.c http/upload/rules_check.c http/upload/rules_frictionless.c http/upload/rules_load.c
upload_src   += http/upload/rules_output.c http/upload/rules_schema.c http/upload/rules_tree.c http/upload/rules_value.c
upload_src   += http/upload/tus.c http/upload/spool.c http/upload/objects.c http/upload/commit.c http/upload/datasets.c http/upload/datasets_files.c
upload_src   += http/upload/uploads.c http/upload/uploads_state.c http/upload/uploads_take.c http/upload/uploads_check.c http/upload/uploads_tus.c
upload_src   += http/upload/uploads_put.c http/upload/uploads_show.c http/upload/uploads_replace.c http/upload/uploads_forward.c http/upload/uploads_hold.c http/upload/uploads_join.c
upload_src   += http/upload/keyset.c http/upload/runs.c http/upload/uniques.c

identity_src :=
identity_src += http/identity/audit_merge.c http/identity/device.c http/identity/identity.c http/identity/jwt.c http/identity/limit.c
identity_src += http/identity/login.c http/identity/page.c http/identity/password.c http/identity/people.c http/identity/person.c
identity_src += http/identity/provider.c http/identity/seal.c http/identity/session.c http/identity/tokens.c

peers_src    :=
# websockets
peers_src    += http/peers/ws.c http/peers/ws_accept.c http/peers/ws_conn.c http/peers/ws_frame.c http/peers/ws_loop.c
# owner: tracker, record
peers_src    += http/peers/coordinator.c http/peers/coordinator_group.c http/peers/instruct.c http/peers/instruct_hold.c
peers_src    += http/peers/instruct_settings.c http/peers/message.c http/peers/record.c http/peers/record_report.c
peers_src    += http/peers/record_show.c http/peers/record_trust.c http/peers/tracker.c http/peers/tracker_offers.c
# home: sessions
peers_src    += http/peers/connect.c http/peers/events.c http/peers/guest.c http/peers/home.c http/peers/home_announce.c
peers_src    += http/peers/home_clock.c http/peers/home_facts.c http/peers/measure.c http/peers/peers.c
peers_src    += http/peers/report.c http/peers/routes.c http/peers/secret.c http/peers/session.c http/peers/show.c http/peers/switch.c http/peers/token.c
# grouping, sensing
peers_src    += http/peers/group.c http/peers/group_balance.c http/peers/group_place.c http/peers/group_plan.c
peers_src    += http/peers/network.c http/peers/portion.c http/peers/sense.c
# simulator
peers_src    += http/peers/sim.c http/peers/sim_flow.c http/peers/sim_main.c http/peers/sim_measure.c http/peers/sim_plan.c http/peers/sim_storm.c
peers_src    += http/peers/sim_player.c http/peers/sim_swarm.c http/peers/sim_weir.c http/peers/sim_world.c http/peers/supply.c http/peers/coordinator_supply.c
# media
peers_src    += http/peers/media.c http/peers/media_disk.c http/peers/media_fetch.c http/peers/media_key.c http/peers/media_parse.c
peers_src    += http/peers/media_routes.c
# exchange
peers_src    += http/peers/exchange.c http/peers/exchange_link.c

gateway_src  := http/gateway/console.c http/gateway/console_files.c http/gateway/neighbours.c http/gateway/rank.c http/gateway/redirect.c http/gateway/services.c
gateway_src  += http/gateway/browse.c http/gateway/buckets.c http/gateway/keys.c
gateway_src  += http/gateway/signon.c http/gateway/view.c
gateway_src  += http/gateway/player_files.c http/gateway/carry.c http/gateway/carry_curl.c http/gateway/s3.c http/gateway/s3_dataset.c http/gateway/s3_dataset_answer.c http/gateway/s3_digest.c

registry_src := http/registry/fields.c http/registry/request.c http/registry/server.c http/registry/store.c
registry_src += http/registry/store_disk.c http/registry/store_lease.c http/registry/watch.c

tunnel_parts := budget spare reactor conn conn_ask conn_out conn_tls raw
tunnel_parts += head head_check h1_text h1_shape h1_read h1_out h1_front h1_server h1_pool h1_client
tunnel_parts += end h2 h2_recv h2_stream pump exchange exchange_answer
tunnel_parts += control proxy sni
tunnel_parts += edge edge_listen handover front front_accept front_tls front_metrics limits
tunnel_parts += request request_route request_fields page acme access_log gateway_back gateway_endpoints
tunnel_parts += attach attach_cert attach_conn attach_list attach_pick attach_stream attach_tls
tunnel_parts += tunnels announce index leased publish publish_model publish_plan enroll
tunnel_parts += origin origin_dial origin_cred origin_names origin_places origin_link
tunnel_parts += origin_targets origin_probe origin_back origin_h2
tunnel_parts += origin_request origin_metrics
tunnel_parts += authority authority_sign authority_work cert
tunnel_src   := $(tunnel_parts:%=user/tunnel/%.c)

# Debian's node-llhttp ships the parser as C sources: compiled with our programs
llhttp       := /usr/share/llhttp
llhttp_obj    = $(BUILD)/llhttp/api.o $(BUILD)/llhttp/http.o $(BUILD)/llhttp/llhttp.o

weir_src     := tools/audit.c tools/aws.c tools/bucket.c tools/ca.c tools/cmd.c tools/dataset.c tools/dataset_check.c tools/dataset_file.c tools/fdstore.c tools/group.c tools/lab.c tools/filter.c
weir_src     += tools/du.c tools/login.c tools/objects.c tools/prompt.c tools/rescue.c tools/session.c tools/scrub.c tools/sealing.c tools/sealing_ask.c tools/show.c tools/up.c tools/user.c tools/user_key.c tools/web.c tools/weights.c
weir_src     += tools/rate.c tools/sync.c tools/sync_down.c tools/sync_fetch.c tools/sync_ignore.c tools/sync_remote.c tools/sync_send.c
weir_src     += tools/sync_state.c tools/sync_up.c tools/tus.c tools/upload.c tools/upload_mend.c tools/upload_watch.c
weir_src     += tools/media.c tools/media_add.c tools/media_encode.c tools/media_pack.c tools/media_send.c
weir_src     += tools/media_watch.c tools/media_watch_events.c tools/media_watch_fetch.c tools/media_watch_hold.c tools/media_watch_serve.c
weir_src     += tools/media_watch_session.c tools/media_watch_track.c tools/media_watch_ws.c
weir_src     += tools/peers.c
weir_src     += tools/pcapng.c tools/top.c tools/trace.c tools/trace_line.c
weir_src     += tools/tunnel.c tools/tunnel_enroll.c tools/tunnel_origin.c tools/tunnel_show.c tools/tunnel_status.c tools/tunnel_watch.c tools/tunnel_wish.c

bpf_src      := bpf/edge.bpf.c bpf/egress.bpf.c bpf/listen.bpf.c bpf/crypt.bpf.c

# packets through the program under BPF_PROG_TEST_RUN (tests/bpf/NAME.c)
bpf_tests    := $(patsubst tests/bpf/%.c,%,$(wildcard tests/bpf/test_*.c))

# main files: one a program
programs     := weir weir-agent weir-endpoint weir-gateway weir-ns weir-registry weir-tunnel

# ---- unit tests, by the archive that they test (tests/unit/NAME.c) ---------------------------
unit_lib      :=
unit_lib      += test_target test_token test_token_cache test_tunnels
unit_lib      += test_policy
unit_lib      += test_load test_orca
unit_lib      += test_media_type
unit_lib      += test_httpc test_httpd test_httpd_apart test_httpd_hot test_httpd_text test_inside
unit_lib      += test_addr test_audit test_conf test_ctl test_daemon test_hash test_json_text test_log test_loop test_metrics test_priv

unit_agent    :=
unit_agent    += test_blind test_filterlist test_health test_history test_notes test_publish test_ring test_route_pick test_table test_weight

unit_ns       :=
unit_ns       += test_ns_pick test_ns_query test_ns_wire test_ns_zone

unit_s3       := test_s3_listing test_s3_meta test_s3_operation test_s3_xml
unit_s3       += test_httpd_hot_signed test_s3_awschunked test_s3_checksum test_s3_sigv4

unit_store    :=
unit_store    += test_store_chunks test_store_inbound test_store_manifest test_store_orphans test_store_placement test_store_scrub
unit_store    += test_store_segments test_store_segments_compaction test_store_segments_restart
unit_store    += test_names_chaos test_names_cluster test_names_commits test_names_db test_names_op test_names_parts test_names_upgrade test_s3_early test_store_contract test_store_lifecycle test_store_reseal test_store_sealed

unit_gateway  := test_carry test_neighbours test_rank

unit_upload   :=
unit_upload   += test_upload_stats test_upload_transform
unit_upload   += test_upload_expr test_upload_rules test_upload_uniques
unit_upload   += test_upload_json test_upload_pipeline test_upload_unpack test_upload_worker
unit_upload   += test_upload_check test_upload_csv test_upload_pattern test_upload_sniff test_upload_value
unit_upload   += test_upload_spool test_upload_tus

unit_identity := test_identity_jwt test_identity_limit

unit_peers    :=
# websockets
unit_peers    += test_peers_ws
# owner: tracker, record
unit_peers    += test_peers_coordinator test_peers_excluded test_peers_gateways test_peers_instruct test_peers_message test_peers_trust test_peers_supply
# home: sessions
unit_peers    += test_peers_home test_peers_token
# grouping, sensing
unit_peers    += test_peers_group test_peers_network test_peers_sense
# simulator
unit_peers    += test_peers_sim
# media
unit_peers    += test_peers_media
# exchange
unit_peers    += test_peers_exchange

unit_registry := test_access test_registry_store test_rights test_rights_buckets test_tunnels_edit test_users

unit_tunnel   :=
unit_tunnel   += test_tunnel_access_log test_tunnel_authority test_tunnel_cert test_tunnel_chain test_tunnel_conn
unit_tunnel   += test_tunnel_conn_ctx test_tunnel_conn_tls test_tunnel_control test_tunnel_exchange
unit_tunnel   += test_tunnel_exchange_faults test_tunnel_fields test_tunnel_h1 test_tunnel_h1_client
unit_tunnel   += test_tunnel_h1_server test_tunnel_h2 test_tunnel_h2_ends test_tunnel_h2_raw test_tunnel_head
unit_tunnel   += test_tunnel_limits test_tunnel_origin_h2 test_tunnel_pick test_tunnel_proxy test_tunnel_publish
unit_tunnel   += test_tunnel_raw test_tunnel_reactor test_tunnel_sni test_tunnel_spare

unit_weir     := test_media_watch test_sync
unit_weir     += test_aws test_pcapng

# ---- programs that test scripts run (tests/net/NAME.c), with lib ------------------------------
net_programs  :=
net_programs  += agent_tool ctl_ask edge_tool registry_conformance
net_programs  += http_files
net_upload    := upload_rows
net_peers     := ws_echo

# ---- fuzzers (tests/fuzz/NAME.c, clang and libFuzzer), by archive ----------------------------
fuzz_registry := fuzz_registry_request

fuzz_lib      :=
fuzz_lib      += fuzz_policy
fuzz_lib      += fuzz_token fuzz_tunnels
fuzz_lib      += fuzz_http_hot fuzz_http_range
fuzz_lib      += fuzz_orca
fuzz_lib      += fuzz_addr fuzz_conf fuzz_form

fuzz_agent    :=
fuzz_agent    += fuzz_filterlist

fuzz_ns       :=
fuzz_ns       += fuzz_dns_query fuzz_dns_zone

fuzz_tunnel   :=
fuzz_tunnel   += fuzz_tunnel_control fuzz_tunnel_h1 fuzz_tunnel_h1_server fuzz_tunnel_h2 fuzz_tunnel_head
fuzz_tunnel   += fuzz_tunnel_proxy fuzz_tunnel_sni

fuzz_upload   :=
fuzz_upload   += fuzz_upload_expr fuzz_upload_rules
fuzz_upload   += fuzz_upload_csv fuzz_upload_sniff fuzz_upload_json fuzz_upload_pipeline fuzz_upload_unpack
fuzz_upload   += fuzz_upload_outputs
fuzz_upload   += fuzz_upload_tus

fuzz_peers    :=
# websockets
fuzz_peers    += fuzz_peers_ws
# owner: tracker, record
fuzz_peers    += fuzz_peers_coordinator fuzz_peers_tracker
# home: sessions
fuzz_peers    += fuzz_peers_token
# media
fuzz_peers    += fuzz_peers_media

fuzz_identity := fuzz_identity_jwt

fuzz_s3       := fuzz_s3_token fuzz_s3_xml
fuzz_s3       += fuzz_s3_awschunked fuzz_s3_sigv4

fuzz_store    :=
fuzz_store    += fuzz_names_wire
fuzz_store    += fuzz_store_manifest

# ---- flags -----------------------------------------------------------------------------------
packages := libsystemd yaml-0.1 jansson libcurl libcrypto libssl libnghttp2 libmicrohttpd gnutls lmdb libisal libxxhash \
            ldns libbpf libxdp libcap libseccomp libarchive libmagic libzstd zlib yajl expat cjose libmaxminddb
no_packages := clean help player tools bootstrap
ifneq ($(filter-out $(no_packages),$(or $(MAKECMDGOALS),all)),)
  pkg_cflags := $(shell pkg-config --cflags $(packages) 2>/dev/null)
  pkg_libs   := $(shell pkg-config --libs $(packages) 2>/dev/null)
  ifeq ($(pkg_libs),)
    bootstrap_first := yes
  endif
endif

warnings := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
CFLAGS   ?= -O2 -g
cflags    = -std=gnu11 $(CFLAGS) $(warnings) -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -I$(BUILD) \
            -fPIE -fstack-protector-strong -pthread $(pkg_cflags) -MMD -MP \
            $(if $(SAN),$(san_flags),-D_FORTIFY_SOURCE=2)
# Counters for libFuzzer in what is fuzzed, which nobody reads in another program; the macro is gcc's.
fuzz_counters := fuzzer-no-link,
san_flags = -fsanitize=$(fuzz_counters)$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined \
            $(if $(findstring address,$(SAN)),-D__SANITIZE_ADDRESS__)
# lld, where it is installed, links in a tenth of the time: some 400 programs in `make test`.
lld      := $(if $(shell command -v ld.lld),-fuse-ld=lld)
ldflags   = -pie -pthread -Wl,-z,relro,-z,now $(lld) $(if $(SAN),-fsanitize=$(SAN))
libs      = $(pkg_libs) -lwslay -lm

.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
.PHONY: all help player check net-tests test demo nightly fuzz install clean bootstrap-check

all: $(programs:%=$(BUILD)/bin/%) ## build every program and the BPF objects

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9_-]+:.*## /{printf "  make %-24s %s\n", $$1, $$2}' Makefile

ifeq ($(bootstrap_first),yes)
  $(error libraries are missing: run tools/bootstrap as root (it installs exactly the missing Debian packages), then make again)
endif

# ---- compile and archive ---------------------------------------------------------------------
$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(cflags) -c $< -o $@

archives := lib agent ns s3 store upload identity peers gateway registry tunnel weir
define archive_rule
$(BUILD)/$(1).a: $$($(1)_src:%.c=$(BUILD)/%.o)
	@mkdir -p $$(@D); rm -f $$@
	$$(call say,AR)ar rcs $$@ $$^
endef
$(foreach a,$(archives),$(eval $(call archive_rule,$(a))))

# not ours: no warnings of ours; its headers lie where Debian puts them
$(llhttp_obj): $(BUILD)/llhttp/%.o: $(llhttp)/%.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) -std=gnu11 $(CFLAGS) -fPIE -w -DLLHTTP_STRICT_MODE=1 -I/usr/share/include/llhttp $(if $(SAN),$(san_flags)) -c $< -o $@
$(BUILD)/tunnel.a: $(llhttp_obj)
ifneq ($(SAN),)
# What simulates hours or moves hundreds of megabytes is optimized, and what is fuzzed most.
$(foreach a,tunnel upload peers,$($(a)_src:%.c=$(BUILD)/%.o)) $(llhttp_obj) $(BUILD)/user/agent/ring.o $(BUILD)/user/agent/publish.o: CFLAGS = -O1 -gline-tables-only
$(BUILD)/tests/unit/%.o: fuzz_counters :=
endif
.SECONDARY: $(llhttp_obj)
$(tunnel_src:%.c=$(BUILD)/%.o) $(unit_tunnel:%=$(BUILD)/tests/unit/%.o) $(fuzz_tunnel:%=$(BUILD)/tests/fuzz/%.o): cflags += -isystem /usr/share/include/llhttp

# A program is its main file, its own archive, those of what it composes, and lib: program(NAME, MAIN, ARCHIVE, COMPOSED)
define program
$(BUILD)/bin/$(1): $(BUILD)/$(2:%.c=%.o) $(BUILD)/$(3).a $(4:%=$(BUILD)/%.a) $(BUILD)/lib.a
	@mkdir -p $$(@D)
	$$(call say,LINK)$$(CC) -o $$@ $$^ $$(ldflags) $$(libs)
endef
$(eval $(call program,weir-agent,user/agent/main.c,agent))
$(eval $(call program,weir-ns,dns/main.c,ns))
$(eval $(call program,weir-endpoint,http/store/main.c,store,s3))
$(eval $(call program,weir-gateway,http/gateway/main.c,gateway,upload identity peers s3))
$(eval $(call program,weir-registry,http/registry/main.c,registry))
$(eval $(call program,weir-tunnel,user/tunnel/main.c,tunnel))
$(eval $(call program,weir,tools/weir.c,weir))

$(BUILD)/http/gateway/console_files.o: $(wildcard http/gateway/console/*)

# the shim without its comments and indentation, as it is served
build/player/shim.js: http/gateway/player/shim.js
	@mkdir -p $(@D)
	$(call say,SHIM)sed -e '/^[[:space:]]*\/\//d' -e 's/^[[:space:]]*//' -e '/^$$/d' $< >$@
build/player/shim.js.gz: build/player/shim.js
	$(Q)gzip -9nc $< >$@
$(BUILD)/http/gateway/player_files.o: $(wildcard http/gateway/player/*) build/player/shim.js.gz

player: ## what the page /_/player plays with, by npm: hls.js, p2p-media-loader (nothing else needs npm)
	@http/gateway/player/fetch build/player

# ---- BPF: object, skeleton -------------------------------------------------------------------
bpf_arch ?= $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x86)
bpf_obj  := $(bpf_src:bpf/%.bpf.c=build/bpf/%.bpf.o)

build/vmlinux/vmlinux.h: vmlinux/vmlinux.h
	@mkdir -p $(@D)
	$(call say,BTF)$(BPFTOOL) btf dump file /sys/kernel/btf/vmlinux format c >$@ 2>/dev/null || cp $< $@

build/bpf/%.bpf.o: bpf/%.bpf.c build/vmlinux/vmlinux.h
	@mkdir -p $(@D)
	$(call say,BPF)$(CLANG) -target bpf -mcpu=v3 -D__TARGET_ARCH_$(bpf_arch) -O2 -g -fno-strict-aliasing -Wall -Wextra -Wshadow \
		-I. -Ibuild/vmlinux -MMD -MP -c $< -o $@

# the same by any clang, for tests/bpf/verifier.sh: make CLANG=clang-19 build/verify/clang-19/edge.bpf.o
build/verify/$(notdir $(CLANG))/%.bpf.o: bpf/%.bpf.c build/vmlinux/vmlinux.h
	@mkdir -p $(@D)
	$(call say,BPF)$(CLANG) -target bpf -mcpu=v3 -D__TARGET_ARCH_$(bpf_arch) -O2 -g -fno-strict-aliasing -Wall -Wextra -Wshadow \
		-I. -Ibuild/vmlinux -MMD -MP -c $< -o $@

build/skel/%.skel.h: build/bpf/%.bpf.o
	@mkdir -p $(@D)
	$(call say,SKEL)$(BPFTOOL) gen skeleton $< name $* >$@

$(agent_src:%.c=$(BUILD)/%.o): cflags += -Ibuild
$(agent_src:%.c=$(BUILD)/%.o): | $(bpf_obj:build/bpf/%.bpf.o=build/skel/%.skel.h)

# ---- tests -----------------------------------------------------------------------------------
define unit_rule
$(BUILD)/unit/$(2): $(BUILD)/tests/unit/$(2).o $(BUILD)/$(1).a $(if $(filter store gateway,$(1)),$(BUILD)/s3.a) $(BUILD)/lib.a
	@mkdir -p $$(@D)
	$$(call say,LINK)$$(CC) -o $$@ $$(filter %.o,$$^) $$(filter %.a,$$^) $$(ldflags) -lcmocka $$(libs)
endef
$(foreach a,$(archives),$(foreach t,$(sort $(unit_$(a))),$(eval $(call unit_rule,$(a),$(t)))))
# what several share
$(BUILD)/unit/test_rights $(BUILD)/unit/test_rights_buckets: $(BUILD)/tests/unit/rights.o
$(patsubst %,$(BUILD)/unit/%,test_names_commits test_names_db test_names_parts test_names_upgrade): $(BUILD)/tests/unit/names_top.o
$(patsubst %,$(BUILD)/unit/%,$(filter test_store_segments%,$(unit_store))): $(BUILD)/tests/unit/segments_store.o
$(BUILD)/unit/test_publish $(BUILD)/unit/test_ring: $(BUILD)/tests/unit/ring_moves.o
unit_cluster  := test_names_chaos test_names_cluster test_store_contract test_store_lifecycle test_store_orphans test_store_reseal
$(unit_cluster:%=$(BUILD)/unit/%): $(addprefix $(BUILD)/tests/unit/,names_cluster.o names_node.o relay.o)
$(BUILD)/unit/test_store_contract: $(addprefix $(BUILD)/tests/unit/store_contract,.o _buckets.o _listings.o _objects.o _uploads.o)
unit_tests := $(foreach a,$(archives),$(patsubst %,$(BUILD)/unit/%,$(sort $(unit_$(a)))))
# begun first, so that none of them is left alone at the end
unit_long  := $(filter $(addprefix $(BUILD)/unit/,test_names_cluster test_ring test_publish test_names_chaos),$(unit_tests))

bpf_tests_bin := $(bpf_tests:%=build/tests/bpf/%)
bpf_tests_with := $(addprefix build/tests/bpf/,edge.o frame.o check.o record.o)
bpf_tests_some := $(addprefix build/tests/bpf/,filter.o nat.o packets.o world.o)
$(filter build/tests/bpf/test_nat%,$(bpf_tests_bin)): build/tests/bpf/nat.o
$(filter-out build/tests/bpf/test_nat%,$(bpf_tests_bin)): build/tests/bpf/filter.o build/tests/bpf/packets.o
build/tests/bpf/test_random: build/tests/bpf/world.o
$(bpf_tests_bin) $(bpf_tests_with) $(bpf_tests_some): cflags += -Ibuild
$(bpf_tests_bin:=.o) $(bpf_tests_with) $(bpf_tests_some): | build/skel/edge.skel.h build/skel/egress.skel.h build/skel/listen.skel.h build/skel/crypt.skel.h
$(bpf_tests_bin): %: %.o $(bpf_tests_with) build/agent.a build/lib.a
	$(call say,LINK)$(CC) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(ldflags) -Wl,--wrap=_cmocka_run_group_tests -lcmocka $(libs)
build/tests/net/dp_tool: build/tests/net/dp_tool.o build/agent.a build/lib.a
	$(call say,LINK)$(CC) -o $@ $^ $(ldflags) $(libs)
build/tests/net/dp_flows build/tests/net/dp_churn: %: %.o
	$(call say,LINK)$(CC) -o $@ $^ $(ldflags)
build/bpf/lb_%.bpf.o: tests/bench/lb_%.bpf.c build/vmlinux/vmlinux.h
	@mkdir -p $(@D)
	$(call say,BPF)$(CLANG) -target bpf -mcpu=v3 -D__TARGET_ARCH_$(bpf_arch) -O2 -g -fno-strict-aliasing -Wall -Wextra \
		-Wshadow -I. -Ibuild/vmlinux -MMD -MP -c $< -o $@
# the edge program with one feature compiled out: what its code costs while it is off
lb_without := block limit route sample prefixes nat checksum flags quic two affinity vlan decap all
build/bpf/lb_without_%.bpf.o: tests/bench/lb_without.bpf.c build/vmlinux/vmlinux.h
	@mkdir -p $(@D)
	$(call say,BPF)$(CLANG) -target bpf -mcpu=v3 -D__TARGET_ARCH_$(bpf_arch) -O2 -g -fno-strict-aliasing -Wall -Wextra \
		-Wshadow -I. -Ibuild/vmlinux -DWITHOUT_$* -MMD -MP -c $< -o $@
build/bpf/dp_%.bpf.o: tests/net/dp_%.bpf.c build/vmlinux/vmlinux.h
	@mkdir -p $(@D)
	$(call say,BPF)$(CLANG) -target bpf -mcpu=v3 -D__TARGET_ARCH_$(bpf_arch) -O2 -g -fno-strict-aliasing -Wall -Wextra \
		-Wshadow -I. -Ibuild/vmlinux -MMD -MP -c $< -o $@
build/tests/net/dp_flood.o: cflags += -Ibuild
build/tests/net/dp_flood.o: | build/skel/dp_flood.skel.h
build/tests/net/dp_flood: build/tests/net/dp_flood.o
	$(call say,LINK)$(CC) -o $@ $^ $(ldflags) $(libs)
build/bpf/narrow.bpf.o: tests/bpf/narrow.bpf.c build/vmlinux/vmlinux.h
	@mkdir -p $(@D)
	$(call say,BPF)$(CLANG) -target bpf -mcpu=v3 -D__TARGET_ARCH_$(bpf_arch) -O2 -g -fno-strict-aliasing -Wall -Wextra \
		-Wshadow -I. -Ibuild/vmlinux -MMD -MP -c $< -o $@
build/tests/bpf/test_route.o: | build/skel/narrow.skel.h
lb_bench_obj := $(addprefix build/tests/bench/,lb_bench.o lb_fill.o lb_live.o)
$(lb_bench_obj): cflags += -Ibuild
$(lb_bench_obj): | build/skel/lb_live.skel.h build/skel/edge.skel.h build/skel/lb_minimal.skel.h build/skel/lb_wrap.skel.h
build/tests/bench/lb_bench: $(lb_bench_obj) build/tests/bpf/frame.o build/agent.a build/lib.a | $(lb_without:%=build/bpf/lb_without_%.bpf.o)
	$(call say,LINK)$(CC) -o $@ $^ $(ldflags) $(libs)
build/tests/bpf/verify: build/tests/bpf/verify.o
	$(call say,LINK)$(CC) -o $@ $^ $(ldflags) $(libs)
build/bpf-tests: $(bpf_tests_bin) build/tests/bpf/verify build/tests/net/dp_tool build/tests/net/dp_flows build/tests/net/dp_churn build/tests/net/dp_flood
	@touch $@

$(BUILD)/net/registry_conformance: $(BUILD)/tests/net/registry_live.o
$(BUILD)/net/fault_shim.so: tests/net/fault_shim.c
	@mkdir -p $(@D)
	$(call say,SO,net/fault_shim.so)
	$(Q)$(CC) -O2 -Wall -Wextra -shared -fPIC -o $@ $<
build/bench/durable_shim.so: tests/bench/durable_shim.c
	@mkdir -p $(@D)
	$(call say,SO,bench/durable_shim.so)
	$(Q)$(CC) -O2 -Wall -Wextra -shared -fPIC -o $@ $<
$(net_programs:%=$(BUILD)/net/%): $(BUILD)/net/%: $(BUILD)/tests/net/%.o $(BUILD)/lib.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(ldflags) $(libs)

$(net_upload:%=$(BUILD)/net/%): $(BUILD)/net/%: $(BUILD)/tests/net/%.o $(BUILD)/upload.a $(BUILD)/lib.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -o $@ $^ $(ldflags) $(libs)
$(net_peers:%=$(BUILD)/net/%): $(BUILD)/net/%: $(BUILD)/tests/net/%.o $(BUILD)/peers.a $(BUILD)/lib.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -o $@ $^ $(ldflags) $(libs)
$(BUILD)/tests/bench/ws_load: $(BUILD)/tests/bench/ws_load.o
	$(call say,LINK)$(CC) -o $@ $^ $(ldflags)

upload_benches := $(addprefix $(BUILD)/tests/bench/,upload_bench upload_stats_bench upload_way_bench)
$(upload_benches): %: %.o $(BUILD)/upload.a $(BUILD)/lib.a
	$(call say,LINK)$(CC) -o $@ $^ $(ldflags) $(libs)

# libFuzzer's main and the sanitized archives
define fuzz_rule
build/fuzz/$(2): build/san/tests/fuzz/$(2).o $(if $(filter-out lib,$(1)),build/san/$(1).a) $(if $(filter store gateway,$(1)),build/san/s3.a) build/san/lib.a
	@mkdir -p $$(@D)
	$$(call say,FUZZ)$$(CC) -fsanitize=fuzzer,$$(SAN) -o $$@ $$^ $$(ldflags) $$(libs)
endef
$(if $(SAN),$(foreach a,$(archives),$(foreach t,$(fuzz_$(a)),$(eval $(call fuzz_rule,$(a),$(t))))))
fuzzers := $(foreach a,$(archives),$(fuzz_$(a):%=build/fuzz/%))
ifeq ($(SAN),)
build/fuzz/fuzz_%: always
	@$(MAKE) --no-print-directory SAN=address,undefined $@
always:
.PHONY: always fuzzers
fuzzers:
	@$(MAKE) --no-print-directory SAN=address,undefined $@
else
fuzzers: $(fuzzers)
endif

# these start a real registry
$(patsubst %,$(BUILD)/unit/%,$(unit_cluster) test_tunnel_authority): | $(BUILD)/bin/weir-registry

unit: $(unit_tests)

net-tests: $(net_programs:%=$(BUILD)/net/%) $(BUILD)/net/fault_shim.so $(net_upload:%=$(BUILD)/net/%) $(net_peers:%=$(BUILD)/net/%) $(if $(SAN),,build/bpf-tests)

check: unit ## unit tests, no root needed (SAN=address,undefined for the sanitizers; SKIP=names leaves some out; JOBS=2; AGAIN=1)
	@tests/run -j $(or $(JOBS),1) $(if $(AGAIN),-a) $(filter-out $(SKIP:%=$(BUILD)/unit/%),$(unit_long) $(filter-out $(unit_long),$(unit_tests))) $(if $(SAN),,$(wildcard tests/unit/*.sh))

fuzz: fuzzers ## run every fuzzer for FUZZ_SECONDS (20)
	@tests/fuzz/run $(fuzzers)

test: ## everything (root): installs what tests need, all checks, sanitizers, BPF, namespaces, end to end
	@tests/all

nightly: all ## what takes longer than `make test` may
	@tests/nightly/run

demo: ## the main job, for real, in namespaces (root)
	@tests/demo

$(addprefix $(BUILD)/tests/bench/,peers_coordinator peers_instruct peers_regroup): %: %.o $(BUILD)/peers.a $(BUILD)/lib.a
	$(call say,LINK)$(CC) -o $@ $^ $(ldflags) $(libs)
$(BUILD)/tests/bench/agent_times: $(BUILD)/tests/bench/agent_times.o $(BUILD)/agent.a $(BUILD)/lib.a
	$(call say,LINK)$(CC) -o $@ $^ $(ldflags) $(libs)

bench-%: all
	@mkdir -p build/bench
	@tests/bench/bench-$*

# ---- install: what is there of these; @PREFIX@ in units and scripts becomes PREFIX ------------
role_files   := user/agent/weir-agent dns/weir-ns http/gateway/weir-gateway http/store/weir-endpoint http/registry/weir-registry
man_pages    := $(wildcard tools/weir.1 lib/weir.yaml.5 http/upload/weir-dataset.5 user/tunnel/weir-tunnel.8 $(role_files:%=%.8))
units        := $(wildcard $(role_files:%=%.service) $(patsubst %,user/tunnel/weir-%.service,edge origin authority) \
                tools/weir.service tools/weir.target tools/weir-sync@.service)
examples     := examples/one-box.yaml examples/edge.yaml examples/origin.yaml examples/one-box.zone examples/bird.conf examples/bpftool.md examples/grafana.json
lab          := $(wildcard examples/lab/*)
player       := $(wildcard build/player/www/*)
datasets     := $(wildcard examples/datasets/*)
root         := $(DESTDIR)$(PREFIX)

install: all $(bpf_obj) ## copy programs, pages, units, the BPF object (PREFIX, DESTDIR)
	$(Q)install -d $(root)/bin $(root)/lib/weir $(root)/lib/systemd/system $(root)/share/doc/weir/examples $(root)/share/weir/examples/lab \
		$(root)/share/bash-completion/completions $(foreach n,1 5 8,$(root)/share/man/man$(n))
	$(Q)install -m 755 $(programs:%=$(BUILD)/bin/%) $(root)/bin/
	$(Q)install -m 644 $(bpf_obj) $(root)/lib/weir/
	$(Q)$(if $(wildcard tools/lab.sh),install -m 755 tools/lab.sh $(root)/lib/weir/)
	$(Q)$(foreach m,$(man_pages),install -m 644 $(m) $(root)/share/man/man$(subst .,,$(suffix $(m)))/ &&) true
	$(Q)$(foreach u,$(units),sed 's|@PREFIX@|$(PREFIX)|g; s|/usr/local/bin/|$(PREFIX)/bin/|g' $(u) >$(root)/lib/systemd/system/$(notdir $(u)) &&) true
	$(Q)$(if $(wildcard tools/weir.bash),install -m 644 tools/weir.bash $(root)/share/bash-completion/completions/weir)
	$(Q)install -d $(root)/share/doc/weir/examples/datasets
	$(Q)install -m 644 $(examples) $(root)/share/doc/weir/examples/
	$(Q)install -m 644 $(datasets) $(root)/share/doc/weir/examples/datasets/
	$(Q)install -m 644 $(lab) $(root)/share/weir/examples/lab/
	$(Q)$(if $(player),install -d $(root)/share/weir/player && install -m 644 $(player) $(root)/share/weir/player/)

compile_commands.json: $(MAKEFILE_LIST)
	@$(MAKE) --no-print-directory -Bn CC='$(CC)' | awk -v d='$(CURDIR)' '/ -c [^ ]*\.c -o /{ \
		match($$0, / -c [^ ]*\.c/); f=substr($$0, RSTART+4, RLENGTH-4); sub(/^.*;/, ""); gsub(/["\\]/, "\\\\&"); \
		printf "%s{\"directory\":\"%s\",\"file\":\"%s\",\"command\":\"%s\"}", n++ ? ",\n" : "[\n", d, f, $$0 } \
		END { print "\n]" }' >$@

clean: ## remove build/
	$(Q)rm -rf build compile_commands.json

-include $(shell find build -name '*.d' 2>/dev/null)
