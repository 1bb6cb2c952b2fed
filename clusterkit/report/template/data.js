"use strict";
// The data of the page: image i of the table is at index i everywhere.

const NOISE = -1;
const NOWHERE = 65535;

/** Return the bytes of base64 as an array of numbers of a type. */
function numbers(Type, code) {
  const text = atob(code);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Type(bytes.buffer);
}

const Data = (() => {
  const given = JSON.parse(document.getElementById("data").textContent);

  const n = given.paths.length;
  const near = given.neighbors;
  const seen = given.inspection;
  const data = {
    key: given.key,
    table: given.table,
    isClustered: given.clustered,
    n,
    paths: given.paths,
    links: given.links,
    // Eight letters for each image, which another version of the page has, too.
    images: given.images,
    clusters: numbers(Float64Array, given.clusters),
    packedClusters: given.clusters,
    distances: numbers(Float64Array, given.distances),
    exemplars: new Set(given.exemplars),
    order: numbers(Uint32Array, given.order),
    names: new Map(Object.entries(given.names).map(([number, name]) => [Number(number), name])),
    kept: new Set(given.kept),
    next: given.next,
    missing: new Set(given.missing),
    colors: given.colors,
    layouts: given.layouts.map((one) => ({ ...one, places: numbers(Uint16Array, one.places) })),
    neighbors: {
      count: near.count,
      exact: near.exact,
      rows: numbers(n > 65000 ? Uint32Array : Uint16Array, near.rows),
      similarities: numbers(Int16Array, near.similarities),
    },
    classes: given.classes && {
      names: given.classes.names,
      rows: numbers(Uint16Array, given.classes.rows),
      shares: numbers(Uint8Array, given.classes.shares),
    },
    labels: given.labels && {
      names: given.labels.names,
      rows: numbers(Int32Array, given.labels.rows),
    },
    sheets: {
      ...given.sheets,
      cells: numbers(Uint32Array, given.sheets.cells),
      sizes: numbers(Uint8Array, given.sheets.sizes),
    },
    inspection: seen && {
      silhouettes: numbers(Float32Array, seen.silhouettes),
      nearest: numbers(Float64Array, seen.nearest),
      isDoubtful: numbers(Uint8Array, seen.is_doubtful),
      isOdd: numbers(Uint8Array, seen.is_odd),
      neighbors: seen.neighbors,
    },
  };
  // Where an image stands among those of its cluster, from the most central.
  data.ranks = new Uint32Array(n);
  data.order.forEach((row, rank) => { data.ranks[row] = rank; });
  return data;
})();

// Control characters, invisible ones and those that turn the direction of the text could show another
// name.  Persian and emoji need zero-width joiners.
const UNPRINTABLE = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const ESCAPES = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };

/** Return a text as one line that shows what is in it, with the escapes of Python as in its messages. */
function printable(text) {
  return text.replace(UNPRINTABLE, (letter) => {
    if (letter in ESCAPES) return ESCAPES[letter];
    const code = letter.codePointAt(0).toString(16);
    if (code.length <= 2) return `\\x${code.padStart(2, "0")}`;
    return code.length <= 4 ? `\\u${code.padStart(4, "0")}` : `\\U${code.padStart(8, "0")}`;
  });
}

/** Return a number with two decimals, without "-0.00". */
function twoDecimals(number) {
  return Number(number.toFixed(2)).toFixed(2);
}

/** Return "1 image" or "2 images". */
function plural(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** Return the address of an image's file, relative to the page. */
function linkTo(row) {
  const path = Data.links.moved[row] ?? Data.paths[row];
  // Bytes that are not UTF-8 stand in the data as an escaped surrogate, such as \udcff.
  const parts = path.split(/\\u(dc[89a-f][0-9a-f]|005c)/);
  const codes = parts.map((part, i) => {
    if (i % 2) return "%" + part.slice(2);
    return encodeURIComponent(part.toWellFormed ? part.toWellFormed() : part);
  });
  // Two slashes would begin with the name of a server.
  return Data.links.base + codes.join("").replaceAll("%2F", "/").replace(/^\/+/, "/");
}

/** Return a new element with attributes, listeners such as "onclick", and children. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Return an element by its id. */
function get(id) {
  return document.getElementById(id);
}

/** Return a function that calls all that were added to it. */
function signal() {
  const heard = [];
  const call = (...values) => heard.forEach((one) => one(...values));
  call.add = (one) => heard.push(one);
  return call;
}
