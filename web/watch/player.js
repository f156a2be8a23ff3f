// Plays a live fragmented MP4 close to its live edge. In: the response of /api/live.mp4. Out: what the <video> element
// shows, until the stream ends or the element cannot go on. The buffer is kept short, for days.

const BEHIND_S = 1.5; // further behind than this, jump
const EDGE_S = 0.35;
const KEEP_S = 10;

/**
 * @param {HTMLVideoElement} video
 * @param {Response} response
 * @param {() => void} shown  called whenever something more can be shown
 * @returns {Promise<never>}  rejects with the reason why it ended
 */
export async function play(video, response, shown) {
  const type = response.headers.get('Content-Type') ?? '';
  if (!response.body || !window.MediaSource?.isTypeSupported(type)) {
    throw new Error(`This browser does not play ${type}.`);
  }
  const reader = response.body.getReader();
  try {
    const source = new MediaSource();
    video.src = URL.createObjectURL(source);
    await once(source, 'sourceopen');
    URL.revokeObjectURL(video.src);
    const buffer = source.addSourceBuffer(type);
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Error('The stream has ended.');
      buffer.appendBuffer(value);
      await once(buffer, 'updateend');
      shown();
      await follow(video, buffer);
    }
  } finally {
    // Else the server would go on sending to nobody.
    reader.cancel().catch(() => {});
  }
}

/**
 * Stay near the newest picture, and forget what was shown long ago.
 * @param {HTMLVideoElement} video
 * @param {SourceBuffer} buffer
 */
async function follow(video, buffer) {
  if (!buffer.buffered.length) return;
  const edge = buffer.buffered.end(buffer.buffered.length - 1);
  if (edge - video.currentTime > BEHIND_S) video.currentTime = edge - EDGE_S;
  if (video.paused) video.play().catch(() => {}); // a browser may want a click first
  const start = buffer.buffered.start(0);
  if (edge - start > 2 * KEEP_S) {
    buffer.remove(start, edge - KEEP_S);
    await once(buffer, 'updateend');
  }
}

/**
 * @param {EventTarget} target
 * @param {string} event
 * @returns {Promise<Event>}
 */
function once(target, event) {
  return new Promise((resolve) => target.addEventListener(event, resolve, { once: true }));
}
