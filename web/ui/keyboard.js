// The shortcuts. In: key presses on one target. Out: calls to the client. Enter in the message box is the box's own.

/** Shown on the page. @type {[string, string][]} */
export const SHORTCUTS = [
  ['Enter', 'Send the message'],
  ['Shift + Enter', 'New line in the message'],
  ['Escape', 'Interrupt the avatar'],
  ['M', 'Mute or unmute the microphone'],
];

/**
 * @param {EventTarget} target
 * @param {import('../client.js').AvatarClient} client
 * @returns {() => void} removes them
 */
export function bindKeyboard(target, client) {
  /** @param {Event} event */
  const onKey = (event) => {
    const press = /** @type {KeyboardEvent} */ (event);
    if (press.defaultPrevented || client.connection.phase !== 'connected') return;
    if (press.ctrlKey || press.metaKey || press.altKey || press.isComposing) return;
    const canMute = client.microphone.status === 'on' && !press.repeat && !inTextField(press);
    if (press.key === 'Escape') client.interrupt();
    else if (press.key.toLowerCase() === 'm' && canMute) client.setMuted(!client.microphone.muted);
    else return;
    press.preventDefault(); // and so a listener further out does not do it again
  };
  target.addEventListener('keydown', onKey);
  return () => target.removeEventListener('keydown', onKey);
}

/** @param {KeyboardEvent} event */
function inTextField(event) {
  const [origin] = event.composedPath(); // through shadow roots
  return origin instanceof Element && origin.matches('input, textarea, select, [contenteditable]');
}
