// SPDX-License-Identifier: Apache-2.0
// upload_tusjs.mjs: uploads one file by tus-js-client, and says how it goes as lines of JSON. argv[2]: {"endpoint", "token",
// "file", "metadata", "storage": file of the URLs to go on from, "options": of tus.Upload, "stream": the length is not
// known, "pause": milliseconds before each request, "abort": bytes after which the upload is terminated}.
import { createRequire } from 'node:module';
import fs from 'node:fs';
import { PassThrough } from 'node:stream';

const tus = createRequire(`${process.env.UPLOAD_NPM}/`)('tus-js-client');
const job = JSON.parse(process.argv[2]);
const say = value => fs.writeSync(1, `${JSON.stringify(value)}\n`);
let ended = false;

const bytes = fs.createReadStream(job.file);
const upload = new tus.Upload(job.stream ? bytes.pipe(new PassThrough()) : bytes, {
  endpoint: job.endpoint,
  headers: { Authorization: `Bearer ${job.token}` },
  metadata: job.metadata,
  ...(job.storage ? { urlStorage: new tus.FileUrlStorage(job.storage) } : {}),
  retryDelays: [100, 200, 400, 800, 1600, 3200],
  ...(job.stream ? { uploadLengthDeferred: true } : {}),
  ...job.options,
  onBeforeRequest: async request => {
    await new Promise(resolve => setTimeout(resolve, job.pause ?? 0));
    say({ request: request.getMethod(), url: request.getURL(), offset: request.getHeader('Upload-Offset') ?? null });
  },
  onAfterResponse: (request, response) => say({ answer: response.getStatus(), to: request.getMethod() }),
  onUploadUrlAvailable: () => say({ at: upload.url }),
  onChunkComplete: async (size, sent, total) => {
    say({ sent, total });
    if (job.abort && sent >= job.abort && !ended) {
      ended = true;
      await upload.abort(true);
      say({ aborted: upload.url });
    }
  },
  onError: error => {
    say({ error: String(error) });
    process.exitCode = 1;
  },
  onSuccess: () => say({ done: upload.url }),
});

const former = job.storage ? await upload.findPreviousUploads() : [];
if (former.length) {
  say({ former: former[0].uploadUrl ?? former[0].parallelUploadUrls });
  upload.resumeFromPreviousUpload(former[0]);
}
upload.start();
