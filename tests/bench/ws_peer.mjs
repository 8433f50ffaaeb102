// SPDX-License-Identifier: Apache-2.0
// The WebSocket tracker of npm's bittorrent-tracker: node ws_peer.mjs FOLDER-WITH-node_modules [PORT]. Prints "PORT PID"
// once it listens; on each line that it reads, its RssAnon in KiB. Ends with its input.
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const [folder, port] = process.argv.slice(2)
// server.js alone: the client beside it wants a native module
const file = join(resolve(folder), 'node_modules/bittorrent-tracker/server.js')
const { default: Server } = await import(pathToFileURL(file))

const server = new Server({ http: false, udp: false, ws: true, stats: false })
server.on('error', error => { console.error(String(error)); process.exit(1) })
server.on('warning', () => {})
server.listen(Number(port ?? 0), '127.0.0.1', () => console.log(server.ws.address().port, process.pid))
createInterface({ input: process.stdin }).on('line', () => {
  console.log(readFileSync('/proc/self/status', 'utf8').match(/RssAnon:\s+(\d+)/)[1])
}).on('close', () => process.exit(0))
