// SPDX-License-Identifier: Apache-2.0
// Tables for s3_tables.py. node s3_tables.mjs make FOLDER ROWS: table.parquet and table.csv by DuckDB, and prints what it has
// of them; duck FOLDER: the same sums of the files in FOLDER; http URL: of URL/table.parquet by ranges over HTTP.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const modules = process.env.NODE_MODULES
const require = createRequire(modules + '/')
const [what, where, rows] = process.argv.slice(2)
const sums = 'SELECT count(*)::INT n, sum(id)::DOUBLE ids, sum(price)::DOUBLE prices, count(DISTINCT name)::INT "names" FROM '

async function duck() {
	const { DuckDBInstance } = require('@duckdb/node-api')
	return (await DuckDBInstance.create(':memory:')).connect()
}

async function ask(db, query) {
	return (await db.runAndReadAll(query)).getRowObjects()[0]
}

if (what === 'make') {
	const db = await duck()
	await db.run(`CREATE TABLE t AS SELECT i AS id, 'name ' || (i % 1000) AS name, (i % 977) / 4.0 AS price FROM range(${rows}) r(i)`)
	await db.run(`COPY t TO '${where}/table.parquet' (FORMAT parquet, ROW_GROUP_SIZE 20000)`)
	await db.run(`COPY t TO '${where}/table.csv'`)
	console.log(JSON.stringify(await ask(db, sums + 't')))
} else if (what === 'duck') {
	const db = await duck()
	console.log(JSON.stringify(await ask(db, `${sums} '${where}/table.parquet'`)))
	console.log(JSON.stringify(await ask(db, `${sums} '${where}/table.csv'`)))
} else {
	const { asyncBufferFromUrl, parquetMetadataAsync, parquetReadObjects } = await import(pathToFileURL(`${modules}/node_modules/hyparquet/src/node.js`))
	let asked = 0
	const counting = (...args) => { asked++; return fetch(...args) }
	const file = await asyncBufferFromUrl({ url: `${where}/table.parquet`, fetch: counting })
	const meta = await parquetMetadataAsync(file)
	const part = await parquetReadObjects({ file, metadata: meta, columns: ['id', 'name', 'price'] })
	const sum = f => part.reduce((a, r) => a + Number(f(r)), 0)
	console.log(JSON.stringify({ n: part.length, ids: sum(r => r.id), prices: sum(r => r.price), names: new Set(part.map(r => r.name)).size }))
	console.log(JSON.stringify({ bytes: file.byteLength, asked }))
}
