// SPDX-License-Identifier: Apache-2.0
/*
 * quic_peer.mjs -- a QUIC server whose connection IDs are QUIC-LB's, and a client (npm: @matrixai/quic).
 *
 *	quic_peer.mjs serve ADDRESS PORT CONFIG SERVER-ID(hex) NAME KEY CERT [ID-KEY(hex)]	prints "ready"; answers each stream with NAME
 *	quic_peer.mjs ask ADDRESS PORT	for each line of standard input: a stream, its answer as a line
 */
import { createCipheriv, createHmac, randomFillSync, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const load = (name) => import(`${process.env.NODE_MODULES}/node_modules/${name}/dist/index.js`);
const { QUICServer, QUICClient, events } = await load("@matrixai/quic");
const { default: Logger, LogLevel } = await load("@matrixai/logger");
const logger = new Logger("quic", LogLevel.SILENT);
const [what, address, port, config, id, name, key, cert, idKey] = process.argv.slice(2);

/* QUIC-LB's four passes over 19 bytes (draft-ietf-quic-load-balancers-21 section 5.4.2): ten are each half's, and half of the
 * byte in the middle. */
function encrypted(plain) {
	const left = Buffer.from(plain.subarray(0, 10)), right = Buffer.from(plain.subarray(9));
	const pass = (to, from, n) => {
		const block = Buffer.alloc(16);
		from.copy(block);
		block.set([plain.length, n], 14);
		const aes = createCipheriv("aes-128-ecb", Buffer.from(idKey, "hex"), null).setAutoPadding(false).update(block);
		for (let i = 0; i < 10; i++) to[i] ^= aes[i];
		left[9] &= 0xf0;
		right[0] &= 0x0f;
	};
	left[9] &= 0xf0;
	right[0] &= 0x0f;
	pass(right, left, 1);
	pass(left, right, 2);
	pass(right, left, 3);
	pass(left, right, 4);
	return Buffer.concat([left.subarray(0, 9), Buffer.from([left[9] | right[0]]), right.subarray(1)]);
}

/* 20 bytes: configuration and length less one, server ID, and what looks like a nonce. */
function routable(secret, data) {
	const server = Buffer.from(id, "hex");
	const nonce = createHmac("sha256", Buffer.from(secret)).update(Buffer.from(data)).digest().subarray(0, 19 - server.length);
	const out = new Uint8Array(20);
	const both = Buffer.concat([server, nonce]);
	out.set([(Number(config) << 5) | 19, ...(idKey ? encrypted(both) : both)]);
	return out.buffer;
}

async function answer(stream) {
	for await (const ignored of stream.readable);
	const writer = stream.writable.getWriter();
	await writer.write(Buffer.from(name));
	await writer.close();
}

async function serve() {
	const server = new QUICServer({
		crypto: {
			key: new Uint8Array(32).buffer,
			ops: {
				sign: async (secret, data) => routable(secret, data),
				verify: async (secret, data, mac) => mac.byteLength === 20 &&
					timingSafeEqual(Buffer.from(routable(secret, data)), Buffer.from(mac)),
			},
		},
		config: { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8"), verifyPeer: false, disableActiveMigration: false },
		logger,
	});
	server.addEventListener(events.EventQUICServerConnection.name, (e) =>
		e.detail.addEventListener(events.EventQUICConnectionStream.name, (s) => answer(s.detail).catch(() => {})));
	await server.start({ host: address, port: Number(port) });
	console.log("ready");
}

async function ask() {
	const client = await QUICClient.createQUICClient({
		host: address, port: Number(port), logger,
		crypto: { ops: { randomBytes: async (data) => { randomFillSync(new Uint8Array(data)); } } },
		config: { verifyPeer: false, disableActiveMigration: false, maxIdleTimeout: 20000 },
	}, { timer: 8000 });
	for await (const line of createInterface({ input: process.stdin })) {
		const stream = client.connection.newStream();
		const writer = stream.writable.getWriter();
		await writer.write(Buffer.from(line));
		await writer.close();
		let got = "";
		for await (const part of stream.readable) got += Buffer.from(part).toString();
		console.log(got);
	}
	process.exit(0);
}

await (what === "serve" ? serve() : ask());
