// What everybody may see of the server, asked for once.
import { reactive } from 'vue';
import { client } from './session.js';

function list(ask) {
  let asked = null;
  const kept = reactive({
    list: [],
    loaded: false,
    load() {
      asked ??= ask().then((found) => {
        kept.list = found;
        kept.loaded = true;
      }).catch((error) => {
        asked = null;
        throw error;
      });
      return asked;
    },
  });
  return kept;
}

export const collections = list(async () => (await client().listCollections()).collections);
export const processes = list(async () => (await client().paginateProcesses(null, null).nextPage([], false)).processes);

let measured = null;

/** The codecs, and what was measured of them. */
export function codecs() {
  measured ??= fetch('page/codecs.json', { headers: { Accept: 'application/json' } }).then((response) => {
    if (!response.ok) throw new Error(`The server answered ${response.status}.`);
    return response.json();
  }).catch((error) => {
    measured = null;
    throw error;
  });
  return measured;
}
