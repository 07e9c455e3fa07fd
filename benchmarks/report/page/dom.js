"use strict";

/* Elements from values; whatever comes from a run is text. */
const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};

const number = (value, digits = 3) => {
  if (value === null || value === undefined) return "–";
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
};

const arrow = (better) => ({ higher: " ↑", lower: " ↓" })[better] ?? "";

const checkbox = (words, checked, then) => {
  const box = element("input", { type: "checkbox", checked });
  box.addEventListener("change", () => then(box.checked));
  return element("label", {}, box, ` ${words}`);
};

/* Order by a number; what has none comes last. */
const sorted = (items, value, highFirst) =>
  [...items].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === null || b === null) return (a === null) - (b === null);
    return highFirst ? b - a : a - b;
  });

/* Put options into a select, and choose the one that says the same as before. */
const fill = (select, options, before) => {
  const made = options.map(([value, words]) => element("option", { value }, words));
  select.replaceChildren(...made);
  const same = made.find((option) => option.textContent === before);
  if (same) same.selected = true;
};

/* Scroll a list to one of its elements, and not the page. */
const reveal = (list, child) => {
  const left = child.offsetLeft - list.offsetLeft;
  const top = child.offsetTop - list.offsetTop;
  if (left < list.scrollLeft || left + child.offsetWidth > list.scrollLeft + list.clientWidth) {
    list.scrollLeft = left - (list.clientWidth - child.offsetWidth) / 2;
  }
  if (top < list.scrollTop || top + child.offsetHeight > list.scrollTop + list.clientHeight) {
    list.scrollTop = top - (list.clientHeight - child.offsetHeight) / 2;
  }
};
