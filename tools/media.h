/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media.h -- what `weir media add` goes through: a film is looked at (ffprobe), made into renditions in segments
 * (ffmpeg; media_encode.c), read back, hashed and described (media_pack.c), and sent (media_send.c).
 *
 * An asset is all objects BUCKET/NAME/…: master.m3u8, manifest.mpd and weir-media.json are short-lived and point into
 * BUCKET/NAME/vHASH/, whose objects never change (HASH is made of their digests): another film of the same name has
 * another folder, so that nobody gets pieces of both. Everything that fails here has said so on standard error.
 */
#ifndef WEIR_TOOLS_MEDIA_H
#define WEIR_TOOLS_MEDIA_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "tools/cmd.h"
#include "tools/web.h"

#define MEDIA_RUNGS_MAX	   8
#define MEDIA_TRACKS_MAX   (MEDIA_RUNGS_MAX + 1) /* and the sound alone */
#define MEDIA_SEGMENTS_MAX 20000 /* of a rendition */
#define MEDIA_LIST	  "weir-media.json"
#define MEDIA_MASTER	  "master.m3u8"
#define MEDIA_DASH	  "manifest.mpd"

/* ---- making ---- */
struct media_rung {
	char name[16];	    /* "720p": the shorter side */
	unsigned int lines; /* even */
	unsigned int kbps;  /* of the video, at most */
};
struct media_source {
	char path[4096]; /* absolute */
	unsigned int width, height;
	double duration, rate; /* s, frames/s */
	bool audio;
};
struct media_wish {
	struct media_rung rungs[MEDIA_TRACKS_MAX]; /* ascending */
	size_t nrungs;
	double segment_s;
	const char *preset; /* of libx264 */
	bool progress;	    /* on a terminal */
};
/* Takes the file's video: an error when it has none, or when it is no film at all. */
int media_look(struct media_source *out, const char *file);
/* "1080p,720p,360p@700k", NULL: three that are not larger than the source. */
int media_wish_parse(struct media_wish *wish, const char *renditions, const struct media_source *source);
/* Into the folder, which is there and empty: RUNG/index.m3u8, RUNG/init_N.mp4, RUNG/NNNNN.m4s, master.m3u8. */
int media_encode(const char *folder, const struct media_source *source, const struct media_wish *wish);
/* What was encoded with sound again as pictures and sound apart, for DASH, whose players take nothing else: copied, not
 * encoded. Into the folder's new folder "dash"; *apart is what to read there. */
int media_split(const char *folder, const struct media_wish *wish, struct media_wish *apart);
/* SIGINT, SIGTERM: then these and media_send() end soon, so that the folder can be removed. */
extern volatile bool media_stopped;

/* ---- reading back ---- */
struct media_piece {
	char uri[64];	 /* "720p/00017.m4s": below the version's folder; a file of that name below the encoder's */
	double duration; /* s */
	uint32_t bytes;
	char sha256[65];
};
struct media_track {
	char name[16], codecs[80];
	unsigned int width, height; /* 0: sound alone */
	unsigned int peak, average; /* bits/s of its segments */
	struct media_piece init, *segments;
	size_t nsegments;
};
struct media_pack {
	char folder[4096]; /* of the encoder */
	char version[32];  /* "v" and 16 hex digits; "/dash" follows for what media_split() made */
	struct media_track tracks[MEDIA_TRACKS_MAX]; /* ascending by bandwidth */
	size_t ntracks;
	double duration, rate;
	uint64_t bytes;
};
/* whole: for what media_split() made, that from which it was made; else NULL. */
int media_pack_read(struct media_pack *out, const char *folder, const struct media_wish *wish, const struct media_pack *whole);
void media_pack_free(struct media_pack *pack);
/* All malloc'ed texts, NULL without memory. */
char *media_pack_list(const struct media_pack *pack, const char *asset); /* what is signed: http/peers/media.h */
char *media_pack_master(const struct media_pack *pack);
char *media_pack_playlist(const struct media_pack *pack, size_t track);
char *media_pack_dash(const struct media_pack *pack);

/* ---- sending ---- */
struct media_file {
	char *key;	  /* BUCKET/KEY */
	const char *path; /* a file, or */
	const char *text; /* … what it holds */
	size_t len;
	bool fixed; /* its key says its content: what is there already is right */
};
struct media_sender;
int media_sender_open(struct media_sender **out, const struct web_place *place);
void media_sender_close(struct media_sender *s); /* accepts NULL */
/* All of them, several at once; total: bytes of all calls, for the bar (NULL: none). */
struct media_bar {
	uint64_t total, done;
};
int media_send(struct media_sender *s, const struct media_file *files, size_t n, struct media_bar *bar);
/* Deletes; what is not there is no failure. */
int media_delete(struct media_sender *s, char *const *keys, size_t n);
/* GET of a gateway's path, redirects followed: CMD_OK and malloc'ed text, or -ENOENT (nothing was said). */
int media_fetch(struct media_sender *s, const char *path, char **text, size_t *len);

/* ---- the command ---- */
struct media_cmd {
	const struct cmd *cmd;
	struct cmd_options opt;
	struct web_flags flags;
	const char *renditions, *segment, *preset;
	bool public, dash;
	struct web *web;
	struct web_place place;
	struct media_sender *sender;
	char asset[192], *name; /* BUCKET/NAME; NAME */
};
struct media_keys {
	char **key; /* BUCKET/KEY */
	size_t n;
	uint64_t bytes;
};
int media_open_web(struct media_cmd *m); /* web, place, sender */
int media_keys_list(struct media_cmd *m, struct media_keys *out); /* all objects of the asset */
void media_keys_free(struct media_keys *k);
int media_add(struct media_cmd *m, const char *file);

/* "\r[====    ]  37%  …" on standard error. */
void media_draw(double share, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
