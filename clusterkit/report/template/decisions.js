"use strict";
// What a person decides: the clusters as they are now, and how they came to be.
//
// An action is {what, steps}; a step is {move: rows, to: number}, {name: number, as: text} or
// {mark: rows, on: boolean}.  The browser keeps the actions, with rows as text such as "1-5,9".

const Decisions = (() => {
  const labels = Data.clusters.slice();
  const names = new Map(Data.names);
  const marks = new Set();
  const done = [];
  const undone = [];
  const changed = signal();
  let members = null;
  let isKept = true;
  const place = `clusterkit-report:${Data.key}`;

  /** Return the images of each cluster, the clusters in order and the noise last. */
  function clusters() {
    if (members) return members;
    const found = new Map();
    for (const row of Data.order) {
      if (!found.has(labels[row])) found.set(labels[row], []);
      found.get(labels[row]).push(row);
    }
    const numbers = [...found.keys()].sort((a, b) => (a === NOISE) - (b === NOISE) || a - b);
    members = new Map(numbers.map((number) => [number, found.get(number)]));
    return members;
  }

  /** Do a step, and return what takes it back. */
  function apply(step) {
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

  function run(action) {
    const back = action.steps.map(apply).reverse();
    done.push({ ...action, back });
    members = null;
  }

  /** Do an action, which can be taken back. */
  function act(what, steps) {
    run({ what, steps });
    undone.length = 0;
    keep();
    changed(what);
  }

  function undo() {
    if (!done.length) return;
    const action = done.pop();
    action.back.forEach((one) => one());
    undone.push(action);
    members = null;
    keep();
    changed(`Undone: ${action.what}`);
  }

  function redo() {
    if (!undone.length) return;
    const action = undone.pop();
    run({ what: action.what, steps: action.steps });
    keep();
    changed(`Done again: ${action.what}`);
  }

  // The browser's memory, which may be full, forbidden, or changed by others.

  /** Return sorted rows as text, such as "1-5,9". */
  function pack(rows) {
    const sorted = [...rows].sort((a, b) => a - b);
    const parts = [];
    for (let i = 0; i < sorted.length; i++) {
      const first = sorted[i];
      while (sorted[i + 1] === sorted[i] + 1) i++;
      parts.push(sorted[i] === first ? `${first}` : `${first}-${sorted[i]}`);
    }
    return parts.join(",");
  }

  function unpack(text) {
    const rows = [];
    for (const part of text.split(",")) {
      const [first, last = first] = part.split("-").map(Number);
      if (!(first >= 0 && first <= last && last < Data.n)) throw new Error(`no such images: ${part}`);
      for (let row = first; row <= last; row++) rows.push(row);
    }
    return rows;
  }

  function packStep(step) {
    if (step.move) return { move: pack(step.move), to: step.to };
    if (step.mark) return { mark: pack(step.mark), on: step.on };
    return step;
  }

  function unpackStep(step) {
    if (step.move !== undefined) {
      if (!Number.isInteger(step.to) || step.to < NOISE) throw new Error("no such cluster");
      return { move: unpack(step.move), to: step.to };
    }
    if (step.mark !== undefined) return { mark: unpack(step.mark), on: Boolean(step.on) };
    if (!Number.isInteger(step.name) || typeof step.as !== "string") throw new Error("no such name");
    return { name: step.name, as: step.as };
  }

  function keep() {
    const packed = done.map(({ what, steps }) => ({ what, steps: steps.map(packStep) }));
    try {
      if (packed.length) localStorage.setItem(place, JSON.stringify(packed));
      else localStorage.removeItem(place);
      isKept = true;
    } catch {
      isKept = false;
    }
  }

  function recall() {
    try {
      const packed = JSON.parse(localStorage.getItem(place) ?? "[]");
      const actions = packed.map(({ what, steps }) => ({
        what: String(what), steps: steps.map(unpackStep),
      }));
      actions.forEach(run);
    } catch {
      // Forbidden or damaged: the page starts without decisions.
      while (done.length) done.pop().back.forEach((one) => one());
      members = null;
    }
  }

  /** Take over what another window of this page has decided, so that neither overwrites the other's. */
  function follow() {
    while (done.length) done.pop().back.forEach((one) => one());
    undone.length = 0;
    members = null;
    recall();
    changed("as in another window of this page");
  }

  /** Return the name of a cluster as it is shown, such as "3 red fox". */
  function title(number) {
    if (number === NOISE) return "noise";
    const name = names.get(number);
    return name ? `${number} ${printable(name)}` : `cluster ${number}`;
  }

  /** Return a number that no cluster has or had. */
  function newNumber() {
    let number = Data.next;
    for (const label of labels) if (label >= number) number = label + 1;
    return number;
  }

  /** Return why a cluster cannot have a name, or "" if it can. */
  function whyNot(number, name) {
    if (Data.missing.has(name) && name) return `“${name}” means a missing value in tables.`;
    if (!name || number < Data.next) return "";
    // All rows would hold the name that they had, as if nobody had named the new cluster.
    const rows = clusters().get(number) ?? [];
    const isOld = (row) => Data.names.get(Data.clusters[row]) === name;
    if (!rows.length || !rows.every(isOld)) return "";
    return `The cluster that these images came from is called “${name}”: give another name, or merge.`;
  }

  recall();
  return {
    labels, names, marks, done, undone, changed, place,
    clusters, act, undo, redo, follow, title, newNumber, whyNot,
    isKept: () => isKept,
  };
})();
