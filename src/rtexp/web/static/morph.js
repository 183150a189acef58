/* Makes one element like another without replacing what stays, so that focus, scroll positions, selections and open
   folds survive. What scripts have put into a page is marked `data-own`, and left alone. */

const OURS = new Set(["open", "hidden"]); // set by people and scripts, never changed by the server

/* Returns the element that stands there now; adds to `changed` every element whose own text is another. */
export function morph(from, to, changed = new Set()) {
  if (from.nodeName !== to.nodeName) {
    from.replaceWith(to);
    changed.add(to);
    return to;
  }
  if (from.hasAttribute("data-own")) return from;
  copyAttributes(from, to);
  copyChildren(from, to, changed);
  return from;
}

function copyAttributes(from, to) {
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !OURS.has(name)) from.removeAttribute(name);
  }
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value && !OURS.has(name)) from.setAttribute(name, value);
  }
}

function copyChildren(from, to, changed) {
  const keyed = new Map();
  for (const child of from.children) if (keyOf(child)) keyed.set(keyOf(child), child);
  const staying = new Set([...to.children].map(keyOf));
  let at = next(from.firstChild);
  for (const wanted of [...to.childNodes]) {
    const key = keyOf(wanted);
    // What goes makes room first: moving what stays around it would take its focus.
    while (at && keyOf(at) && !staying.has(keyOf(at))) at = without(at);
    let found = key ? keyed.get(key) : at;
    if (found && !key && (keyOf(found) || found.nodeName !== wanted.nodeName)) found = null;
    if (!found) {
      from.insertBefore(wanted, at);
      if (wanted.nodeType === Node.ELEMENT_NODE) changed.add(wanted);
      continue;
    }
    if (found === at) at = next(at.nextSibling);
    else from.insertBefore(found, at);
    if (found.nodeType === Node.ELEMENT_NODE) morph(found, wanted, changed);
    else if (found.nodeValue !== wanted.nodeValue) {
      if (found.nodeValue.trim() !== wanted.nodeValue.trim()) changed.add(from);
      found.nodeValue = wanted.nodeValue;
    }
  }
  while (at) at = without(at);
}

function without(node) {
  const after = next(node.nextSibling);
  node.remove();
  return after;
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.dataset?.live || node.id || null : null;
}

/* The first of a node and those behind it that isn't a script's own. */
function next(node) {
  let at = node;
  while (at?.nodeType === Node.ELEMENT_NODE && at.hasAttribute("data-own")) at = at.nextSibling;
  return at;
}
