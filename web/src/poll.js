// Asks again and again: soon while things change, ever more rarely while they do not, never while hidden.
import { onUnmounted } from 'vue';

const SOON = 1500;
const BUSY = 10_000;
const IDLE = 60_000;
const GROWTH = 1.6;

/**
 * Calls `ask` until the component ends. It gives `{ changed, busy }`: whether there was news, and whether
 * news are to be expected. What it throws goes to `failed`, and it is asked again, more rarely.
 */
export function usePolling(ask, failed) {
  let delay = SOON;
  let timer = null;
  let asking = false;
  let again = false;
  let ended = false;

  async function turn() {
    timer = null;
    again = asking;
    if (asking || ended || document.hidden) return;
    asking = true;
    try {
      const { changed, busy } = await ask();
      failed(null);
      delay = changed ? SOON : Math.min(delay * GROWTH, busy ? BUSY : IDLE);
    } catch (error) {
      failed(error);
      delay = Math.min(delay * 2, IDLE);
    }
    asking = false;
    if (!ended) timer = window.setTimeout(turn, again ? 0 : delay);
  }

  function now() {
    window.clearTimeout(timer);
    delay = SOON;
    turn();
  }

  function shown() {
    if (!document.hidden) now();
  }

  document.addEventListener('visibilitychange', shown);
  onUnmounted(() => {
    ended = true;
    window.clearTimeout(timer);
    document.removeEventListener('visibilitychange', shown);
  });
  turn();
  return { now };
}
