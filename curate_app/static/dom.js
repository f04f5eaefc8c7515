// Two helpers for all views.
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// What `use` of the browser's storage gives; `otherwise` where the browser forbids it.
export function stored(use, otherwise = null) {
  try {
    return use();
  } catch {
    return otherwise;
  }
}
