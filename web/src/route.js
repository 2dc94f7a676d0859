// Where the visitor is: `#/view/id`, so that links, reloading and the back button work.
import { reactive } from 'vue';

export const route = reactive({ view: '', id: null });

export function link(view, id) {
  return id === undefined ? `#/${view}` : `#/${view}/${encodeURIComponent(id)}`;
}

export function go(view, id) {
  window.location.hash = link(view, id);
}

function read() {
  const [view = '', id] = window.location.hash.replace(/^#\/?/, '').split('/');
  route.view = view;
  try {
    route.id = id ? decodeURIComponent(id) : null;
  } catch {
    route.id = id;
  }
}

window.addEventListener('hashchange', read);
read();
