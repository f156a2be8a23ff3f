// Elements from plain descriptions. In: a tag, properties, children. Out: the element. Text is always text, never markup.

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [properties]  `class`, `on<event>` functions, `aria-*`/`data-*`/other attributes;
 *   true makes an empty attribute; false, null and undefined leave it out
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * A button that shows an icon and says its name to everyone who cannot see it.
 * @param {string} name
 * @param {SVGElement} icon
 * @param {Record<string, any>} properties
 */
export function iconButton(name, icon, properties = {}) {
  return h('button', { type: 'button', 'aria-label': name, 'data-tip': name, ...properties }, icon);
}
