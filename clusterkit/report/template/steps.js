"use strict";
// The steps of a decision: {move: rows, to: number}, {name: number, as: text} or
// {mark: rows, on: boolean}; the browser's memory has rows as text such as "1-5,9".

const Steps = (() => {
  /** Do a step to clusters, names and marks, and return what takes it back. */
  function apply({ labels, names, marks }, step) {
    if (step.move) {
      const before = step.move.map((row) => labels[row]);
      for (const row of step.move) labels[row] = step.to;
      return () => step.move.forEach((row, i) => { labels[row] = before[i]; });
    }
    if (step.mark) {
      const before = step.mark.map((row) => marks.has(row));
      const set = (row, on) => (on ? marks.add(row) : marks.delete(row));
      for (const row of step.mark) set(row, step.on);
      return () => step.mark.forEach((row, i) => set(row, before[i]));
    }
    const before = names.get(step.name);
    const set = (name) => (name ? names.set(step.name, name) : names.delete(step.name));
    set(step.as);
    return () => set(before);
  }

  /** Return sorted rows as text, such as "1-5,9". */
  function packRows(rows) {
    const sorted = [...rows].sort((a, b) => a - b);
    const parts = [];
    for (let i = 0; i < sorted.length; i++) {
      const first = sorted[i];
      while (sorted[i + 1] === sorted[i] + 1) i++;
      parts.push(sorted[i] === first ? `${first}` : `${first}-${sorted[i]}`);
    }
    return parts.join(",");
  }

  function unpackRows(text, n) {
    const rows = [];
    for (const part of text.split(",")) {
      const [first, last = first] = part.split("-").map(Number);
      if (!(first >= 0 && first <= last && last < n)) throw new Error(`no such images: ${part}`);
      for (let row = first; row <= last; row++) rows.push(row);
    }
    return rows;
  }

  /** Return a step as it is kept. */
  function pack(step) {
    if (step.move) return { move: packRows(step.move), to: step.to };
    if (step.mark) return { mark: packRows(step.mark), on: step.on };
    return step;
  }

  /** Return a step of a page of n images, which may be damaged. */
  function unpack(step, n) {
    if (step.move !== undefined) {
      if (!Number.isInteger(step.to) || step.to < NOISE) throw new Error("no such cluster");
      return { move: unpackRows(step.move, n), to: step.to };
    }
    if (step.mark !== undefined) return { mark: unpackRows(step.mark, n), on: Boolean(step.on) };
    if (!Number.isInteger(step.name) || typeof step.as !== "string") throw new Error("no such name");
    return { name: step.name, as: step.as };
  }

  return { apply, pack, unpack };
})();
