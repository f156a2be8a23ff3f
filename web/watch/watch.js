// The page that shows a stream. In: /api/live.mp4 and /health. Out: the picture, and under it what the avatar does and
// who receives it. After a break it begins anew, for ever.

import { Api } from '../api.js';
import { showFacts } from './facts.js';
import { play } from './player.js';

const RETRY_MS = 1000;

const video = /** @type {HTMLVideoElement} */ (document.querySelector('#video'));
const notice = /** @type {HTMLElement} */ (document.querySelector('#notice'));
const sound = /** @type {HTMLButtonElement} */ (document.querySelector('#sound'));
const api = new Api(new URL('/', location.href));

/** @param {string} text  '' hides it */
function tell(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

async function watch() {
  const headers = api.token ? { Authorization: `Bearer ${api.token}` } : {};
  const response = await fetch('/api/live.mp4', { headers });
  if (!response.ok) throw new Error((await response.json()).error?.message ?? response.statusText);
  await play(video, response, () => tell(''));
}

api.adoptTokenFromAddress();
sound.addEventListener('click', () => {
  video.muted = false;
  sound.hidden = true;
});
showFacts({
  state: /** @type {HTMLElement} */ (document.querySelector('#state')),
  message: /** @type {HTMLElement} */ (document.querySelector('#message')),
  targets: /** @type {HTMLElement} */ (document.querySelector('#targets')),
});
for (;;) {
  try {
    await watch();
  } catch (error) {
    tell(error instanceof Error ? error.message : String(error));
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
