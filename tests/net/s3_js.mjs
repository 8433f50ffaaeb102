// SPDX-License-Identifier: Apache-2.0
// @aws-sdk/client-s3 against a server: run by s3_js.py as: node s3_js.mjs URL HOSTED-URL KEYS.json. Prints TAP lines without
// numbers ("ok WHAT", "not ok WHAT"); KEYS.json: the odd keys to try.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Readable } from 'node:stream'

const require = createRequire(process.env.NODE_MODULES + '/')
const sdk = require('@aws-sdk/client-s3')
const { Upload } = require('@aws-sdk/lib-storage')
const { getSignedUrl } = require('@aws-sdk/s3-request-presigner')

const [url, hosted, keysFile] = process.argv.slice(2)
const Bucket = 'javascript'
const options = { endpoint: url, region: 'us-east-1', forcePathStyle: true, maxAttempts: 1,
	credentials: { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY } }
const s3 = new sdk.S3Client(options)
const send = (name, input = {}, client = s3) => client.send(new sdk[name + 'Command']({ Bucket, ...input }))
const md5 = body => createHash('md5').update(body).digest('hex')
const bytes = (size, seed = 0) => createHash('shake128', { outputLength: size }).update(`${size} ${seed}`).digest()
const read = async answer => Buffer.from(await answer.Body.transformToByteArray())

function check(good, what, said = '') {
	console.log(`${good ? 'ok' : 'not ok'} ${what}`)
	if (!good) console.log(`# ${String(said?.stack ?? JSON.stringify(said)).slice(0, 1500).replaceAll('\n', '\n# ')}`)
}

// The error must be of that name and status.
async function refused(name, status, promise, what) {
	try {
		check(false, what, await promise)
	} catch (e) {
		check(e.name === name && e.$metadata?.httpStatusCode === status, what, e)
	}
}

async function attempt(what, work) {
	try {
		await work()
	} catch (e) {
		check(false, what, e)
	}
}

async function objects() {
	const body = bytes(100000)
	let got = await send('PutObject', { Key: 'buffer', Body: body, ContentType: 'text/x-one', Metadata: { color: 'blue' } })
	check(got.ETag === `"${md5(body)}"` && got.ChecksumCRC32, 'PutObject with the CRC32 that the SDK adds', got)
	got = await send('GetObject', { Key: 'buffer', ChecksumMode: 'ENABLED' })
	check((await read(got)).equals(body) && got.ContentType === 'text/x-one' && got.Metadata.color === 'blue' && got.ChecksumCRC32,
		'GetObject: bytes, type, metadata, and the SDK compares the checksum')
	got = await send('GetObject', { Key: 'buffer', Range: 'bytes=1000-1999' })
	check((await read(got)).equals(body.subarray(1000, 2000)) && got.ContentRange === 'bytes 1000-1999/100000', 'a range')
	got = await send('HeadObject', { Key: 'buffer' })
	check(got.ContentLength === 100000, 'HeadObject')
	await refused('NoSuchKey', 404, send('GetObject', { Key: 'none' }), 'what is not there: NoSuchKey')
	await refused('NotFound', 404, send('HeadObject', { Key: 'none' }), 'HeadObject of it: NotFound')
	await refused('PreconditionFailed', 412, send('PutObject', { Key: 'buffer', Body: 'x', IfNoneMatch: '*' }), 'If-None-Match of a PUT')
	await send('CopyObject', { Key: 'copy', CopySource: `${Bucket}/buffer` })
	check((await read(await send('GetObject', { Key: 'copy' }))).equals(body), 'CopyObject')
}

async function trailers() {
	for (const ChecksumAlgorithm of ['CRC32', 'CRC32C', 'SHA1', 'SHA256', 'CRC64NVME']) {
		await attempt(`a stream with a trailer of ${ChecksumAlgorithm}`, async () => {
			const body = bytes(300000, 3), pieces = []
			for (let at = 0; at < body.length; at += 70000) pieces.push(body.subarray(at, at + 70000))
			const got = await send('PutObject', { Key: `stream-${ChecksumAlgorithm}`, Body: Readable.from(pieces), ContentLength: body.length,
				ChecksumAlgorithm })
			check(got[`Checksum${ChecksumAlgorithm}`] && got.ETag === `"${md5(body)}"`, `a stream with a trailer of ${ChecksumAlgorithm}`, got)
			const back = await send('GetObject', { Key: `stream-${ChecksumAlgorithm}`, ChecksumMode: 'ENABLED' })
			check((await read(back)).equals(body) && back[`Checksum${ChecksumAlgorithm}`] === got[`Checksum${ChecksumAlgorithm}`] &&
				!back.ContentEncoding, 'comes back, with the checksum and without aws-chunked', back.ContentEncoding)
		})
	}
}

async function oddKeys() {
	const keys = JSON.parse(readFileSync(keysFile)), found = []
	const wanted = keys.map(k => Buffer.byteLength(k) > 900 ? k : `odd/${k}`), failed = []
	const eight = async list => Promise.all(Array.from({ length: 8 }, async () => {
		for (let next; (next = list.pop());) await next().catch(e => failed.push(e))
	}))
	await eight(wanted.map((Key, i) => () => send('PutObject', { Key, Body: `body ${i}` })))
	check(!failed.length, `${keys.length} odd keys are put`, failed[0])
	for await (const page of sdk.paginateListObjectsV2({ client: s3, pageSize: 37 }, { Bucket, EncodingType: 'url' })) {
		for (const entry of page.Contents ?? []) found.push(decodeURIComponent(entry.Key.replaceAll('+', ' ')))
	}
	const lost = wanted.filter(k => !found.includes(k))
	check(!lost.length, 'all are listed, by pages of 37', lost)
	const sorted = [...found].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
	check(JSON.stringify(found) === JSON.stringify(sorted), 'in the order of their bytes')
	const other = []
	await eight(wanted.map((Key, i) => async () => {
		const text = await (await send('GetObject', { Key })).Body.transformToString()
		if (text !== `body ${i}`) other.push([Key, text])
	}))
	check(!other.length && failed.length === 0, 'each comes back with its own bytes', other[0] ?? failed[0])
	const doomed = wanted.map(Key => ({ Key }))
	const got = await send('DeleteObjects', { Delete: { Objects: doomed } })
	check(got.Deleted?.length === doomed.length && !got.Errors, 'DeleteObjects of all', got.Errors)
}

async function parts() {
	const piece = bytes(1 << 20, 7), last = bytes(1 << 20, 8), all = createHash('md5')
	const source = Readable.from((function* () {
		for (let i = 0; i < 64; i++) { const p = i < 63 ? piece : last; all.update(p); yield p }
	})())
	const got = await new Upload({ client: s3, params: { Bucket, Key: 'big', Body: source }, partSize: 8 << 20, queueSize: 4 }).done()
	check(/^"[0-9a-f]{32}-8"$/.test(got.ETag), 'a stream of 64 MiB in parts', got)
	const back = await send('GetObject', { Key: 'big' })
	const seen = createHash('md5')
	let size = 0
	for await (const chunk of back.Body) { seen.update(chunk); size += chunk.length }
	check(size === 64 << 20 && seen.digest('hex') === all.digest('hex'), 'comes back with the same bytes', size)
	const { UploadId } = await send('CreateMultipartUpload', { Key: 'copied' })
	const halves = []
	for (const [i, CopySourceRange] of [[1, `bytes=0-${(32 << 20) - 1}`], [2, `bytes=${32 << 20}-${(64 << 20) - 1}`]]) {
		const part = await send('UploadPartCopy', { Key: 'copied', UploadId, PartNumber: i, CopySource: `${Bucket}/big`, CopySourceRange })
		halves.push({ PartNumber: i, ETag: part.CopyPartResult.ETag })
	}
	await send('CompleteMultipartUpload', { Key: 'copied', UploadId, MultipartUpload: { Parts: halves } })
	const again = createHash('md5')
	for await (const chunk of (await send('GetObject', { Key: 'copied' })).Body) again.update(chunk)
	check(again.digest('hex') === md5(Buffer.concat([...Array(63).fill(piece), last])), 'parts by copying, and the same bytes')
	const left = await send('CreateMultipartUpload', { Key: 'left' })
	await send('AbortMultipartUpload', { Key: 'left', UploadId: left.UploadId })
	await refused('NoSuchUpload', 404, send('ListParts', { Key: 'left', UploadId: left.UploadId }), 'an upload that was aborted: NoSuchUpload')
}

async function presigned() {
	let link = await getSignedUrl(s3, new sdk.PutObjectCommand({ Bucket, Key: 'signed' }), { expiresIn: 60 })
	let got = await fetch(link, { method: 'PUT', body: 'by a link' })
	check(got.status === 200, 'a presigned PUT', await got.text())
	link = await getSignedUrl(s3, new sdk.GetObjectCommand({ Bucket, Key: 'signed' }), { expiresIn: 60 })
	got = await fetch(link)
	check(await got.text() === 'by a link', 'a presigned GET')
	got = await fetch(link.replace('/signed?', '/other?'))
	check(got.status === 403 && (await got.text()).includes('SignatureDoesNotMatch'), 'for another key it is refused')
}

async function virtualHost() {
	const client = new sdk.S3Client({ ...options, endpoint: hosted, forcePathStyle: false })
	await send('PutObject', { Key: 'hosted/a b', Body: 'by its host' }, client)
	check(await (await send('GetObject', { Key: 'hosted/a b' })).Body.transformToString() === 'by its host', 'virtual-host style: PutObject')
	const got = await send('ListObjectsV2', { Prefix: 'hosted/' }, client)
	check(got.Contents?.[0]?.Key === 'hosted/a b', 'virtual-host style: ListObjectsV2', got)
}

async function removal() {
	for await (const page of sdk.paginateListObjectsV2({ client: s3 }, { Bucket })) {
		if (page.Contents) await send('DeleteObjects', { Delete: { Objects: page.Contents.map(({ Key }) => ({ Key })), Quiet: true } })
	}
	await send('DeleteBucket')
	await refused('NotFound', 404, send('HeadBucket'), 'the bucket is gone')
}

await send('CreateBucket')
await refused('BucketAlreadyOwnedByYou', 409, send('CreateBucket'), 'CreateBucket again: BucketAlreadyOwnedByYou')
for (const part of [objects, trailers, oddKeys, parts, presigned, virtualHost, removal]) {
	const begun = Date.now()
	await attempt(part.name, part)
	console.log(`# ${part.name}: ${((Date.now() - begun) / 1000).toFixed(1)} s`)
}
