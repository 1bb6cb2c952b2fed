"use strict";
// What a person decides: the clusters as they are now, and how they came to be.
//
// An action is {what, steps}; for steps see steps.js.  The browser keeps the actions.

const Decisions = (() => {
  const labels = Data.clusters.slice();
  const names = new Map(Data.names);
  const marks = new Set();
  const done = [];
  const undone = [];
  const changed = signal();
  let members = null;
  let isKept = true;
  let isForLater = true;
  const place = Earlier.placeOf(Data.key);

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

  function run(action) {
    const back = action.steps.map((step) => Steps.apply({ labels, names, marks }, step)).reverse();
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

  function keep() {
    const packed = done.map(({ what, steps }) => ({ what, steps: steps.map(Steps.pack) }));
    try {
      if (packed.length) localStorage.setItem(place, JSON.stringify(packed));
      else localStorage.removeItem(place);
      isKept = true;
    } catch {
      isKept = false;
    }
    isForLater = Earlier.remember(packed.length > 0);
  }

  function recall() {
    try {
      const packed = JSON.parse(localStorage.getItem(place) ?? "[]");
      const actions = packed.map(({ what, steps }) => ({
        what: String(what), steps: steps.map((step) => Steps.unpack(step, Data.n)),
      }));
      actions.forEach(run);
      if (done.length) isForLater = Earlier.remember(true);
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
    // One whose images were all moved away still has its name.
    for (const named of names.keys()) if (named >= number) number = named + 1;
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
    isForLater: () => isForLater,
  };
})();
