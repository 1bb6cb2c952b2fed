"use strict";
// Which images are shown, in which colours, which are selected, and which one is open.

const Choice = (() => {
  const isShown = new Uint8Array(Data.n).fill(1);
  const selected = new Set();
  const filtered = signal();
  const colored = signal();
  const selection = signal();
  const opened = signal();
  const state = { text: "", which: "all", color: "cluster", open: null };

  /** Return whether an image fits what is asked for. */
  function fits(which) {
    if (which.startsWith("cluster ")) {
      const number = Number(which.slice(8));
      return (row) => Decisions.labels[row] === number;
    }
    if (which.startsWith("label ")) {
      const number = Number(which.slice(6));
      return (row) => Data.labels.rows[row] === number;
    }
    const seen = Data.inspection;
    return {
      all: () => true,
      marked: (row) => Decisions.marks.has(row),
      moved: (row) => Decisions.labels[row] !== Data.clusters[row],
      gone: (row) => !Pictures.has(row),
      doubtful: (row) => seen.isDoubtful[row],
      odd: (row) => seen.isOdd[row],
    }[which];
  }

  const lower = [];

  /** Find the images that are shown. */
  function filter() {
    // An accent may be a letter of its own in a file name.
    const plain = (given) => given.normalize("NFC").toLowerCase();
    const text = plain(state.text);
    if (text && !lower.length) for (const path of Data.paths) lower.push(plain(path));
    const fit = fits(state.which);
    for (let row = 0; row < Data.n; row++) {
      isShown[row] = fit(row) && (!text || lower[row].includes(text)) ? 1 : 0;
    }
    // What is not seen must not be moved.
    const before = selected.size;
    for (const row of selected) if (!isShown[row]) selected.delete(row);
    filtered();
    if (selected.size !== before) selection();
  }

  function set(changes) {
    Object.assign(state, changes);
    if ("color" in changes) colored();
    else filter();
  }

  /** Return the colour of an image. */
  function color(row) {
    const number = state.color === "label" ? Data.labels.rows[row] : Decisions.labels[row];
    return colorOf(number);
  }

  /** Return the colour of a cluster or label. */
  function colorOf(number) {
    return number < 0 ? "#888888" : Data.colors[number % Data.colors.length];
  }

  function select(rows, on = true) {
    for (const row of rows) {
      if (on && isShown[row]) selected.add(row);
      else selected.delete(row);
    }
    selection();
  }

  function toggle(row) {
    select([row], !selected.has(row));
  }

  function clear() {
    selected.clear();
    selection();
  }

  /** Show what is known of an image. */
  function open(row, { focus = false } = {}) {
    state.open = row;
    opened(row, focus);
  }

  return {
    state, isShown, selected, filtered, colored, selection, opened,
    filter, set, color, colorOf, select, toggle, clear, open,
  };
})();
