// SPDX-License-Identifier: Apache-2.0
// What this page sends: uploads go on while other pages are looked at, one after another; and the place to drop files.
import { h, announce, bytes, percent } from './dom.js';
import { Upload } from './tus.js';

const queue = []; // every upload since the page was loaded
const contents = new Map(); // upload's id → its bytes, for mending: a File, or a Blob of pieces of one
let moving = null;

export const byId = id => queue.find(u => u.id === id);
export const content = id => contents.get(id) ?? byId(id)?.file;
export const remember = (id, blob) => contents.set(id, blob);
export const anyActive = () => queue.some(u => u.active || u.state === 'new');
export const under = () => queue.filter(u => u.active || u.state === 'new' || u.state === 'paused');
export const onMoving = call => { moving = call; };

function tell() {
  const going = queue.filter(u => u.active);
  const sent = going.reduce((n, u) => n + u.shown, 0), size = going.reduce((n, u) => n + u.size, 0);
  moving?.(going.length ? `sending ${percent(sent, size)}` : '');
}

async function next() {
  if (queue.some(u => u.active)) return;
  const one = queue.find(u => u.state === 'new');
  if (!one) return;
  await one.run();
  next();
}

function enqueue(u) {
  u.addEventListener('change', tell);
  queue.push(u);
  return u;
}

// Resolves with the first one's Upload as soon as it has an id, or has ended without.
export function send(dataset, files, name) {
  const all = [...files].map(file => enqueue(new Upload({ dataset, file, name: name ?? file.name })));
  next();
  return new Promise(resolve => {
    const [first] = all;
    const look = () => {
      if (!first.id && first.state !== 'ended') return;
      first.removeEventListener('change', look);
      resolve(first);
    };
    first.addEventListener('change', look);
    look();
  });
}

// Goes on with an upload that was begun before the page was loaded; the file was picked once more.
export function resume({ id, dataset, name, size, file }) {
  const known = byId(id);
  if (known) { // paused, or lost
    known.file ??= file;
    known.run().then(next);
    return known;
  }
  const u = enqueue(new Upload({ id, dataset, name, size, file }));
  u.run().then(next);
  return u;
}

// A box that takes files by drag and drop and by the browser's own picker.
export function dropZone({ label, note, multiple, onfiles }) {
  const input = h('input', { type: 'file', multiple, id: 'pick', 'aria-describedby': 'pick-note' });
  const box = h('div', { class: 'drop' },
    h('label', { for: 'pick' }, label), input, h('p', { class: 'note', id: 'pick-note' }, note));
  const take = files => {
    if (!files.length) return;
    announce(`${files.length === 1 ? files[0].name : `${files.length} files`}, ${bytes([...files].reduce((n, f) => n + f.size, 0))}`);
    onfiles([...files]);
  };
  let inside = 0;
  const stop = e => { e.preventDefault(); e.stopPropagation(); };
  box.addEventListener('dragenter', e => { stop(e); inside++; box.classList.add('over'); });
  box.addEventListener('dragover', e => { stop(e); e.dataTransfer.dropEffect = 'copy'; });
  box.addEventListener('dragleave', e => { stop(e); if (--inside <= 0) box.classList.remove('over'); });
  box.addEventListener('drop', e => { stop(e); inside = 0; box.classList.remove('over'); take(e.dataTransfer.files); });
  input.addEventListener('change', () => { const files = [...input.files]; input.value = ''; take(files); });
  return box;
}

// A file dropped beside the box would be opened by the browser, and end the page.
for (const name of ['dragover', 'drop']) addEventListener(name, e => { if (e.dataTransfer?.types.includes('Files')) e.preventDefault(); });
