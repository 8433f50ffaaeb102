// SPDX-License-Identifier: Apache-2.0
// duckdb_summarize.mjs FILE [QUERY]: DuckDB's `summarize` of a CSV file on one thread; prints JSON
// {"cpu_s","rows","summary"}: CPU seconds of this process for the query alone.
import { DuckDBInstance } from '@duckdb/node-api';

const [file, query] = process.argv.slice(2);
const db = await DuckDBInstance.create(':memory:', { threads: '1' });
const connection = await db.connect();
await connection.run('set threads = 1');
const before = process.cpuUsage();
const source = `read_csv('${file.replaceAll("'", "''")}')`;
const reader = await connection.runAndReadAll(query ? query.replaceAll('FILE', source) : `summarize select * from ${source}`);
const used = process.cpuUsage(before);
const summary = reader.getRowObjectsJson();
console.log(JSON.stringify({ cpu_s: (used.user + used.system) / 1e6, summary }));
